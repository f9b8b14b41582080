"""The shape of a synthetic model: sizes, types, and the dials that make its routing lifelike."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Architecture = Literal["qwen35moe", "qwen3moe"]
ARCHITECTURES: tuple[Architecture, ...] = ("qwen35moe", "qwen3moe")


@dataclass(frozen=True)
class Dynamics:
    """How routing moves from token to token and from layer to layer.

    topic_share: part of an embedding's energy that all tokens of a topic share (0 to 1). More of it
        makes neighbouring tokens choose the same experts: the locality of decode.
    layer_scale: root mean square of one sublayer's output, the embedding's being 1. More of it makes
        the next layer's router harder to guess from this layer's input.
    router_std: standard deviation of the router's logits.
    head_sharpness: how strongly the head prefers tokens whose embedding is like the hidden state.
    """

    topics: int = 64
    topic_share: float = 0.65
    layer_scale: float = 0.15
    router_std: float = 1.5
    head_sharpness: float = 10.0


@dataclass(frozen=True)
class Shape:
    """Sizes in elements; types are ggml type names ("Q4_K"). `alignment` in bytes."""

    architecture: Architecture = "qwen35moe"
    n_layers: int = 8
    n_embd: int = 1024
    n_experts: int = 128
    n_experts_used: int = 8
    expert_width: int = 256
    n_vocab: int = 4096
    head_dim: int = 128
    n_heads: int = 8
    n_kv_heads: int = 2
    ssm_state: int = 128
    ssm_groups: int = 4
    ssm_heads: int = 8
    full_attention_interval: int = 4
    context_length: int = 32768
    expert_type: str = "Q4_K"
    dense_type: str = "Q8_0"
    alignment: int = 32
    seed: int = 1
    dynamics: Dynamics = field(default_factory=Dynamics)

    def is_linear_attention(self, layer: int) -> bool:
        """True for the Gated DeltaNet layers of qwen35moe (all but every fourth)."""
        return self.architecture == "qwen35moe" and (layer + 1) % self.full_attention_interval != 0

    @property
    def ssm_inner(self) -> int:
        """Width of the value side of a DeltaNet layer."""
        return self.ssm_state * self.ssm_heads

    @property
    def ssm_channels(self) -> int:
        """Width of the joined queries, keys and values of a DeltaNet layer."""
        return self.ssm_inner + 2 * self.ssm_state * self.ssm_groups


PRESETS: dict[str, Shape] = {
    "tiny": Shape(n_layers=4, n_embd=256, n_experts=32, n_experts_used=4, n_vocab=512, head_dim=64, n_heads=4,
                  ssm_state=32, ssm_groups=4, context_length=4096),
    "600m": Shape(n_layers=10),
    "1g-bf16": Shape(n_layers=8, expert_type="BF16", dense_type="BF16", n_experts=64),
    "6g": Shape(n_layers=28, n_embd=2048, expert_width=512, n_heads=16, ssm_groups=8, ssm_heads=16),
    "6g-qwen3moe": Shape(architecture="qwen3moe", n_layers=28, n_embd=2048, expert_width=512, n_heads=16,
                         n_kv_heads=4, dynamics=Dynamics(layer_scale=0.2)),
    # To shrink: a layer of it alone, 2.4 GB, is more than a budget of 2 GiB.
    "20g-bf16": Shape(architecture="qwen3moe", n_layers=8, n_embd=2048, expert_width=1536, n_heads=16,
                      n_kv_heads=4, n_vocab=32768, expert_type="BF16", dense_type="BF16",
                      dynamics=Dynamics(layer_scale=0.2)),
}  # fmt: skip
