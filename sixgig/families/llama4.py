"""Llama 4: some layers routed (top 1) beside one shared expert, the others dense."""

from sixgig.families.terms.config import Config
from sixgig.families.terms.cuts import ExpertCuts, SharedWidth
from sixgig.families.terms.family import Family, SlidingRule
from sixgig.families.terms.recipe import Keys, Recipe, Rule
from sixgig.families.terms.rotary import Takes, stretching
from sixgig.families.terms.sources import LAYER, attention, common_keys, feed_forward, norms, outside, weight
from sixgig.families.terms.transforms import outputs_half, require, transposed

_EXPERTS = f"{LAYER}feed_forward.experts."
_PERIOD = 4
_UNNORMED_EXPERTS = 128  # llama.cpp knows by this count that heads are not normed


def llama4_keys(config: Config) -> Keys:
    """With which layers are routed, and that all look back without limit where they do."""
    normed = config.flag("use_qk_norm", default=True)
    numbers = f"use_qk_norm {normed} with {config.n_experts} experts"
    require(
        normed == (config.n_experts != _UNNORMED_EXPERTS), "config.json: llama.cpp norms by count", numbers
    )
    keys: Keys = {
        "feed_forward_length": config.integer("intermediate_size_mlp"),
        "expert_feed_forward_length": config.integer("intermediate_size"),
        "interleave_moe_layer_step": config.integer("interleave_moe_layer_step"),
        "rope.dimension_count": config.head_width,
        "vocab_size": config.integer("vocab_size"),
    }
    kinds = config.layer_kinds
    if kinds and all(kind == "full_attention" for kind in kinds):
        keys["attention.sliding_window"] = 0
    _require_pattern(config, kinds)
    return common_keys(config, takes=Takes.DIVISORS) | keys


def _require_pattern(config: Config, kinds: list[str]) -> None:
    """llama.cpp has every fourth layer look back without limit and without positions, or all with them."""
    rotary, numbers = config.items("no_rope_layers"), range(1, config.n_layers + 1)
    full = bool(kinds) and all(kind == "full_attention" for kind in kinds)
    wanted = [full or number % _PERIOD != 0 for number in numbers]
    chunked = ["chunked_attention" if number % _PERIOD else "full_attention" for number in numbers]
    require(
        not kinds or full or kinds == chunked, "config.json: layer_types is another pattern", str(kinds)[:60]
    )
    require(
        not rotary or [bool(one) for one in rotary] == wanted, "config.json: no_rope_layers", str(rotary)[:60]
    )
    step = config.integer("interleave_moe_layer_step")
    routed = [number - 1 for number in numbers if step and number % step == 0]
    found = config.items("moe_layers")
    require(not found or found == routed, "config.json: moe_layers is another pattern", str(found)[:60])


FAMILY = Family(
    "llama4",
    sliding=SlidingRule(4, 8192),
    expert_cuts=ExpertCuts(
        shared=SharedWidth.SAME,
        frozen_count=_UNNORMED_EXPERTS,
        renormalises=False,
        softmax=False,
        plain=False,
    ),
    recipes=(
        Recipe(
            ("Llama4ForConditionalGeneration", "Llama4ForCausalLM"),
            (
                *outside(),
                *norms(),
                *attention(),
                *feed_forward("feed_forward"),
                *weight("feed_forward.router", "ffn_gate_inp"),
                Rule(f"{_EXPERTS}gate_up_proj", "blk.{layer}.ffn_gate_exps.weight", outputs_half(0)),
                Rule(f"{_EXPERTS}gate_up_proj", "blk.{layer}.ffn_up_exps.weight", outputs_half(1)),
                Rule(f"{_EXPERTS}down_proj", "blk.{layer}.ffn_down_exps.weight", transposed()),
                *feed_forward("feed_forward.shared_expert", "_shexp"),
            ),
            llama4_keys,
            stretching(Takes.DIVISORS),
            ignored=(r"^(vision_model|multi_modal_projector)\.",),
            settled={
                "attention_chunk_size": 8192,
                "floor_scale": 8192,
                "attn_scale": 0.1,
                "attn_temperature_tuning": (True, 4),
                "no_rope_layer_interval": 4,
            },
            defaults={"tie_word_embeddings": False, "attention_bias": False, "rope_theta": 5e5},
            kinds=("full_attention", "chunked_attention"),
            idle=("for_llm_compressor", "use_qk_norm"),
            cutting={"gpt-4o": "llama4"},
        ),
    ),
)
