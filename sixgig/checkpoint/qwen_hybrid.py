"""Qwen3-Next and Qwen3.5: Gated DeltaNet, every fourth layer full attention.

Norm weights carry +1 in GGUF.
"""

from sixgig.checkpoint import delta_net
from sixgig.checkpoint.blocks import (
    GATED_SHARED_EXPERT,
    LAYER,
    MIXTURE,
    attention,
    common_keys,
    expert_widths,
    feed_forward,
    head_norms,
    norms,
    outside,
    weight,
)
from sixgig.checkpoint.config import Config
from sixgig.checkpoint.recipe import Keys, Recipe, Rule, Settled
from sixgig.checkpoint.rotary import sections
from sixgig.checkpoint.transforms import AS_IS, PLUS_ONE, SQUEEZE

_CORE = (
    *outside(PLUS_ONE),
    *norms(PLUS_ONE, "post_attention_norm"),
    *attention(),
    *head_norms(PLUS_ONE),
    *weight("linear_attn.norm", "ssm_norm"),
)
_TILED = (
    *weight("linear_attn.in_proj_qkv", "attn_qkv", delta_net.QUERY_KEY_VALUE_HEADS),
    *weight("linear_attn.in_proj_z", "attn_gate", delta_net.VALUE_HEADS),
    *weight("linear_attn.in_proj_a", "ssm_alpha", delta_net.VALUE_HEADS),
    *weight("linear_attn.in_proj_b", "ssm_beta", delta_net.VALUE_HEADS),
    *weight("linear_attn.conv1d", "ssm_conv1d", delta_net.CONVOLUTION),
    *weight("linear_attn.out_proj", "ssm_out", delta_net.VALUE_HEAD_COLUMNS),
    Rule(f"{LAYER}linear_attn.A_log", "blk.{layer}.ssm_a", delta_net.DECAY),
    Rule(f"{LAYER}linear_attn.dt_bias", "blk.{layer}.ssm_dt.bias", delta_net.VALUE_HEADS),
)
_GROUPED = (
    *weight("linear_attn.in_proj_qkvz", "attn_qkv", delta_net.UNGROUPED_QKV),
    *weight("linear_attn.in_proj_qkvz", "attn_gate", delta_net.UNGROUPED_GATE),
    *weight("linear_attn.in_proj_ba", "ssm_ba"),
    *weight("linear_attn.conv1d", "ssm_conv1d", SQUEEZE),
    *weight("linear_attn.out_proj", "ssm_out"),
    Rule(f"{LAYER}linear_attn.A_log", "blk.{layer}.ssm_a", delta_net.GROUPED_DECAY),
    Rule(f"{LAYER}linear_attn.dt_bias", "blk.{layer}.ssm_dt.bias", AS_IS),
)
_SETTLED: dict[str, Settled] = {"attn_output_gate": (True, None), "output_gate_type": ("swish", "silu", None)}
_DEFAULTS = {"tie_word_embeddings": False, "attention_bias": False, "rope_theta": 10000.0}
_VISION_AND_PREDICTION = (r"^(model\.)?(visual|mtp)\.",)


def _n_rotary(config: Config) -> int:
    return int(config.head_width * config.rope.number("partial_rotary_factor", default=0.25))


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


def sectioned_keys(config: Config) -> Keys:
    """With the sections of rotary positions in time, height and width; text uses the first only."""
    found = sections(config, _n_rotary(config), [11, 11, 10])
    return hybrid_keys(config) | {"rope.dimension_sections": found}


RECIPES = (
    Recipe(
        "qwen3next",
        ("Qwen3NextForCausalLM",),
        (*_CORE, *_GROUPED, *MIXTURE, *GATED_SHARED_EXPERT, *feed_forward()),
        hybrid_keys,
        ignored=_VISION_AND_PREDICTION,
        settled=_SETTLED | {"norm_topk_prob": True, "decoder_sparse_step": 1, "mlp_only_layers": ([], None)},
        defaults=_DEFAULTS,
        kinds=("full_attention", "linear_attention"),
    ),
    Recipe(
        "qwen35",
        ("Qwen3_5ForCausalLM", "Qwen3_5ForConditionalGeneration"),
        (*_CORE, *_TILED, *feed_forward()),
        sectioned_keys,
        ignored=_VISION_AND_PREDICTION,
        settled=_SETTLED,
        defaults=_DEFAULTS,
        kinds=("full_attention", "linear_attention"),
    ),
    Recipe(
        "qwen35moe",
        ("Qwen3_5MoeForCausalLM", "Qwen3_5MoeForConditionalGeneration"),
        (*_CORE, *_TILED, *MIXTURE, *GATED_SHARED_EXPERT),
        sectioned_keys,
        ignored=_VISION_AND_PREDICTION,
        settled=_SETTLED
        | {"norm_topk_prob": (True, None), "decoder_sparse_step": 1, "mlp_only_layers": ([], None)},
        defaults=_DEFAULTS,
        kinds=("full_attention", "linear_attention"),
    ),
)
