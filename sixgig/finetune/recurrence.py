"""The mixer of a recurrent layer as a block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass

from torch import Tensor

from sixgig.errors import ModelFileError
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
        norm = operands.weights.vector(f"blk.{self.layer}.attn_norm.weight")
        normed = rms_norm(x, norm, self.epsilon)
        return x + gated_delta_net(normed, self.layer, self.shape, documents, operands, self.epsilon)


def delta_net(plan: Blueprint, layer: int) -> DeltaNet:
    """The block of a recurrent layer; ModelFileError where a tensor is missing or does not fit."""
    model, claims, shape = plan.model, plan.claims, plan.model.attention.recurrent
    if shape is None or not all(astuple(shape)):
        raise ModelFileError(f"{model.architecture}.ssm.* is incomplete", cure="convert the model again")
    blk, shapes = f"blk.{layer}.", _shapes(shape, model.n_embd)
    names = [claims.need(f"{blk}attn_norm.weight", model.n_embd)]
    names += [claims.need(name, *shapes[name.removeprefix(blk)]) for name in delta_net_tensors(layer)]
    return DeltaNet(layer, tuple(names), shape, plan.epsilon)


def _shapes(shape: Recurrent, n_embd: int) -> dict[str, tuple[int, ...]]:
    n_values, inner = shape.time_step_rank, shape.inner_size
    mixed = 2 * shape.group_count * shape.state_size + inner
    return {
        "attn_qkv.weight": (n_embd, mixed),
        "attn_gate.weight": (n_embd, inner),
        "ssm_beta.weight": (n_embd, n_values),
        "ssm_alpha.weight": (n_embd, n_values),
        "ssm_out.weight": (inner, n_embd),
        "ssm_conv1d.weight": (shape.conv_kernel, mixed),
        "ssm_norm.weight": (inner // n_values,),
        "ssm_dt.bias": (n_values,),
        "ssm_a": (n_values,),
    }
