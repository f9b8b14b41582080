"""One tensor of a model: where it lies, how it is stored, and what it is for."""

from dataclasses import dataclass

from sixgig.families import Role
from sixgig.modelfile.ggml_types import GgmlType


@dataclass(frozen=True)
class Tensor:
    """`shape` is ne order (ne0, the row length, first); `offset` is absolute in file number `part`."""

    name: str
    shape: tuple[int, ...]
    type: GgmlType
    part: int
    offset: int
    size_bytes: int
    role: Role
    layer: int | None
