"""Latent attention (DeepSeek V2): keys and values of all heads come out of one narrow vector.

The projection out of the latent space is split: the keys' half, turned, works on queries instead.
"""

from collections.abc import Callable

from sixgig.families.terms.config import Config
from sixgig.families.terms.recipe import Keys
from sixgig.families.terms.rotary import attention_factor
from sixgig.families.terms.sources import (
    MIXTURE,
    attention,
    common_keys,
    feed_forward,
    linear,
    norms,
    outside,
    selection_bias,
    shared_mixture_keys,
    weight,
)
from sixgig.families.terms.transforms import Array, Shape, Transform, require

SOFTMAX, SIGMOID = 1, 2  # llama.cpp's LLAMA_EXPERT_GATING_FUNC_TYPE


def _by_head(values: Array, config: Config) -> Array:
    """(heads, key part without position and value, latent width)."""
    rows = config.integer("qk_nope_head_dim") + config.integer("v_head_dim")
    require(
        len(values) == config.n_heads * rows, "kv_b_proj has other rows than its heads", f"{values.shape}"
    )
    return values.reshape(config.n_heads, rows, -1)


def _keys_half(values: Array, config: Config) -> Array:
    return _by_head(values, config)[:, : config.integer("qk_nope_head_dim")].swapaxes(1, 2)


def _values_half(values: Array, config: Config) -> Array:
    return _by_head(values, config)[:, config.integer("qk_nope_head_dim") :]


def _keys_shape(shape: Shape, config: Config) -> Shape:
    return config.n_heads, shape[-1], config.integer("qk_nope_head_dim")


def _values_shape(shape: Shape, config: Config) -> Shape:
    return config.n_heads, config.integer("v_head_dim"), shape[-1]


def latent_keys(gate: int) -> Callable[[Config], Keys]:
    """Keys with latent attention, which counts as one wide key-value head; `gate` of the router."""

    def keys(config: Config) -> Keys:
        rank, rotary = config.integer("kv_lora_rank"), config.integer("qk_rope_head_dim")
        found: Keys = {
            "attention.head_count_kv": 1,
            "attention.kv_lora_rank": rank,
            "attention.key_length": rank + rotary,
            "attention.value_length": rank,
            "attention.key_length_mla": config.integer("qk_nope_head_dim") + rotary,
            "attention.value_length_mla": config.integer("v_head_dim"),
            "rope.dimension_count": rotary,
            "vocab_size": config.integer("vocab_size"),
            "expert_gating_func": gate,
        }
        if config.has("q_lora_rank"):
            found["attention.q_lora_rank"] = config.integer("q_lora_rank")
        stretched = common_keys(config)
        if stretched.get("rope.scaling.type") == "yarn":
            found |= _yarn_keys(config, stretched.pop("rope.scaling.attn_factor", None) is not None)
        mixture = shared_mixture_keys(config)
        if gate == SOFTMAX:  # "greedy", which knows no groups whatever their number
            mixture = {key: value for key, value in mixture.items() if "group" not in key}
        return stretched | mixture | found

    return keys


def _yarn_keys(config: Config, scaled: bool) -> Keys:
    """Attention is scaled too where mscale_all_dim says so; llama.cpp then turns vectors unscaled."""
    rope = config.rope
    over, factor = rope.number("mscale_all_dim", default=0.0), attention_factor(config)
    fits = abs(factor - 1) < 1e-6 if over else not scaled
    require(fits, "config.json: llama.cpp's deepseek2 scales YaRN otherwise", f"attention factor {factor:g}")
    return {"rope.scaling.yarn_log_multiplier": 0.1 * over} if over else {}


SIZES = {"tie_word_embeddings": False, "attention_bias": False, "rope_theta": 10000.0}
# Sums of others, and where the routed layers are said a second time.
IDLE = ("qk_head_dim", "head_dim")
RULES = (
    *outside(),
    *norms(),
    *attention(),
    *linear("self_attn.q_a_proj", "attn_q_a"),
    *weight("self_attn.q_a_layernorm", "attn_q_a_norm"),
    *weight("self_attn.q_b_proj", "attn_q_b"),
    *linear("self_attn.kv_a_proj_with_mqa", "attn_kv_a_mqa"),
    *weight("self_attn.kv_a_layernorm", "attn_kv_a_norm"),
    *weight("self_attn.kv_b_proj", "attn_k_b", Transform(_keys_half, _keys_shape)),
    *weight("self_attn.kv_b_proj", "attn_v_b", Transform(_values_half, _values_shape)),
    *feed_forward(),
    *MIXTURE,
    *selection_bias(),
    *feed_forward("mlp.shared_experts", "_shexp"),
)
