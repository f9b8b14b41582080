"""The text half of Qwen3-VL with experts, whose matrices are stored (inputs, outputs) or the other way round.

Which way, the shape tells: releases of transformers differ in what they save.
"""

from sixgig.families.terms.blocks import Blocks, Pairs
from sixgig.families.terms.config import Config
from sixgig.families.terms.cuts import ExpertCuts
from sixgig.families.terms.family import Family
from sixgig.families.terms.recipe import Keys, Recipe, Rule
from sixgig.families.terms.rotary import sections
from sixgig.families.terms.sources import (
    LAYER,
    attention,
    common_keys,
    expert_widths,
    experts,
    head_norms,
    norms,
    outside,
    router,
)
from sixgig.families.terms.transforms import Array, Shape, Transform, Unit, require

_EXPERTS = f"{LAYER}mlp.experts."


def _turned(shape: Shape, outputs: int, inputs: int) -> bool:
    """Whether one expert of `shape` is stored (inputs, outputs)."""
    known = outputs != inputs and tuple(sorted(shape)) == tuple(sorted((outputs, inputs)))
    require(known, "an expert's shape does not tell outputs from inputs", f"{shape}, {outputs} outputs")
    return shape == (inputs, outputs)


def _both(config: Config) -> tuple[int, int]:
    """Outputs and inputs of gate and up together."""
    return 2 * config.integer("moe_intermediate_size"), config.integer("hidden_size")


def _gate_or_up(number: int) -> Transform:
    def apply(values: Array, config: Config) -> Array:
        upright = values.T if _turned(values.shape, *_both(config)) else values
        return upright[number * len(upright) // 2 :][: len(upright) // 2]

    def shape(stored: Shape, config: Config) -> Shape:
        outputs, inputs = _both(config)
        _turned(stored, outputs, inputs)
        return outputs // 2, inputs

    return Transform(apply, shape, Unit.EXPERT)


def _down(values: Array, config: Config) -> Array:
    both, outputs = _both(config)
    return values.T if _turned(values.shape, outputs, both // 2) else values


def _down_shape(stored: Shape, config: Config) -> Shape:
    both, outputs = _both(config)
    _turned(stored, outputs, both // 2)
    return outputs, both // 2


def vision_keys(config: Config) -> Keys:
    """With the sections of rotary positions, and how many layers would take up pictures."""
    deep = config.within("vision_config").items("deepstack_visual_indexes")
    keys: Keys = {
        "rope.dimension_sections": sections(config, config.head_width, [24, 20, 20]),
        "n_deepstack_layers": len(deep),
    }
    return common_keys(config) | expert_widths(config) | keys


FAMILY = Family(
    "qwen3vlmoe",
    tuning=Blocks(Pairs.HALVES, text_sections=True, head_norms=True),
    expert_cuts=ExpertCuts(),
    recipes=(
        Recipe(
            ("Qwen3VLMoeForConditionalGeneration",),
            (
                *outside(),
                *norms(),
                *attention(),
                *head_norms(),
                *router(),
                *experts(),
                Rule(f"{_EXPERTS}gate_up_proj", "blk.{layer}.ffn_gate_exps.weight", _gate_or_up(0)),
                Rule(f"{_EXPERTS}gate_up_proj", "blk.{layer}.ffn_up_exps.weight", _gate_or_up(1)),
                Rule(
                    f"{_EXPERTS}down_proj",
                    "blk.{layer}.ffn_down_exps.weight",
                    Transform(_down, _down_shape, Unit.EXPERT),
                ),
            ),
            vision_keys,
            ignored=(r"^(model\.)?visual\.",),
            settled={"norm_topk_prob": (True, None), "decoder_sparse_step": 1, "mlp_only_layers": ([], None)},
            defaults={"tie_word_embeddings": False, "attention_bias": False, "rope_theta": 5e5},
        ),
    ),
)
