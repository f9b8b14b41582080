"""OLMoE: norms over all heads together; the experts' width is the feed-forward length."""

from sixgig.families.terms.cuts import WIDTH_IS_FEED_FORWARD, ExpertCuts
from sixgig.families.terms.family import Family
from sixgig.families.terms.recipe import Recipe
from sixgig.families.terms.sources import MIXTURE, attention, common_keys, head_norms, norms, outside

FAMILY = Family(
    "olmoe",
    expert_cuts=ExpertCuts(WIDTH_IS_FEED_FORWARD, renormalises=False),
    recipes=(
        Recipe(
            ("OlmoeForCausalLM",),
            (*outside(), *norms(), *attention(), *head_norms(), *MIXTURE),
            common_keys,
            defaults={"tie_word_embeddings": False, "attention_bias": False, "rope_theta": 10000.0},
            settled={"norm_topk_prob": False, "clip_qkv": None},
            cutting={"gpt-2": "olmo"},
        ),
    ),
)
