"""Qwen3 with experts, none shared."""

from sixgig.families.terms.blocks import Blocks, Pairs
from sixgig.families.terms.config import Config
from sixgig.families.terms.cuts import ExpertCuts
from sixgig.families.terms.family import Family
from sixgig.families.terms.qwen import CORE, EVERY_LAYER_ROUTED, UNBIASED, mixture_keys
from sixgig.families.terms.recipe import Keys, Recipe
from sixgig.families.terms.sources import MIXTURE, head_norms


def normalised_keys(config: Config) -> Keys:
    """Transformers would not normalise the gates unless config.json says so."""
    config.flag("norm_topk_prob")
    return mixture_keys(config)


FAMILY = Family(
    "qwen3moe",
    tuning=Blocks(Pairs.HALVES, head_norms=True),
    expert_cuts=ExpertCuts(),
    recipes=(
        Recipe(
            ("Qwen3MoeForCausalLM",),
            (*CORE, *head_norms(), *MIXTURE),
            normalised_keys,
            settled=EVERY_LAYER_ROUTED | {"norm_topk_prob": True},
            defaults=UNBIASED | {"use_sliding_window": False},
        ),
    ),
)
