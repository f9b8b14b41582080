"""Mistral Small 4: DeepSeek's latent attention and shared expert; queries grow as Ministral's."""

from dataclasses import replace

from sixgig.families.terms.config import Config
from sixgig.families.terms.cuts import ExpertCuts, SharedWidth
from sixgig.families.terms.family import Family
from sixgig.families.terms.latent import IDLE, RULES, SIZES, SOFTMAX, latent_keys
from sixgig.families.terms.mistral import PICTURES, PICTURES_IDLE, ROPE_IDLE, growth
from sixgig.families.terms.recipe import Keys, Recipe
from sixgig.families.terms.roles import Role


def mistral4_keys(config: Config) -> Keys:
    """With the growth of queries."""
    beta, trained = growth(config)
    grown: Keys = {"attention.temperature_scale": beta, "attention.temperature_length": trained}
    return latent_keys(SOFTMAX)(config) | grown


_TEXT = Recipe(
    ("Mistral4ForCausalLM",),
    RULES,
    mistral4_keys,
    settled={"rope_interleave": True, "n_group": (1, None), "topk_group": (1, None)},
    defaults=SIZES
    | {
        "norm_topk_prob": True,
        "routed_scaling_factor": 1.0,
        "n_shared_experts": 1,
        "first_k_dense_replace": 0,
        "rms_norm_eps": 1e-6,
    },
    idle=(*IDLE, ROPE_IDLE, r"rope\.partial_rotary_factor"),  # which is the width of two channels
)
FAMILY = Family(
    "mistral4",
    unadapted=frozenset({Role.ATTENTION, Role.HEAD}),
    expert_cuts=ExpertCuts(shared=SharedWidth.COUNTED, renormalises=None),
    recipes=(
        _TEXT,
        replace(
            _TEXT,
            names=("Mistral3ForConditionalGeneration/mistral4",),
            ignored=PICTURES,
            defaults=_TEXT.defaults | {"tie_word_embeddings": True},
            idle=(*_TEXT.idle, *PICTURES_IDLE),
        ),
    ),
)
