"""What the Qwen families share: what their transformers classes take for granted, and their hybrids.

Of Gated DeltaNet (Qwen3-Next, Qwen3.5), every fourth layer full attention. Norm weights carry +1 in GGUF.
"""

from typing import Any

from sixgig.families.terms import delta_net
from sixgig.families.terms.blocks import Blocks, Pairs
from sixgig.families.terms.config import Config
from sixgig.families.terms.recipe import Keys, Recipe, Rule, Settled
from sixgig.families.terms.rotary import sections
from sixgig.families.terms.sources import (
    LAYER,
    attention,
    common_keys,
    expert_widths,
    head_norms,
    norms,
    outside,
    weight,
)
from sixgig.families.terms.transforms import PLUS_ONE

EVERY_LAYER_ROUTED: dict[str, Settled] = {"decoder_sparse_step": 1, "mlp_only_layers": ([], None)}
QKV_BIASES: dict[str, tuple[str, ...]] = {"qkv_bias": ("attn_q.bias", "attn_k.bias", "attn_v.bias")}
UNBIASED: dict[str, Any] = {"tie_word_embeddings": False, "attention_bias": False, "rope_theta": 10000.0}
BIASED: dict[str, Any] = {"tie_word_embeddings": False, "qkv_bias": True, "rope_theta": 10000.0}
GATED_DELTA_NET = Blocks(
    Pairs.HALVES, text_sections=True, gated_attention=True, head_norms=True, delta_net_interval=4
)
CORE = (*outside(), *norms(), *attention())
HYBRID_CORE = (
    *outside(PLUS_ONE),
    *norms(PLUS_ONE, "post_attention_norm"),
    *attention(),
    *head_norms(PLUS_ONE),
    *weight("linear_attn.norm", "ssm_norm"),
)
HYBRID_KINDS = ("full_attention", "linear_attention")
GATED_OUTPUT: dict[str, Settled] = {
    "attn_output_gate": (True, None),
    "output_gate_type": ("swish", "silu", None),
}
VISION_AND_PREDICTION = (r"^(model\.)?(visual|mtp)\.",)
# Qwen3.5's DeltaNet.
TILED = (
    *weight("linear_attn.in_proj_qkv", "attn_qkv", delta_net.QUERY_KEY_VALUE_HEADS),
    *weight("linear_attn.in_proj_z", "attn_gate", delta_net.VALUE_HEADS),
    *weight("linear_attn.in_proj_a", "ssm_alpha", delta_net.VALUE_HEADS),
    *weight("linear_attn.in_proj_b", "ssm_beta", delta_net.VALUE_HEADS),
    *weight("linear_attn.conv1d", "ssm_conv1d", delta_net.CONVOLUTION),
    *weight("linear_attn.out_proj", "ssm_out", delta_net.VALUE_HEAD_COLUMNS),
    Rule(f"{LAYER}linear_attn.A_log", "blk.{layer}.ssm_a", delta_net.DECAY),
    Rule(f"{LAYER}linear_attn.dt_bias", "blk.{layer}.ssm_dt.bias", delta_net.VALUE_HEADS),
)


def mixture_keys(config: Config) -> Keys:
    """With the experts' widths."""
    return common_keys(config) | expert_widths(config)


def hybrid_keys(config: Config) -> Keys:
    """With the DeltaNet's sizes and which layers it is in."""
    n_values = config.integer("linear_num_value_heads")
    keys: Keys = {
        "ssm.conv_kernel": config.integer("linear_conv_kernel_dim", default=4),
        "ssm.state_size": config.integer("linear_key_head_dim"),
        "ssm.group_count": config.integer("linear_num_key_heads"),
        "ssm.time_step_rank": n_values,
        "ssm.inner_size": config.integer("linear_value_head_dim") * n_values,
        "full_attention_interval": config.integer("full_attention_interval", default=4),
        "rope.dimension_count": _n_rotary(config),
    }
    if kinds := config.layer_kinds:
        keys["attention.recurrent_layers"] = [kind == "linear_attention" for kind in kinds]
    return common_keys(config) | expert_widths(config) | keys


def hybrid(names: tuple[str, ...], rules: tuple[Rule, ...], settled: dict[str, Settled]) -> Recipe:
    """Of Qwen3.5: rotary positions have sections for time, height and width; text uses the first only."""
    return Recipe(
        names,
        (*HYBRID_CORE, *TILED, *rules),
        _sectioned_keys,
        ignored=VISION_AND_PREDICTION,
        settled=GATED_OUTPUT | settled,
        defaults=UNBIASED,
        kinds=HYBRID_KINDS,
    )


def _sectioned_keys(config: Config) -> Keys:
    found = sections(config, _n_rotary(config), [11, 11, 10])
    return hybrid_keys(config) | {"rope.dimension_sections": found}


def _n_rotary(config: Config) -> int:
    return int(config.head_width * config.rope.number("partial_rotary_factor", default=0.25))
