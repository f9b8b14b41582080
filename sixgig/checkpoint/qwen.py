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
from sixgig.checkpoint.recipe import Keys, Recipe

_FULL: dict[str, bool | int | float | str | None] = {"use_sliding_window": False}
_CORE = (*outside(), *norms(), *attention())


def normalised_keys(config: Config) -> Keys:
    """The same, where transformers would not normalise the gates unless config.json says so."""
    config.flag("norm_topk_prob")
    return mixture_keys(config)


def mixture_keys(config: Config) -> Keys:
    """With the experts' widths."""
    return common_keys(config) | expert_widths(config)


RECIPES = (
    Recipe("qwen2", ("Qwen2ForCausalLM",), (*_CORE, *feed_forward()), common_keys, settled=_FULL),
    Recipe(
        "qwen2moe",
        ("Qwen2MoeForCausalLM",),
        (*_CORE, *MIXTURE, *GATED_SHARED_EXPERT),
        mixture_keys,
        settled=_FULL | {"norm_topk_prob": False},
    ),
    Recipe(
        "qwen3", ("Qwen3ForCausalLM",), (*_CORE, *head_norms(), *feed_forward()), common_keys, settled=_FULL
    ),
    Recipe(
        "qwen3moe",
        ("Qwen3MoeForCausalLM",),
        (*_CORE, *head_norms(), *MIXTURE),
        normalised_keys,
        settled=_FULL | {"norm_topk_prob": True},
    ),
)
