"""Changes what products give while a graph is computed: to see what an error there would do to the end."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Collection
from typing import Any, Protocol, runtime_checkable

from sixgig.errors import EngineError
from sixgig.llamacpp.graph import operation
from sixgig.llamacpp.observe import Floats, Ids, Observation, Observer, source_of
from sixgig.llamacpp.structs import Tensor

_COMPUTED = 16  # GGML_TENSOR_FLAG_COMPUTE: not of a branch that the graph leaves out


@runtime_checkable
class Disturber(Protocol):
    """Who changes outputs. What it raises ends the evaluation and comes out of Engine.feed()."""

    @property
    def weights(self) -> Collection[str]:
        """Names of the weights whose outputs it may want to change, embeddings included."""

    def begin(self) -> None:
        """An evaluation begins."""

    def wants(self, weight: str) -> bool:
        """Whether this product is to be changed now; the others run on undisturbed."""

    def disturb(self, weight: str, outputs: Floats, looked_up: bool) -> None:
        """Change `outputs` in place: float32 [..., n_out], everything one product gave.

        looked_up: they are rows of the weight, as of an embedding, and no product.
        """


class Disturbance(Observation):
    """Hands a disturber what products with its weights give; `callback` is the context's cb_eval."""

    def __init__(self, c: ctypes.CDLL, disturber: Disturber) -> None:
        super().__init__(c, _Silent(disturber))
        self._disturber = disturber
        self._looked_up = operation(c, b"GET_ROWS")

    def _teller(self, node: Tensor) -> Callable[[Tensor], None] | None:
        if node.op not in (self._product, self._routed, self._looked_up) or not node.flags & _COMPUTED:
            return None
        name = source_of(node, 0).name
        wanted = name in self._weights and self._disturber.wants(name.decode())
        return self._tell_outputs if wanted else None

    def _tell_outputs(self, node: Tensor) -> None:
        weight = source_of(node, 0).name.decode()
        if node.type != 0:
            raise EngineError(f"what {weight} gives cannot be changed", f"its type is {node.type}")
        outputs = self._array(node)
        outputs.flags.writeable = True
        self._disturber.disturb(weight, outputs, node.op == self._looked_up)


Watcher = Observer | Disturber


def watch(c: ctypes.CDLL, by: Watcher) -> Observation:
    """What hands `by` its share of each evaluation."""
    return Disturbance(c, by) if isinstance(by, Disturber) else Observation(c, by)


class _Silent:
    """An observer that is told nothing."""

    def __init__(self, disturber: Disturber) -> None:
        self.weights, self.begin = disturber.weights, disturber.begin

    def product(self, product: Any) -> None:
        """Nothing."""

    def weighted(self, layer: int, outputs: Floats, ids: Ids) -> None:
        """Nothing."""

    def stream(self, layer: int, values: Floats) -> None:
        """Nothing."""
