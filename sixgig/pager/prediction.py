"""Give the pager each layer's router, so that it can guess a layer's experts from the layer before.

The guess applies the next layer's router to this layer's normalised input. Both layers normalise with
weights of their own: this layer's are divided out and the next layer's multiplied in, once, here.
"""

import numpy as np
from numpy.typing import NDArray

from sixgig.modelfile import ModelFile, Tensor, dequantise, read_tensor
from sixgig.pager.pager import Pager

_LEAST_NORM_WEIGHT = 1e-3


def teach_routers(pager: Pager) -> bool:
    """Hand over the routers of all expert layers but the first; False where a layer has none."""
    model, rule = pager.model, pager.model.family.router
    tensors = {tensor.name: tensor for tensor in model.tensors}
    for position, (before, layer) in enumerate(zip(pager.layers, pager.layers[1:], strict=False), start=1):
        weight = _values(model, tensors.get(rule.weight.format(layer=layer)))
        if weight is None:
            return False
        ratio = _norm_ratio(model, tensors, rule.input_norm, before, layer)
        bias = _values(model, tensors.get(rule.bias.format(layer=layer))) if rule.bias else None
        pager.set_router(position, np.ascontiguousarray(weight * ratio), bias)
    return True


def _norm_ratio(
    model: ModelFile, tensors: dict[str, Tensor], norm: str, before: int, layer: int
) -> NDArray[np.float32] | float:
    """What turns the input normalised by layer `before` into that normalised by `layer`, [n_embd]."""
    old = _values(model, tensors.get(norm.format(layer=before)))
    new = _values(model, tensors.get(norm.format(layer=layer)))
    if old is None or new is None:
        return 1.0
    usable = np.abs(old) > _LEAST_NORM_WEIGHT
    return np.where(usable, new / np.where(usable, old, 1.0), 0.0).astype(np.float32)


def _values(model: ModelFile, tensor: Tensor | None) -> NDArray[np.float32] | None:
    return None if tensor is None else dequantise(read_tensor(model, tensor), tensor)
