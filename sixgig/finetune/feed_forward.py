"""The feed-forward part of a dense layer: SwiGLU (Shazeer 2020, arXiv 2002.05202)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from sixgig.finetune.claims import Claims
from sixgig.finetune.norms import rms_norm
from sixgig.finetune.operands import Operands
from sixgig.modelfile import ModelFile


@dataclass
class FeedForward:
    """A net.Block."""

    layer: int
    dense: tuple[str, ...]
    epsilon: float
    routed: tuple[str, ...] = ()
    joined: bool = False

    def forward(self, x: Tensor, documents: Sequence[int], operands: Operands) -> Tensor:
        """As net.Block."""
        blk = f"blk.{self.layer}."
        normed = rms_norm(x, operands.weights.vector(f"{blk}ffn_norm.weight"), self.epsilon)
        return x + swiglu(normed, operands, *swiglu_names(blk))


def swiglu(x: Tensor, operands: Operands, gate: str, up: str, down: str) -> Tensor:
    """(tokens, n_embd) of x (tokens, n_embd); names as Operands.linear takes them."""
    return operands.linear(down, F.silu(operands.linear(gate, x)) * operands.linear(up, x))


def swiglu_names(blk: str, suffix: str = "") -> tuple[str, str, str]:
    """Gate, up and down of a layer; suffix "_exps" or "_shexp" for experts."""
    return f"{blk}ffn_gate{suffix}", f"{blk}ffn_up{suffix}", f"{blk}ffn_down{suffix}"


def feed_forward(model: ModelFile, layer: int, claims: Claims, epsilon: float) -> FeedForward:
    """The block of a dense layer; ModelFileError where a tensor is missing or does not fit."""
    blk = f"blk.{layer}."
    norm = claims.need(f"{blk}ffn_norm.weight", model.n_embd)
    biased = model.architecture == "llama"
    return FeedForward(layer, (norm, *claim_swiglu(model.n_embd, swiglu_names(blk), claims, biased)), epsilon)


def claim_swiglu(n_embd: int, names: Sequence[str], claims: Claims, biased: bool = False) -> tuple[str, ...]:
    """What `swiglu` reads; the hidden width is what the file has."""
    gate, up, down = names
    hidden = claims.shape(f"{down}.weight")[0]
    return (
        *claims.linear(gate, n_embd, hidden, biased),
        *claims.linear(up, n_embd, hidden, biased),
        *claims.linear(down, hidden, n_embd, biased),
    )
