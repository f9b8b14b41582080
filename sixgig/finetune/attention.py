"""Causal attention with grouped queries, and what families add: norms of queries and keys, a gate for the
output, a window, a temperature, one matrix for queries, keys and values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor
from torch.nn import functional as F

from sixgig.families.terms.names import (
    ATTENTION_NORM,
    ATTENTION_OUTPUT,
    KEY,
    KEY_NORM,
    QUERY,
    QUERY_KEY_VALUE,
    QUERY_NORM,
    VALUE,
    in_layer,
    weight_in,
)
from sixgig.finetune.blueprint import Blueprint
from sixgig.finetune.claims import uncovered
from sixgig.finetune.norms import Addition, rms_norm
from sixgig.finetune.operands import Operands
from sixgig.finetune.rope import Rope, positions, trained_length

QUERIES_AT_ONCE = 512  # where a window ends before the document does: a mask has these times window + these


@dataclass(frozen=True)
class Temperature:
    """Queries grow by `share` of ln(1 + how many times `length` their position is), rounded down."""

    share: float
    length: int

    def of(self, documents: Sequence[int], like: Tensor) -> Tensor:
        """What queries (tokens, heads, width) are multiplied by, (tokens, 1, 1)."""
        times = (positions(documents, like.device) / self.length).floor()
        return (self.share * torch.log1p(times) + 1).to(like.dtype).view(-1, 1, 1)


@dataclass
class Attention:
    """A net.Block. width: of a head. fused: queries, keys and values come from one matrix, in this order.

    gated: each head's query comes with a gate for its output. scale: of scores. window: tokens that are seen,
    0 for all. adds: how the output comes to the stream.
    """

    layer: int
    dense: tuple[str, ...]
    n_heads: int
    n_kv_heads: int
    width: int
    rope: Rope
    fused: bool
    gated: bool
    scale: float
    window: int
    temperature: Temperature | None
    adds: Addition
    epsilon: float
    routed: tuple[str, ...] = ()
    joined: bool = False

    def forward(self, x: Tensor, documents: Sequence[int], operands: Operands) -> Tensor:
        """As net.Block."""
        layer, weights = self.layer, operands.weights
        normed = rms_norm(x, weights.vector(weight_in(layer, ATTENTION_NORM)), self.epsilon)
        queries, keys, values = self._heads(normed, operands)
        queries, gate = queries.chunk(2, -1) if self.gated else (queries, None)
        rotation = self.rope.rotation(documents, weights, x)
        queries, keys = (
            self.rope.rotate(self._normed(heads, weight_in(layer, norm), operands), rotation)
            for heads, norm in ((queries, QUERY_NORM), (keys, KEY_NORM))
        )
        if self.temperature is not None:
            queries = queries * self.temperature.of(documents, x)
        y = attend(queries, keys, values, documents, self.scale, self.window)
        if gate is not None:
            y = y * torch.sigmoid(gate)
        y = operands.linear(in_layer(layer, ATTENTION_OUTPUT), y.flatten(1))
        return self.adds.to(x, y, weights, self.epsilon)

    def _heads(self, normed: Tensor, operands: Operands) -> tuple[Tensor, ...]:
        """Queries, keys and values, (tokens, heads, width)."""
        layer, counts = self.layer, (self.n_heads, self.n_kv_heads, self.n_kv_heads)
        if self.fused:
            mixed = operands.linear(in_layer(layer, QUERY_KEY_VALUE), normed)
            parts: Sequence[Tensor] = torch.split(mixed, [n * self.width for n in counts], 1)
        else:
            parts = [operands.linear(in_layer(layer, stem), normed) for stem in (QUERY, KEY, VALUE)]
        return tuple(torch.unflatten(part, 1, (n, -1)) for part, n in zip(parts, counts, strict=True))

    def _normed(self, heads: Tensor, name: str, operands: Operands) -> Tensor:
        if name not in self.dense:
            return heads
        return rms_norm(heads, operands.weights.vector(name), self.epsilon)


def attend(
    queries: Tensor, keys: Tensor, values: Tensor, documents: Sequence[int], scale: float, window: int = 0
) -> Tensor:
    """Causal within each document: (tokens, n_heads, width); keys and values have n_kv_heads.

    window: a query sees so many keys, its own the last; all where it is 0.
    """
    # Repeated by hand: with enable_gqa a GPU in float32 is left with the kernel that holds all scores.
    repeats = queries.shape[1] // keys.shape[1]
    spread = (queries, keys.repeat_interleave(repeats, 1), values.repeat_interleave(repeats, 1))
    heads = (each.transpose(0, 1).unsqueeze(0) for each in spread)
    parts = zip(*(torch.split(each, list(documents), 2) for each in heads), strict=True)
    done = [result for q, k, v in parts for result in _document(q, k, v, scale, window)]
    return torch.cat(done, 2).squeeze(0).transpose(0, 1)


def _document(q: Tensor, k: Tensor, v: Tensor, scale: float, window: int) -> Iterator[Tensor]:
    """Where the window ends before the document, some queries at a time against the keys that any sees."""
    length = q.shape[2]
    if not 0 < window < length:
        yield F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale)
        return
    for first in range(0, length, QUERIES_AT_ONCE):
        last, begin = min(first + QUERIES_AT_ONCE, length), max(0, first - window + 1)
        here, there = (torch.arange(start, last, device=q.device) for start in (first, begin))
        distance = here.unsqueeze(1) - there
        seen = (distance >= 0) & (distance < window)
        yield F.scaled_dot_product_attention(
            q[:, :, first:last], k[:, :, begin:last], v[:, :, begin:last], attn_mask=seen, scale=scale
        )


def attention(plan: Blueprint, layer: int, rope: Rope) -> Attention:
    """The block of a layer that attends; ModelFileError where a tensor is missing or does not fit."""
    model, facts, claims = plan.model, plan.facts, plan.claims
    shape, window = model.attention, plan.window(layer)
    n_heads, n_kv_heads, width = shape.n_heads[layer], shape.n_kv_heads[layer], shape.key_length
    if not n_kv_heads or n_heads % n_kv_heads:
        raise uncovered(model, "attention.head_count_kv", n_kv_heads, f"a divisor of {n_heads} heads")
    fused = weight_in(layer, QUERY_KEY_VALUE) in claims
    names = [claims.need(weight_in(layer, ATTENTION_NORM), model.n_embd)]
    widths = {QUERY: (1 + facts.gated_attention) * n_heads * width}
    widths |= dict.fromkeys((KEY, VALUE), n_kv_heads * width)
    for stem, n_out in {QUERY_KEY_VALUE: sum(widths.values())}.items() if fused else widths.items():
        names += claims.linear(in_layer(layer, stem), model.n_embd, n_out, biased=True)
    output = in_layer(layer, ATTENTION_OUTPUT)
    names += claims.linear(output, n_heads * width, model.n_embd, biased=facts.biases)
    if facts.head_norms:
        names += [claims.need(weight_in(layer, norm), width) for norm in (QUERY_NORM, KEY_NORM)]
    adds = plan.addition(layer, 0)
    return Attention(
        layer=layer,
        dense=(*names, *filter(None, [adds.norm, rope.factors])),
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
        width=width,
        rope=rope,
        fused=fused,
        gated=facts.gated_attention,
        scale=_score_scale(plan, n_heads, width),
        window=window,
        temperature=_temperature(plan) if facts.temperature else None,
        adds=adds,
        epsilon=plan.epsilon,
    )


def _score_scale(plan: Blueprint, n_heads: int, width: int) -> float:
    if scale := plan.scale("attention.scale"):
        return scale
    by_stream = plan.n_layers == plan.facts.scaled_by_stream
    return 1 / sqrt(plan.model.n_embd // n_heads if by_stream else width)


def _temperature(plan: Blueprint) -> Temperature | None:
    share = plan.number("attention.temperature_scale", 0.0)
    return Temperature(share, trained_length(plan)) if share else None
