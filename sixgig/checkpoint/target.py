"""The tensors of the GGUF to be written: from which stored ones, how large, and in what pieces."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sixgig.checkpoint.safetensors import Stored
from sixgig.errors import ModelFileError, ReadError
from sixgig.families.terms.config import Config
from sixgig.families.terms.names import ALWAYS_F32, stem_of
from sixgig.families.terms.recipe import Rule
from sixgig.families.terms.transforms import Array, Shape, Unit, require
from sixgig.modelfile import TYPE_BY_NAME, GgmlType

_PIECE_BYTES = 32 * 2**20
_NUMPY: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
    "F64": np.dtype("<f8"),
}


@dataclass(frozen=True)
class Converted:
    """One tensor to write from stored ones; `shape` has the slowest dimension first, as numpy does.

    It has one source, or one for each expert.
    """

    name: str
    rule: Rule
    sources: tuple[Stored, ...]
    stacked: bool
    shape: Shape
    type: GgmlType

    @property
    def size_bytes(self) -> int:
        """Bytes of the data without padding."""
        return math.prod(self.shape) * self.type.block_bytes

    def pieces(self, config: Config) -> Iterator[Array]:
        """The data in order, contiguous; no more than one unit of the transformation is in memory.

        Raises ModelFileError where the stored shape does not go with the configuration.
        """
        missing = self.size_bytes
        for source, first, count in self._units():
            piece = self._changed(_read(source, first, count), config)
            missing -= piece.nbytes
            yield piece
        require(missing == 0, f"{self.name} has another size than its shape", f"{missing} bytes missing")

    def _changed(self, values: Array, config: Config) -> Array:
        """One unit as it is written."""
        if self._one_by_one:
            values = values[0]
        try:
            return np.ascontiguousarray(self.rule.transform.apply(self._converted(values), config))
        except (ValueError, IndexError) as error:
            what = f"{self.name} has a shape that config.json does not allow"
            raise ModelFileError(
                what, f"{values.shape}: {str(error)[:60]}", "fetch the folder again"
            ) from error

    @property
    def _one_by_one(self) -> bool:
        """Whether a unit is one index of the slowest dimension, which it then loses."""
        transform = self.rule.transform
        return transform.half is not None or (transform.unit is Unit.EXPERT and not self.stacked)

    def _units(self) -> Iterator[tuple[Stored, int, int]]:
        """Source, first index of its slowest dimension, and how many of them."""
        for source in self.sources:
            if self.rule.transform.half is not None:
                view = _in_halves(source, self.rule.transform.unit)
                yield from ((view, n, 1) for n in range(self.rule.transform.half, view.shape[0], 2))
                continue
            n_rows = source.shape[0]
            step = n_rows if self.stacked else _step(source, self.rule.transform.unit)
            for first in range(0, n_rows, step):
                yield source, first, min(step, n_rows - first)

    def _converted(self, values: Array) -> Array:
        """The stored values in the type that is written; BF16 travels as uint16."""
        wanted = _NUMPY[self.type.name]
        if values.dtype == wanted:
            return values
        if values.dtype == np.uint16:
            return (values.astype(np.uint32) << 16).view(np.float32)
        return values.astype(wanted)


@dataclass(frozen=True)
class Calculated:
    """One float32 tensor that the configuration alone gives."""

    name: str
    values: Array

    @property
    def type(self) -> GgmlType:
        """float32."""
        return TYPE_BY_NAME["F32"]

    @property
    def shape(self) -> Shape:
        """As numpy has it."""
        return self.values.shape

    @property
    def size_bytes(self) -> int:
        """Bytes of the data without padding."""
        return self.values.nbytes

    def pieces(self, config: Config) -> Iterator[Array]:
        """All of it."""
        yield self.values


Target = Converted | Calculated


def converted(name: str, rule: Rule, sources: tuple[Stored, ...], stacked: bool, config: Config) -> Converted:
    """The tensor that `sources` make; ModelFileError where they do not go together."""
    first = sources[0]
    for source in sources:
        if source.dtype not in _NUMPY:
            numbers = f"{source.dtype}; BF16, F16 and F32 can be converted"
            raise ModelFileError(
                f"{source.name[:80]} is quantised", numbers, "use a BF16 checkpoint or a GGUF"
            )
        if (source.dtype, source.shape) != (first.dtype, first.shape) or not _has_elements(source):
            numbers = f"{source.dtype} {source.shape}, {first.dtype} {first.shape}"
            raise ModelFileError(f"{source.name[:80]} has an unusable shape", numbers, "fetch the file again")
    shape = _shape(rule, first, stacked, len(sources), config)
    return Converted(name, rule, sources, stacked, shape, TYPE_BY_NAME[_type_name(name, first.dtype, shape)])


def count_broken(values: Array) -> int:
    """How many are NaN or infinite; BF16 travels as uint16."""
    exponents = (values & 0x7F80) == 0x7F80 if values.dtype == np.uint16 else ~np.isfinite(values)
    return int(np.count_nonzero(exponents))


def same_bytes(one: Stored, other: Stored) -> bool:
    """Whether two stored tensors hold the same."""
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    step = _step(one, Unit.ROWS)
    rows = range(0, one.shape[0], step)
    return all(_same_rows(one, other, first, min(step, one.shape[0] - first)) for first in rows)


def _same_rows(one: Stored, other: Stored, first: int, count: int) -> bool:
    return _read(one, first, count).tobytes() == _read(other, first, count).tobytes()


def _has_elements(source: Stored) -> bool:
    return bool(source.shape) and math.prod(source.shape) > 0


def _shape(rule: Rule, source: Stored, stacked: bool, n_sources: int, config: Config) -> Shape:
    change = rule.transform.shape
    if stacked:
        return (n_sources, *change(source.shape, config))
    if rule.transform.unit is Unit.EXPERT:
        return (source.shape[0], *change(source.shape[1:], config))
    return change(source.shape, config)


def _type_name(name: str, dtype: str, shape: Shape) -> str:
    """The checkpoint's own type, float32 where llama.cpp's kernels read nothing else."""
    exact = len(shape) < 2 or stem_of(name).endswith(ALWAYS_F32) or not name.endswith(".weight")
    return "F32" if exact or dtype == "F64" else dtype


def _step(source: Stored, unit: Unit) -> int:
    """How many of the slowest dimension's indices are read at once."""
    if unit is Unit.EXPERT:
        return 1
    if unit is Unit.TENSOR:
        return source.shape[0]
    return max(1, _PIECE_BYTES // max(1, source.size_bytes // source.shape[0]))


def _in_halves(source: Stored, unit: Unit) -> Stored:
    """The same bytes with the two halves of each unit's rows as indices of a slowest dimension."""
    n_units = source.shape[0] if unit is Unit.EXPERT else 1
    n_rows, *rest = source.shape[1:] if unit is Unit.EXPERT else source.shape
    return replace(source, shape=(2 * n_units, n_rows // 2, *rest))


def _read(source: Stored, first: int, count: int) -> Array:
    """Some indices of the slowest dimension."""
    kind, rest = _NUMPY[source.dtype], source.shape[1:]
    row = math.prod(rest)
    offset = source.offset + first * row * kind.itemsize
    try:
        values = np.fromfile(source.path, kind, count * row, offset=offset)
    except OSError as error:
        raise ReadError(f"cannot read {source.path}", f"byte {offset}: {error.strerror or error}") from error
    if values.size != count * row:
        raise ReadError(f"{source.path} ends early", f"byte {offset + values.nbytes}", "fetch it again")
    return values.reshape(count, *rest)
