"""Which tensors may be stored otherwise, and in which types."""

from __future__ import annotations

from sixgig.families import Role
from sixgig.modelfile import TYPE_BY_NAME, GgmlType, ModelFile
from sixgig.weights.stored import WeightInfo

_SUPER_BLOCKS = (
    "IQ1_S",
    "IQ1_M",
    "IQ2_XXS",
    "IQ2_XS",
    "IQ2_S",
    "Q2_K",
    "IQ3_XXS",
    "IQ3_S",
    "Q3_K",
    "IQ4_XS",
    "Q4_K",
    "Q5_K",
    "Q6_K",
)
_SMALL_BLOCKS = ("IQ4_NL", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0")
_WIDE = ("BF16",)
_FLOATS = ("F32", "F16", "BF16")
_NUMBERS = ("I8", "I16", "I32", "I64", "F64")  # of tables: ggml has no rows of weights in them
# What chooses, scales or places: it is small, and llama.cpp's graph reads most of it in F32 only. What an
# indexer does shows on texts far longer than those that types are chosen on.
_KEPT = (Role.NORM, Role.ROUTER, Role.INDEXER, Role.CONVOLUTION, Role.OTHER)
FEWEST_ROWS = 4


def can_be_quantised(info: WeightInfo) -> bool:
    """Whether the tensor is a matrix whose storage type is free."""
    return (
        info.role not in _KEPT
        and info.type.name not in _NUMBERS
        and len(info.shape) >= 2
        and info.n_rows >= FEWEST_ROWS
        and info.name.endswith(".weight")
        and bool(_fitting(info, _SMALL_BLOCKS))
    )


def candidates(info: WeightInfo) -> tuple[GgmlType, ...]:
    """The types a tensor may get, smallest first, none larger than the source's own, which is the last."""
    if not can_be_quantised(info):
        return (info.type,)
    fitting = _fitting(info, (*_SUPER_BLOCKS, *_SMALL_BLOCKS, *_WIDE))
    smaller = [kind for kind in fitting if bits(kind) < bits(info.type)]
    return (*sorted(smaller, key=lambda kind: (bits(kind), kind.id)), info.type)


def bits(kind: GgmlType) -> float:
    """Bits per weight."""
    return 8 * kind.block_bytes / kind.block_elements


def is_float(kind: GgmlType) -> bool:
    """Whether the type stores plain numbers."""
    return kind.name in _FLOATS


def quantised_types(model: ModelFile) -> tuple[str, ...]:
    """The types of a file's weights that are no plain numbers, those of most bytes first; () for none."""
    sizes: dict[str, int] = {}
    for tensor in model.tensors:
        if not is_float(tensor.type):
            sizes[tensor.type.name] = sizes.get(tensor.type.name, 0) + tensor.size_bytes
    return tuple(sorted(sizes, key=lambda name: -sizes[name]))


def _fitting(info: WeightInfo, names: tuple[str, ...]) -> list[GgmlType]:
    kinds = (TYPE_BY_NAME[name] for name in names)
    return [kind for kind in kinds if info.row_length % kind.block_elements == 0]
