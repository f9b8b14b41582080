"""Causal attention with grouped queries, and what Qwen adds: norms of queries and keys, a gate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from sixgig.finetune.claims import Claims, uncovered
from sixgig.finetune.norms import rms_norm
from sixgig.finetune.operands import Operands
from sixgig.finetune.rope import Rope
from sixgig.modelfile import ModelFile

_FACTORS = "rope_freqs.weight"  # Llama 3's


@dataclass
class Attention:
    """A net.Block. width: of a head. gated: each head's query comes with a gate for its output (Qwen3.5)."""

    layer: int
    dense: tuple[str, ...]
    n_heads: int
    n_kv_heads: int
    width: int
    rope: Rope
    gated: bool
    epsilon: float
    routed: tuple[str, ...] = ()
    joined: bool = False

    def forward(self, x: Tensor, documents: Sequence[int], operands: Operands) -> Tensor:
        """As net.Block."""
        blk, weights = f"blk.{self.layer}.", operands.weights
        normed = rms_norm(x, weights.vector(f"{blk}attn_norm.weight"), self.epsilon)
        queries, keys, values = (
            torch.unflatten(operands.linear(blk + name, normed), 1, (n_heads, -1))
            for name, n_heads in (
                ("attn_q", self.n_heads),
                ("attn_k", self.n_kv_heads),
                ("attn_v", self.n_kv_heads),
            )
        )
        queries, gate = queries.chunk(2, -1) if self.gated else (queries, None)
        factors = weights.vector(_FACTORS) if _FACTORS in self.dense else None
        rotation = self.rope.rotation(documents, factors, x)
        queries, keys = (
            self.rope.rotate(self._normed(heads, blk + name, operands), rotation)
            for heads, name in ((queries, "attn_q_norm"), (keys, "attn_k_norm"))
        )
        y = attend(queries, keys, values, documents)
        if gate is not None:
            y = y * torch.sigmoid(gate)
        return x + operands.linear(f"{blk}attn_output", y.flatten(1))

    def _normed(self, heads: Tensor, name: str, operands: Operands) -> Tensor:
        if f"{name}.weight" not in self.dense:
            return heads
        return rms_norm(heads, operands.weights.vector(f"{name}.weight"), self.epsilon)


def attend(queries: Tensor, keys: Tensor, values: Tensor, documents: Sequence[int]) -> Tensor:
    """Causal within each document: (tokens, n_heads, width); keys and values have n_kv_heads."""
    # Repeated by hand: with enable_gqa a GPU in float32 is left with the kernel that holds all scores.
    repeats = queries.shape[1] // keys.shape[1]
    spread = (queries, keys.repeat_interleave(repeats, 1), values.repeat_interleave(repeats, 1))
    parts = zip(*(torch.split(heads.transpose(0, 1), list(documents), 1) for heads in spread), strict=True)
    done = [
        F.scaled_dot_product_attention(q.unsqueeze(0), k.unsqueeze(0), v.unsqueeze(0), is_causal=True)
        for q, k, v in parts
    ]
    return torch.cat(done, 2).squeeze(0).transpose(0, 1)


def attention(model: ModelFile, layer: int, rope: Rope, claims: Claims, epsilon: float) -> Attention:
    """The block of a layer that attends; ModelFileError where a tensor is missing or does not fit."""
    shape, gated = model.attention, model.architecture == "qwen35moe"
    n_heads, n_kv_heads, width = shape.n_heads[layer], shape.n_kv_heads[layer], shape.key_length
    if not n_kv_heads or n_heads % n_kv_heads:
        raise uncovered(model, "attention.head_count_kv", n_kv_heads, f"a divisor of {n_heads} heads")
    blk, is_llama = f"blk.{layer}.", model.architecture == "llama"
    names = [claims.need(f"{blk}attn_norm.weight", model.n_embd)]
    names += claims.linear(f"{blk}attn_q", model.n_embd, (1 + gated) * n_heads * width, biased=True)
    for name in ("attn_k", "attn_v"):
        names += claims.linear(blk + name, model.n_embd, n_kv_heads * width, biased=True)
    names += claims.linear(f"{blk}attn_output", n_heads * width, model.n_embd, biased=is_llama)
    if not is_llama:
        names += [claims.need(f"{blk}attn_{name}_norm.weight", width) for name in ("q", "k")]
    elif _FACTORS in claims:
        names.append(claims.need(_FACTORS, rope.n_rotary // 2))
    return Attention(layer, tuple(names), n_heads, n_kv_heads, width, rope, gated, epsilon)
