"""Give the pager each layer's router, so that it can guess a layer's experts from the layer before.

The guess applies the next layer's router to this layer's normalised input. Both layers normalise with
weights of their own: this layer's are divided out and the next layer's multiplied in, once, here. A layer
whose router is no such matrix, or that has none, is not guessed.
"""

import numpy as np
from numpy.typing import NDArray

from sixgig.modelfile import ModelFile, Tensor, dequantise, read_tensor
from sixgig.pager.pager import Pager

_LEAST_NORM_WEIGHT = 1e-3


def teach_routers(pager: Pager) -> None:
    """Hand over the routers of all expert layers but the first, where they score the hidden state."""
    model, rule = pager.model, pager.model.family.router
    tensors = {tensor.name: tensor for tensor in model.tensors}

    def values(pattern: str, layer: int, *shape: int) -> NDArray[np.float32] | None:
        """Those of a layer's tensor, None where there is none of this shape."""
        tensor = tensors.get(pattern.format(layer=layer))
        return _values(model, tensor) if tensor and tensor.shape == shape else None

    for position, (before, layer) in enumerate(zip(pager.layers, pager.layers[1:], strict=False), start=1):
        weight = values(rule.weight, layer, model.n_embd, model.n_experts)
        if weight is None:
            continue
        old, new = (values(rule.input_norm, number, model.n_embd) for number in (before, layer))
        bias = values(rule.bias, layer, model.n_experts) if rule.bias else None
        pager.set_router(position, np.ascontiguousarray(weight * _norm_ratio(old, new)), bias)


def _norm_ratio(
    old: NDArray[np.float32] | None, new: NDArray[np.float32] | None
) -> NDArray[np.float32] | float:
    """What turns the input normalised by the layer before into that normalised by this one, [n_embd]."""
    if old is None or new is None:
        return 1.0
    usable = np.abs(old) > _LEAST_NORM_WEIGHT
    return np.where(usable, new / np.where(usable, old, 1.0), 0.0).astype(np.float32)


def _values(model: ModelFile, tensor: Tensor) -> NDArray[np.float32]:
    return dequantise(read_tensor(model, tensor), tensor)
