"""A low-rank adapter as a GGUF file that llama.cpp loads.

Format: llama.cpp's src/llama-adapter.cpp and convert_lora_to_gguf.py. `<tensor>.lora_a` has ne (in, rank),
`<tensor>.lora_b` ne (rank, out), of stacks with the experts behind; a pair's scale is alpha / rank.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from math import isfinite, prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sixgig.errors import ModelFileError
from sixgig.modelfile.arrays import write_arrays
from sixgig.modelfile.header import Header, TensorInfo, read_header
from sixgig.modelfile.metadata import Metadata, ValueType
from sixgig.modelfile.source import Fingerprint, LocalFile, local_file, read_all

Floats = NDArray[np.float32]
Shape = tuple[int, ...]
_A, _B = ".lora_a", ".lora_b"
MERGED = "sixgig.merged_adapters"  # of a model: a string each, "<digest of Lora or LoraFile> <name>"
_ARCHITECTURE, _ALPHA = "general.architecture", "adapter.lora.alpha"
_TYPES = ("F32", "F16", "BF16", "Q8_0")  # what llama.cpp's converter writes
_PLAIN = {"F32": "<f4", "F16": "<f2"}
_PIECE_BYTES = 4 << 20
_CURE = "name a LoRA in GGUF form: what sixgig tune or llama.cpp's convert_lora_to_gguf.py wrote"


@dataclass(frozen=True)
class Lora:
    """alpha: of all pairs. pairs: by the name of the tensor they adapt; A [rank, in], B [out, rank].

    Of stacks of experts [experts, rank, in] and [experts, out, rank].
    """

    architecture: str
    alpha: float
    pairs: dict[str, tuple[Floats, Floats]]

    @property
    def shapes(self) -> dict[str, tuple[Shape, Shape]]:
        """Shapes of each pair's A and B, ne order."""
        return {name: (a.shape[::-1], b.shape[::-1]) for name, (a, b) in self.pairs.items()}

    @property
    def digest(self) -> str:
        """SHA-256 of what it does: alpha, and each factor in float32."""
        return _digest(
            self.alpha,
            {n: tuple((f.shape[::-1], [f]) for f in pair) for n, pair in self.pairs.items()},
        )

    def scale(self, name: str) -> float:
        """What the product B A of a pair is multiplied by; 1 where alpha is 0."""
        return self.alpha / self.pairs[name][0].shape[-2] if self.alpha else 1.0


@dataclass(frozen=True)
class LoraFile:
    """An adapter that stays in its file; its structure was checked. pairs: by the name of what they adapt."""

    path: Path
    architecture: str
    alpha: float
    pairs: Mapping[str, tuple[TensorInfo, TensorInfo]]
    header: Header

    @property
    def shapes(self) -> dict[str, tuple[Shape, Shape]]:
        """Shapes of each pair's A and B, ne order."""
        return {name: (a.shape, b.shape) for name, (a, b) in self.pairs.items()}

    @property
    def fingerprint(self) -> Fingerprint:
        """What the file looked like when it was checked."""
        assert isinstance(self.header.source, LocalFile)
        return self.header.source.fingerprint

    @property
    def digest(self) -> str:
        """As Lora.digest; reads the file, a few MB at a time."""
        return _digest(
            self.alpha,
            {n: tuple((i.shape, _rows(self.header, i)) for i in pair) for n, pair in self.pairs.items()},
        )

    @property
    def sizes_bytes(self) -> list[int]:
        """Bytes of every tensor."""
        return [info.size_bytes for pair in self.pairs.values() for info in pair]

    def require_finite(self) -> None:
        """ModelFileError where a value is no number; reads a few MB at a time."""
        for pair in self.pairs.values():
            for info in pair:
                if not all(np.isfinite(rows).all() for rows in _rows(self.header, info)):
                    raise _bad(self.path, info.name, "has values that are no finite numbers")


def find_lora(path: Path) -> LoraFile:
    """The adapter in a file, its values unread; ModelFileError for what is none or cannot be one."""
    header = read_header(local_file(path))
    _require_kind(path, header.metadata)
    architecture = header.metadata.text(_ARCHITECTURE)
    if architecture is None:
        raise ModelFileError(f"{path.name} names no architecture", cure=_CURE)
    return LoraFile(path, architecture, _alpha(path, header.metadata), _pairs(path, header), header)


def read_lora(path: Path) -> Lora:
    """The adapter in a file, whole, as float32; ModelFileError as find_lora, and for values like NaN."""
    file = find_lora(path)
    file.require_finite()
    pairs = {name: (_array(file, a), _array(file, b)) for name, (a, b) in file.pairs.items()}
    return Lora(file.architecture, file.alpha, pairs)


def write_lora(path: Path, lora: Lora, name: str) -> None:
    """Writes a file that llama.cpp loads; it appears whole or not at all. Raises OSError."""
    metadata = {
        "general.type": "adapter",
        _ARCHITECTURE: lora.architecture,
        "general.name": name,
        "adapter.type": "lora",
        _ALPHA: float(lora.alpha),
    }
    arrays = {tensor + _A: a for tensor, (a, _) in lora.pairs.items()}
    arrays |= {tensor + _B: b for tensor, (_, b) in lora.pairs.items()}
    write_arrays(path, metadata, arrays)


def merged_adapters(metadata: Metadata) -> list[tuple[str, str]]:
    """(digest, name) of each adapter that sixgig has merged into a model; other programs leave no trace."""
    if not metadata.is_array(MERGED):
        return []
    entries = (str(entry).partition(" ") for entry in metadata.array(MERGED))
    return [(digest, name) for digest, _, name in entries]


def _digest(
    alpha: float, pairs: Mapping[str, tuple[tuple[Shape, Iterable[NDArray[np.floating]]], ...]]
) -> str:
    content = sha256(np.float32(alpha).tobytes())
    for name in sorted(pairs):
        for shape, rows in pairs[name]:
            content.update(f"{name} {shape}".encode())
            for some in rows:
                content.update(np.ascontiguousarray(some, "<f4").data)
    return content.hexdigest()


def _require_kind(path: Path, metadata: Metadata) -> None:
    kind, adapter = metadata.text("general.type"), metadata.text("adapter.type")
    if kind != "adapter":
        raise ModelFileError(f"{path.name} is no adapter", f"general.type is {str(kind)[:40]!r}", _CURE)
    if adapter != "lora":
        raise ModelFileError(f"{path.name} is no LoRA", f"adapter.type is {str(adapter)[:40]!r}", _CURE)
    if "adapter.alora.invocation_tokens" in metadata:
        what = f"{path.name} acts only after certain tokens (aLoRA), which is not supported"
        raise ModelFileError(what, cure=_CURE)


def _alpha(path: Path, metadata: Metadata) -> float:
    """adapter.lora.alpha, 0 where it is absent; llama.cpp ends the process at another type."""
    value = metadata.get(_ALPHA)
    kind = next((entry.type for entry in metadata.entries if entry.key == _ALPHA), ValueType.FLOAT32)
    if kind is not ValueType.FLOAT32 or not isinstance(value, float | None) or not isfinite(value or 0):
        raise _bad(path, _ALPHA, f"must be a finite FLOAT32, it is {value!r} ({kind.name})")
    return value or 0.0


def _pairs(path: Path, header: Header) -> dict[str, tuple[TensorInfo, TensorInfo]]:
    infos = {info.name: info for info in header.tensors}
    for name in infos:
        if not name.endswith((_A, _B)):
            raise _bad(path, name, "is no factor of a LoRA: llama.cpp would ignore it")
    names = dict.fromkeys(name.removesuffix(_A).removesuffix(_B) for name in infos)
    if not names:
        raise ModelFileError(f"{path.name} adapts nothing", "it holds no tensors", _CURE)
    return {name: _pair(path, name, infos) for name in names}


def _pair(path: Path, name: str, infos: Mapping[str, TensorInfo]) -> tuple[TensorInfo, TensorInfo]:
    a, b = infos.get(name + _A), infos.get(name + _B)
    if a is None or b is None:
        raise _bad(path, name, "has no lora_b" if b is None else "has no lora_a")
    for info in (a, b):
        if info.type.name not in _TYPES:
            raise _bad(path, info.name, f"is {info.type.name}; {', '.join(_TYPES)} are possible")
        if not 2 <= len(info.shape) <= 3:
            raise _bad(path, info.name, f"has {len(info.shape)} dimensions, not 2 or 3")
    if a.shape[1] != b.shape[0]:
        raise _bad(path, name, f"has an A of rank {a.shape[1]} and a B of rank {b.shape[0]}")
    if a.shape[2:] != b.shape[2:]:
        raise _bad(path, name, f"has an A of shape {a.shape} and a B of shape {b.shape}")
    return a, b


def _array(file: LoraFile, info: TensorInfo) -> Floats:
    values = np.empty((prod(info.shape[1:]), info.shape[0]), np.float32)
    at = 0
    for rows in _rows(file.header, info):
        values[at : at + len(rows)] = rows
        at += len(rows)
    return values.reshape(info.shape[::-1])


def _rows(header: Header, info: TensorInfo) -> Iterator[NDArray[np.floating]]:
    """The tensor's rows, some at a time, [rows, ne0]."""
    row_bytes = info.size_bytes // prod(info.shape[1:])
    step = row_bytes * max(1, _PIECE_BYTES // row_bytes)
    for start in range(0, info.size_bytes, step):
        size = min(step, info.size_bytes - start)
        raw = read_all(header.source, info.offset + start, size)
        if len(raw) != size:
            name = header.source.name
            raise ModelFileError(f"{name} changed while it was open", f"{info.name} is cut short")
        yield _numbers(np.frombuffer(raw, np.uint8).reshape(-1, row_bytes), info)


def _numbers(rows: NDArray[np.uint8], info: TensorInfo) -> NDArray[np.floating]:
    if info.type.name in _PLAIN:
        return rows.view(_PLAIN[info.type.name])
    from gguf import GGMLQuantizationType
    from gguf.quants import dequantize

    with np.errstate(all="ignore"):
        return np.asarray(dequantize(rows, GGMLQuantizationType(info.type.id)))


def _bad(path: Path, name: str, numbers: str) -> ModelFileError:
    return ModelFileError(f"{path.name} cannot be applied", f"{name[:80]} {numbers}", _CURE)
