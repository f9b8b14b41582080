"""A model's weights with a low-rank adapter added to them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sixgig.errors import ModelFileError
from sixgig.families import Role
from sixgig.modelfile import ModelFile
from sixgig.modelfile.lora import Lora
from sixgig.modelfile.lora_fit import check_lora
from sixgig.weights.stored import Floats, WeightInfo, Weights

_NOT_WRITTEN = ("F64", "I8", "I16", "I32", "I64", "Q8_1", "Q8_K")  # ggml quantises to all others
_CURE = "run with the adapter apart"


class MergedWeights:
    """`base` with scale * B A, in float32, on what `lora` adapts; the rest is as stored.

    ModelFileError where the adapter does not fit the model (check_lora), changes a router, or adapts what
    cannot be written again: a type that ggml does not quantise to, or a weight with a scale of its own.
    """

    def __init__(self, base: Weights, lora: Lora) -> None:
        self.base, self.lora = base, lora
        self.changes: Mapping[str, object] = base.changes
        check_lora(lora, base.model)
        for name in lora.pairs:
            self._check(self._by_name[name])

    @property
    def model(self) -> ModelFile:
        """The model file underneath."""
        return self.base.model

    @property
    def tensors(self) -> tuple[WeightInfo, ...]:
        """The base's: nothing is added, nothing changes its shape."""
        return self.base.tensors

    def stored(self, name: str, first: int, last: int) -> NDArray[np.uint8] | None:
        """The base's bytes where nothing is added, else None."""
        return None if name in self.lora.pairs else self.base.stored(name, first, last)

    def rows(self, name: str, first: int, last: int) -> Floats:
        """Rows [first, last) of the sum."""
        rows = self.base.rows(name, first, last)
        return rows + self._product(name, first, last) if name in self.lora.pairs else rows

    def _product(self, name: str, first: int, last: int) -> Floats:
        """The same rows of scale * B A, matrix by matrix."""
        a, b = (factor.reshape(-1, *factor.shape[-2:]) for factor in self.lora.pairs[name])
        scale, n_out = np.float32(self.lora.scale(name)), b.shape[1]
        product, at = np.empty((last - first, a.shape[2]), np.float32), first
        while at < last:
            matrix, start = divmod(at, n_out)
            stop = min(n_out, start + last - at)
            end = at + stop - start
            np.matmul(scale * b[matrix, start:stop], a[matrix], out=product[at - first : end - first])
            at = end
        return product

    def _check(self, info: WeightInfo) -> None:
        if info.role is Role.ROUTER:
            raise ModelFileError(
                f"the adapter changes the router {info.name}", cure="leave routers out of it"
            )
        scaled = f"{info.name.removesuffix('.weight')}.scale" in self._by_name
        if info.type.name in _NOT_WRITTEN or scaled:
            numbers = f"it is stored as {info.type.name}" + " with a scale beside it" * scaled
            raise ModelFileError(f"nothing can be merged into {info.name}", numbers, _CURE)

    @cached_property
    def _by_name(self) -> dict[str, WeightInfo]:
        return {info.name: info for info in self.base.tensors}
