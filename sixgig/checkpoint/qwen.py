"""Qwen 2, 2.5 and 3, dense and with experts."""

from sixgig.checkpoint.blocks import (
    GATED_SHARED_EXPERT,
    MIXTURE,
    attention,
    common_keys,
    expert_widths,
    feed_forward,
    head_norms,
    norms,
    outside,
)
from sixgig.checkpoint.config import Config
from sixgig.checkpoint.recipe import Keys, Recipe, Settled

_EVERY_LAYER: dict[str, Settled] = {"decoder_sparse_step": 1, "mlp_only_layers": ([], None)}
_QKV: dict[str, tuple[str, ...]] = {"qkv_bias": ("attn_q.bias", "attn_k.bias", "attn_v.bias")}
_UNTIED = {"tie_word_embeddings": False, "attention_bias": False, "rope_theta": 10000.0}
_BIASED = {"tie_word_embeddings": False, "qkv_bias": True, "rope_theta": 10000.0}
_CORE = (*outside(), *norms(), *attention())


def normalised_keys(config: Config) -> Keys:
    """The same, where transformers would not normalise the gates unless config.json says so."""
    config.flag("norm_topk_prob")
    return mixture_keys(config)


def mixture_keys(config: Config) -> Keys:
    """With the experts' widths."""
    return common_keys(config) | expert_widths(config)


RECIPES = (
    Recipe(
        "qwen2", ("Qwen2ForCausalLM",), (*_CORE, *feed_forward()), common_keys, defaults=_BIASED, flags=_QKV
    ),
    Recipe(
        "qwen2moe",
        ("Qwen2MoeForCausalLM",),
        (*_CORE, *MIXTURE, *GATED_SHARED_EXPERT),
        mixture_keys,
        settled=_EVERY_LAYER | {"norm_topk_prob": False},
        defaults=_BIASED | {"use_sliding_window": False},
        flags=_QKV,
    ),
    Recipe(
        "qwen3",
        ("Qwen3ForCausalLM",),
        (*_CORE, *head_norms(), *feed_forward()),
        common_keys,
        defaults=_UNTIED,
    ),
    Recipe(
        "qwen3moe",
        ("Qwen3MoeForCausalLM",),
        (*_CORE, *head_norms(), *MIXTURE),
        normalised_keys,
        settled=_EVERY_LAYER | {"norm_topk_prob": True},
        defaults=_UNTIED | {"use_sliding_window": False},
    ),
)
