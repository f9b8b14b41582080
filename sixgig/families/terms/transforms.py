"""What happens to a tensor on its way from a checkpoint into a GGUF, each change with a name.

Source: what llama.cpp's graphs expect, seen against its own converter. A transformation that calculates is
only used for tensors that end as float32; the others move elements and never look at them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sixgig.errors import ModelFileError
from sixgig.families.terms.config import Config

Array = NDArray[Any]
Shape = tuple[int, ...]


class Unit(Enum):
    """How much of a tensor a transformation must see at once."""

    ROWS = "any number of rows"
    TENSOR = "the whole tensor"
    EXPERT = "one index of the slowest dimension"


def _same(shape: Shape, config: Config) -> Shape:
    return shape


@dataclass(frozen=True)
class Transform:
    """`apply` changes one unit; `shape` says what shape a unit of some shape becomes.

    `half`: only the first (0) or second (1) half of a unit's rows is read and given to `apply`.
    `axis`: what it moves of a matrix, rows (0) or columns (1). `turns`: rows become columns.
    """

    apply: Callable[[Array, Config], Array] = lambda values, config: values
    shape: Callable[[Shape, Config], Shape] = _same
    unit: Unit = Unit.TENSOR
    half: int | None = None
    axis: int = 0
    turns: bool = False

    def order(self, extent: int, config: Config) -> NDArray[np.intp]:
        """For a matrix's `extent` rows (of axis 1 columns): which of them each row of the result was.

        Covers what moves whole rows or columns; not what turns or calculates.
        """
        numbers = np.arange(extent)
        if self.half is not None:
            numbers = np.split(numbers, 2)[self.half]
        return self.apply(np.expand_dims(numbers, 1 - self.axis), config).reshape(-1)


AS_IS = Transform(unit=Unit.ROWS)
EACH_EXPERT = Transform(unit=Unit.EXPERT)
PLUS_ONE = Transform(lambda values, config: values + np.float32(1), unit=Unit.ROWS)


def _interleaved(n_heads: int) -> Callable[[Array], Array]:
    """Rotary halves of each head to neighbouring pairs, which llama.cpp's NORM rotation turns."""

    def apply(values: Array) -> Array:
        rest = values.shape[1:]
        halves = values.reshape(n_heads, 2, len(values) // n_heads // 2, *rest)
        return halves.swapaxes(1, 2).reshape(values.shape)

    return apply


ROTARY_Q = Transform(lambda values, config: _interleaved(config.n_heads)(values))
ROTARY_K = Transform(lambda values, config: _interleaved(config.n_kv_heads)(values))


def _squeezed(shape: Shape, config: Config) -> Shape:
    return tuple(extent for extent in shape if extent != 1)


SQUEEZE = Transform(lambda values, config: values.reshape(_squeezed(values.shape, config)), _squeezed)


def _halved(shape: Shape, config: Config) -> Shape:
    require(bool(shape) and shape[0] % 2 == 0, "gate and up are not equally wide", f"{shape}")
    return shape[0] // 2, *shape[1:]


def half(number: int, of: Unit) -> Transform:
    """The first or second half of a unit's rows: gate and up fused."""
    return Transform(shape=_halved, unit=of, half=number)


def transposed(part: Callable[[Array], Array] = lambda values: values, divisor: int = 1) -> Transform:
    """One expert stored (inputs, outputs), turned; `part` then takes 1 / `divisor` of the outputs."""

    def shape(stored: Shape, config: Config) -> Shape:
        even = len(stored) == 2 and stored[1] % divisor == 0
        require(even, "an expert's matrix has an unusable shape", f"{stored}")
        return stored[1] // divisor, stored[0]

    return Transform(lambda values, config: part(values.T), shape, Unit.EXPERT, turns=True)


def outputs_half(number: int) -> Transform:
    """One expert stored (inputs, gate outputs beside up outputs), turned: the gate or the up half."""
    return transposed(lambda values: np.split(values, 2)[number], divisor=2)


def require(holds: bool, what: str, numbers: str) -> None:
    """ModelFileError unless `holds`."""
    if not holds:
        raise ModelFileError(what, numbers, "fetch the folder again")
