"""The tensors of a synthetic model: name, shape, type, and what fills each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt
from typing import Literal

from bench.synthetic.shape import Shape

Fill = Literal["random", "constant", "decay", "embedding", "head"]


@dataclass(frozen=True)
class TensorSpec:
    """One tensor. `shape` is in ggml's order (ne0 first); `value` is the standard deviation of a random
    fill, or the value of a constant one."""

    name: str
    shape: tuple[int, ...]
    type: str
    fill: Fill
    value: float = 0.0


def tensors(shape: Shape) -> Iterator[TensorSpec]:
    """Every tensor in file order: embedding, layers, head."""
    yield TensorSpec("token_embd.weight", (shape.n_embd, shape.n_vocab), shape.dense_type, "embedding")
    for layer in range(shape.n_layers):
        yield from _layer(shape, layer)
    yield _constant("output_norm.weight", shape.n_embd)
    yield TensorSpec("output.weight", (shape.n_embd, shape.n_vocab), shape.dense_type, "head")


def _layer(shape: Shape, layer: int) -> Iterator[TensorSpec]:
    block = f"blk.{layer}."
    yield _constant(block + "attn_norm.weight", shape.n_embd)
    yield from (_linear_attention if shape.is_linear_attention(layer) else _attention)(shape, block)
    if shape.architecture == "qwen35moe":
        yield _constant(block + "post_attention_norm.weight", shape.n_embd)
        yield from _shared_expert(shape, block)
    else:
        yield _constant(block + "ffn_norm.weight", shape.n_embd)
    yield from _routed_experts(shape, block)


def _attention(shape: Shape, block: str) -> Iterator[TensorSpec]:
    """Small output where every layer has softmax attention: its mean over the context hardly moves, and the
    sum over layers would freeze routing. qwen35moe's gate halves it, and it comes every fourth layer only."""
    gated = 2 if shape.architecture == "qwen35moe" else 1
    heads = shape.n_heads * shape.head_dim
    scale = shape.dynamics.layer_scale * (2.0 if shape.architecture == "qwen35moe" else 0.4)
    yield _matrix(shape, block + "attn_q.weight", shape.n_embd, heads * gated)
    yield _matrix(shape, block + "attn_k.weight", shape.n_embd, shape.n_kv_heads * shape.head_dim)
    yield _matrix(shape, block + "attn_v.weight", shape.n_embd, shape.n_kv_heads * shape.head_dim)
    yield _constant(block + "attn_q_norm.weight", shape.head_dim)
    yield _constant(block + "attn_k_norm.weight", shape.head_dim)
    yield _matrix(shape, block + "attn_output.weight", heads, shape.n_embd, scale)


def _linear_attention(shape: Shape, block: str) -> Iterator[TensorSpec]:
    yield _matrix(shape, block + "attn_qkv.weight", shape.n_embd, shape.ssm_channels)
    yield _matrix(shape, block + "attn_gate.weight", shape.n_embd, shape.ssm_inner)
    yield TensorSpec(block + "ssm_conv1d.weight", (4, shape.ssm_channels), "F32", "random", 0.5)
    yield TensorSpec(block + "ssm_dt.bias", (shape.ssm_heads,), "F32", "random", 0.5)
    yield TensorSpec(block + "ssm_a", (shape.ssm_heads,), "F32", "decay")
    for name in ("ssm_beta.weight", "ssm_alpha.weight"):
        yield _matrix(shape, block + name, shape.n_embd, shape.ssm_heads)
    yield _constant(block + "ssm_norm.weight", shape.ssm_state)
    scale = 1.7 * shape.dynamics.layer_scale
    yield _matrix(shape, block + "ssm_out.weight", shape.ssm_inner, shape.n_embd, scale)


def _shared_expert(shape: Shape, block: str) -> Iterator[TensorSpec]:
    std, scale = 1 / sqrt(shape.n_embd), 2 * shape.dynamics.layer_scale
    yield TensorSpec(block + "ffn_gate_inp_shexp.weight", (shape.n_embd,), "F32", "random", std)
    yield _matrix(shape, block + "ffn_gate_shexp.weight", shape.n_embd, shape.expert_width)
    yield _matrix(shape, block + "ffn_up_shexp.weight", shape.n_embd, shape.expert_width)
    yield _matrix(shape, block + "ffn_down_shexp.weight", shape.expert_width, shape.n_embd, scale)


def _routed_experts(shape: Shape, block: str) -> Iterator[TensorSpec]:
    """The router, and experts scaled so that the weighted sum of k of them is about `layer_scale`."""
    router, std = (shape.n_embd, shape.n_experts), shape.dynamics.router_std / sqrt(shape.n_embd)
    yield TensorSpec(block + "ffn_gate_inp.weight", router, "F32", "random", std)
    for name in ("gate", "up"):
        yield _experts(shape, block + f"ffn_{name}_exps.weight", shape.n_embd, shape.expert_width, 1.0)
    scale = shape.dynamics.layer_scale * 1.1 * sqrt(shape.n_experts_used)
    yield _experts(shape, block + "ffn_down_exps.weight", shape.expert_width, shape.n_embd, scale)


def _constant(name: str, width: int, value: float = 1.0) -> TensorSpec:
    return TensorSpec(name, (width,), "F32", "constant", value)


def _matrix(shape: Shape, name: str, inputs: int, outputs: int, scale: float = 1.0) -> TensorSpec:
    """A dense matrix that maps inputs of root mean square 1 to outputs of root mean square `scale`."""
    return TensorSpec(name, (inputs, outputs), shape.dense_type, "random", scale / sqrt(inputs))


def _experts(shape: Shape, name: str, inputs: int, outputs: int, scale: float) -> TensorSpec:
    return TensorSpec(
        name, (inputs, outputs, shape.n_experts), shape.expert_type, "random", scale / sqrt(inputs)
    )
