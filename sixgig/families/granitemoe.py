"""Granite with experts, with or without a shared one; its multipliers become scales."""

from dataclasses import replace

from sixgig.families.terms.config import Config
from sixgig.families.terms.cuts import WIDTH_IS_FEED_FORWARD, ExpertCuts
from sixgig.families.terms.family import Family
from sixgig.families.terms.granite import BLOCKS, DEFAULTS, SETTLED, granite_keys
from sixgig.families.terms.recipe import Keys, Recipe
from sixgig.families.terms.rotary import TENSORS, stretching
from sixgig.families.terms.sources import (
    ROTARY_ATTENTION,
    fused_experts,
    norms,
    outside,
    weight,
)
from sixgig.families.terms.transforms import Unit, half

_SHARED = "shared_mlp.input_linear"


def mixture_keys(config: Config) -> Keys:
    """With the shared expert's width where there is one."""
    keys = granite_keys(config)
    if shared := config.integer("shared_intermediate_size", default=0):
        keys["expert_shared_feed_forward_length"] = shared
    return keys


FAMILY = Family(
    "granitemoe",
    tuning=replace(BLOCKS, shared_expert=True),
    expert_cuts=ExpertCuts(WIDTH_IS_FEED_FORWARD),
    recipes=(
        Recipe(
            ("GraniteMoeForCausalLM", "GraniteMoeSharedForCausalLM"),
            (
                *outside(),
                *norms(),
                *ROTARY_ATTENTION,
                *weight("block_sparse_moe.router.layer", "ffn_gate_inp"),
                *fused_experts("block_sparse_moe", "input_linear.weight", "output_linear.weight"),
                *weight(_SHARED, "ffn_gate_shexp", half(0, Unit.TENSOR)),
                *weight(_SHARED, "ffn_up_shexp", half(1, Unit.TENSOR)),
                *weight("shared_mlp.output_linear", "ffn_down_shexp"),
            ),
            mixture_keys,
            stretching(TENSORS),
            settled=SETTLED,
            defaults=DEFAULTS,
        ),
    ),
)
