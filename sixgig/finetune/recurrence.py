"""The mixer of a recurrent layer as a block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass

from torch import Tensor

from sixgig.errors import ModelFileError
from sixgig.families.terms.names import (
    ATTENTION_NORM,
    DELTA_ALPHA,
    DELTA_BETA,
    DELTA_CONVOLUTION,
    DELTA_DECAY,
    DELTA_GATE,
    DELTA_NORM,
    DELTA_OUTPUT,
    DELTA_STEP,
    QUERY_KEY_VALUE,
    stem_of,
    weight_in,
)
from sixgig.finetune.blueprint import Blueprint
from sixgig.finetune.delta_net import delta_net_tensors, gated_delta_net
from sixgig.finetune.norms import rms_norm
from sixgig.finetune.operands import Operands
from sixgig.modelfile import Recurrent


@dataclass
class DeltaNet:
    """A net.Block: Gated DeltaNet."""

    layer: int
    dense: tuple[str, ...]
    shape: Recurrent
    epsilon: float
    routed: tuple[str, ...] = ()
    joined: bool = False

    def forward(self, x: Tensor, documents: Sequence[int], operands: Operands) -> Tensor:
        """As net.Block."""
        norm = operands.weights.vector(weight_in(self.layer, ATTENTION_NORM))
        normed = rms_norm(x, norm, self.epsilon)
        return x + gated_delta_net(normed, self.layer, self.shape, documents, operands, self.epsilon)


def delta_net(plan: Blueprint, layer: int) -> DeltaNet:
    """The block of a recurrent layer; ModelFileError where a tensor is missing or does not fit."""
    model, claims, shape = plan.model, plan.claims, plan.model.attention.recurrent
    if shape is None or not all(astuple(shape)):
        raise ModelFileError(f"{model.architecture}.ssm.* is incomplete", cure="convert the model again")
    shapes = _shapes(shape, model.n_embd)
    names = [claims.need(weight_in(layer, ATTENTION_NORM), model.n_embd)]
    names += [claims.need(name, *shapes[stem_of(name)]) for name in delta_net_tensors(layer)]
    return DeltaNet(layer, tuple(names), shape, plan.epsilon)


def _shapes(shape: Recurrent, n_embd: int) -> dict[str, tuple[int, ...]]:
    n_values, inner = shape.time_step_rank, shape.inner_size
    mixed = 2 * shape.group_count * shape.state_size + inner
    return {
        QUERY_KEY_VALUE: (n_embd, mixed),
        DELTA_GATE: (n_embd, inner),
        DELTA_BETA: (n_embd, n_values),
        DELTA_ALPHA: (n_embd, n_values),
        DELTA_OUTPUT: (inner, n_embd),
        DELTA_CONVOLUTION: (shape.conv_kernel, mixed),
        DELTA_NORM: (inner // n_values,),
        DELTA_STEP: (n_values,),
        DELTA_DECAY: (n_values,),
    }
