"""A small model as its header's facts, and a file written from them with values of a seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter
from numpy.typing import NDArray

from sixgig.llamacpp.blocks import prepare, quantise_rows
from sixgig.modelfile import TYPE_BY_NAME

Fact = tuple[str, Any]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class NamedTensor:
    """`shape` in ne order."""

    name: str
    type: str
    shape: tuple[int, ...]

    @property
    def stem(self) -> str:
        """The name without its layer: "ffn_down_exps.weight"."""
        return self.name.split(".", 2)[2] if self.name.startswith("blk.") else self.name


@dataclass(frozen=True)
class Description:
    """A header. metadata: key to type and value; notes: what an edit could not do as asked."""

    metadata: dict[str, Fact]
    tensors: tuple[NamedTensor, ...]
    notes: tuple[str, ...] = field(default=(), compare=False)

    @property
    def architecture(self) -> str:
        """As GGUF names it."""
        return str(self.metadata["general.architecture"][1])

    def get(self, key: str, default: Any = 0) -> Any:
        """A value of the architecture's own."""
        return self.metadata.get(f"{self.architecture}.{key}", ("", default))[1]


def describe(path: Path) -> Description:
    """The header of a GGUF file; empty arrays, which say nothing, are left out."""
    reader = GGUFReader(path)
    facts: dict[str, Fact] = {}
    for key, entry in reader.fields.items():
        value = entry.contents()
        if not key.startswith("GGUF.") and not (isinstance(value, list) and not value):
            facts[key] = (entry.types[-1].name, value)
    tensors = (
        NamedTensor(t.name, t.tensor_type.name, tuple(int(n) for n in t.shape)) for t in reader.tensors
    )
    return Description(facts, tuple(tensors))


def write(description: Description, path: Path, seed: int = 0) -> Path:
    """The file, every tensor filled by its name and the seed. Equal arguments give equal bytes."""
    writer = GGUFWriter(path, description.architecture)
    for key, (kind, value) in description.metadata.items():
        if key == "general.architecture":
            continue
        if isinstance(value, list):
            writer.add_key_value(key, value, GGUFValueType.ARRAY, GGUFValueType[kind])
        else:
            writer.add_key_value(key, value, GGUFValueType[kind])
    for tensor in description.tensors:
        random = np.random.default_rng((seed, crc32(tensor.name.encode())))
        _add(writer, tensor, _values(tensor, description, random))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add(writer: GGUFWriter, tensor: NamedTensor, values: NDArray[Any]) -> None:
    if tensor.type in ("F32", "I32"):
        writer.add_tensor(tensor.name, values)
        return
    kind = TYPE_BY_NAME[tensor.type]
    rows = prod(tensor.shape[1:])
    stored = np.empty((rows, tensor.shape[0] // kind.block_elements * kind.block_bytes), np.uint8)
    prepare(kind.id)
    quantise_rows(kind.id, values.reshape(rows, -1), None, stored)
    stored = stored.reshape(*reversed(tensor.shape[1:]), -1)
    writer.add_tensor(tensor.name, stored, raw_dtype=GGMLQuantizationType(kind.id))


def _values(tensor: NamedTensor, description: Description, random: np.random.Generator) -> NDArray[Any]:
    """Numbers of a working model: what is added is small, what scales is about one, states decay."""
    shape = tuple(reversed(tensor.shape))
    if tensor.type == "I32":
        return _table(shape, int(description.get("expert_count")), random)
    normal = random.standard_normal(shape, np.float32)
    rule = next((rule for known, rule in _RULES if known(tensor)), None)
    if rule is not None:
        return rule(normal)
    return normal * np.float32(0.1 if len(shape) == 1 else tensor.shape[0] ** -0.5)


def _table(shape: tuple[int, ...], n_experts: int, random: np.random.Generator) -> NDArray[np.int32]:
    """Experts by token id, none twice for a token."""
    order = np.argsort(random.random((shape[0], n_experts)), axis=1)
    return np.ascontiguousarray(order[:, : shape[1]], np.int32)


def _about_one(normal: Floats) -> Floats:
    return 1 + np.float32(0.1) * normal


def _decaying(normal: Floats) -> Floats:
    return -np.abs(1 + np.float32(0.3) * normal)


def _plain(normal: Floats) -> Floats:
    return normal


def _decisive(normal: Floats) -> Floats:
    """A router: logits of deviation 2 for inputs of deviation 1."""
    return normal * np.float32(2 * normal.shape[-1] ** -0.5)


_RULES: tuple[tuple[Callable[[NamedTensor], bool], Callable[[Floats], Floats]], ...] = (
    (lambda t: t.stem.endswith("ffn_gate_inp.weight"), _decisive),
    (lambda t: "norm" in t.stem and t.stem.endswith("weight"), _about_one),
    (lambda t: t.stem.endswith("scale") or t.stem.startswith("rope_"), _about_one),
    (lambda t: t.stem == "ssm_a", _decaying),
    (lambda t: t.stem == "token_embd.weight", _plain),
)
