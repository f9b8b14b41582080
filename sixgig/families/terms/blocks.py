"""How the engine's graph of an architecture computes its layers: what tuning must know to compute the same.

Source: llama.cpp's src/models, one file an architecture, and llama-graph.cpp. A layer is what mixes tokens,
then a feed-forward part; each reads the normed stream and adds to it.
"""

from dataclasses import dataclass
from enum import StrEnum


class Pairs(StrEnum):
    """Which channels of a head a rotary position turns together, of the n that it turns."""

    NEIGHBOURS = "2 i and 2 i + 1"
    HALVES = "i and i + n / 2"


class Activation(StrEnum):
    """What the gate of a feed-forward part goes through; GELU is the tanh approximation."""

    SILU = "silu"
    GELU = "gelu"


@dataclass(frozen=True)
class Blocks:
    """Of one architecture; a default is what most do. Which layers slide is the family's SlidingRule.

    frequency_factors: frequencies are divided by rope_freqs or rope_factors_long or _short, where those are.
    text_sections: channels belong to sections, of which those for time, height and width count text.
    yarn_keys: YaRN's betas and its multiplier are read from the file, not taken for granted.
    temperature: queries grow with the position, by attention.temperature_scale.
    gated_attention: each query comes with a gate for its head's output. head_norms: of queries and keys.
    scaled_by_stream: with this number of layers scores are scaled by n_embd / n_heads, not a head's width.
    delta_net_interval: every so many-th layer attends, unless the file says which; others are Gated DeltaNet.
    norms_after: stems of the norms behind what mixes tokens and behind the feed-forward part.
    biases: attn_output and the feed-forward part may have some; queries, keys and values may everywhere.
    gate_in_up: the feed-forward part's gate lies above ffn_up, in one matrix.
    fused_experts: routed experts may have gate above up in one stack.
    gates_sum_to_one: those of the chosen experts, a softmax over all.
    gated_shared_expert: one beside them. shared_expert: one without a gate, if the file has it.
    scales: attention.scale, embedding_scale, residual_scale and logit_scale count.
    embedding_by_width: the embedding is multiplied by sqrt(n_embd). capped_logits: final_logit_softcapping.
    """

    pairs: Pairs
    frequency_factors: bool = False
    text_sections: bool = False
    yarn_keys: bool = False
    temperature: bool = False
    gated_attention: bool = False
    head_norms: bool = False
    scaled_by_stream: int = 0
    delta_net_interval: int = 0
    norms_after: tuple[str, str] | None = None
    biases: bool = False
    activation: Activation = Activation.SILU
    gate_in_up: bool = False
    fused_experts: bool = False
    gates_sum_to_one: bool = True
    gated_shared_expert: bool = False
    shared_expert: bool = False
    scales: bool = False
    embedding_by_width: bool = False
    capped_logits: bool = False
