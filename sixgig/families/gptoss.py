"""gpt-oss: attention sinks, biased router and experts, whose matrices are stored (inputs, outputs)."""

from sixgig.families.terms.config import Config
from sixgig.families.terms.cuts import ExpertCuts
from sixgig.families.terms.family import POST_ATTENTION_NORM, ROUTER_BIAS, Family, RouterRule, SlidingRule
from sixgig.families.terms.recipe import Keys, Recipe, Rule
from sixgig.families.terms.sources import LAYER, attention, common_keys, norms, outside, router
from sixgig.families.terms.transforms import EACH_EXPERT, Array, Transform, Unit, half, require, transposed

_EXPERTS = f"{LAYER}mlp.experts."


def _every_other(first: int) -> Transform:
    """Of gate and up, which alternate: the gates or the ups of one expert's bias."""

    def apply(values: Array, config: Config) -> Array:
        return values[first::2]

    return Transform(apply, half(first, Unit.EXPERT).shape, Unit.EXPERT)


def _every_other_output(first: int) -> Transform:
    return transposed(lambda values: values[first::2], divisor=2)


def gptoss_keys(config: Config) -> Keys:
    """With the window that every other layer looks back."""
    slides = [kind == "sliding_attention" for kind in config.layer_kinds]
    alternate = [number % 2 == 0 for number in range(config.n_layers)]
    require(
        not slides or slides == alternate, "config.json: layer_types is another pattern", str(slides)[:60]
    )
    return common_keys(config, slides=True) | {
        "attention.sliding_window": config.integer("sliding_window"),
        "expert_feed_forward_length": config.integer("intermediate_size"),
    }


FAMILY = Family(
    "gpt-oss",
    router=RouterRule(bias=ROUTER_BIAS, input_norm=POST_ATTENTION_NORM),
    sliding=SlidingRule(period=2),
    expert_cuts=ExpertCuts(plain=False),
    recipes=(
        Recipe(
            ("GptOssForCausalLM",),
            (
                *outside(),
                *norms(second="post_attention_norm"),
                *attention(),
                Rule(f"{LAYER}self_attn.sinks", "blk.{layer}.attn_sinks.weight"),
                *router("mlp.router"),
                Rule(f"{_EXPERTS}gate_up_proj", "blk.{layer}.ffn_gate_exps.weight", _every_other_output(0)),
                Rule(f"{_EXPERTS}gate_up_proj", "blk.{layer}.ffn_up_exps.weight", _every_other_output(1)),
                Rule(f"{_EXPERTS}down_proj", "blk.{layer}.ffn_down_exps.weight", transposed()),
                Rule(f"{_EXPERTS}gate_up_proj_bias", "blk.{layer}.ffn_gate_exps.bias", _every_other(0)),
                Rule(f"{_EXPERTS}gate_up_proj_bias", "blk.{layer}.ffn_up_exps.bias", _every_other(1)),
                Rule(f"{_EXPERTS}down_proj_bias", "blk.{layer}.ffn_down_exps.bias", EACH_EXPERT),
            ),
            gptoss_keys,
            settled={"swiglu_alpha": 1.702, "swiglu_limit": 7.0},
            defaults={"tie_word_embeddings": False, "attention_bias": True, "sliding_window": 128},
            idle=("initial_context_length", "experts_per_token"),
        ),
    ),
)
