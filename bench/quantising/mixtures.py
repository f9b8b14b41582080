"""The type that llama-quantize gives each tensor: its mixtures as data, for the pinned version of llama.cpp.

Facts of that program, kept here to compare with; oracle/ holds its own tables, and check_mixtures.py
asks it again. It decides by tensor name, and so must we. Covers the families this package declares, quantised
with an importance matrix; does not cover Falcon, RWKV, encoders, and what only the command line can ask for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sixgig.modelfile import TYPE_BY_NAME, ModelFile, Tensor

HEAD, EMBEDDING, VALUE, KEY, QUERY, OUTPUT, DOWN, OTHER = (
    "head",
    "embedding",
    "value",
    "key",
    "query",
    "output",
    "down",
    "other",
)
_KINDS = {
    "attn_qkv.weight": VALUE,
    "attn_kv_b.weight": VALUE,
    "attn_v.weight": VALUE,
    "attn_k.weight": KEY,
    "attn_q.weight": QUERY,
    "attn_output.weight": OUTPUT,
    "ffn_down": DOWN,
}
_KEPT = (
    "_norm.weight",
    "ffn_gate_inp.weight",
    "ssm_conv1d",
    "shortconv.conv.weight",
    "indexer.k_proj.weight",
    "indexer.q_proj.weight",
)
_SMALLER_BLOCKS = {
    "Q2_K": "Q4_0",
    "Q3_K": "Q4_0",
    "Q4_K": "Q5_0",
    "Q5_K": "Q5_1",
    "Q6_K": "Q8_0",
} | {f"IQ{name}": "IQ4_NL" for name in ("1_S", "1_M", "2_XXS", "2_XS", "2_S", "3_XXS", "3_S", "4_XS")}


@dataclass(frozen=True)
class Place:
    """Where a tensor stands: it is number `index` of its kind, in llama-quantize's order.

    Rules about depth compare `position` with `count`: for values both count tensors, otherwise layers.
    `sharing` is query heads per key-value head.
    """

    index: int
    position: int
    count: int
    n_experts: int
    sharing: int
    is_70b: bool


Rule = Callable[[Place], str]


@dataclass(frozen=True)
class Mixture:
    """`rules` and then `base` give a kind's type; `of_eight` comes first in models with exactly 8 experts.

    `head` is also that of an embedding that serves as the head.
    """

    base: str
    head: str = "Q6_K"
    rules: Mapping[str, str | Rule] = field(default_factory=dict)
    of_eight: Mapping[str, str] = field(default_factory=lambda: {VALUE: "Q8_0", KEY: "Q8_0"})

    def choose(self, kind: str, place: Place) -> str:
        """The type before rows that are no whole number of blocks are looked at."""
        if kind == HEAD:
            return self.head
        rule = self.rules.get(kind, self.base)
        if place.n_experts == 8:
            rule = self.of_eight.get(kind, rule)
        return rule if isinstance(rule, str) else rule(place)


def _shared(many: str, few: str) -> Rule:
    """Values that four or more query heads share are few, and worth more bits."""
    return lambda place: many if place.sharing >= 4 else few


def _shared_or_experts(few: str) -> Rule:
    return lambda place: "Q4_K" if place.sharing >= 4 or place.n_experts >= 4 else few


def _lifted(rule: str | Rule) -> Rule:
    """The same, but more in 80-layer models, where eight query heads share a value."""

    def lifted(place: Place) -> str:
        kind = rule if isinstance(rule, str) else rule(place)
        return "Q5_K" if place.is_70b and kind in ("Q3_K", "Q4_K") else kind

    return lifted


def _gets_more_bits(place: Place) -> bool:
    """The first and last eighth, and every third between."""
    eighth = place.count // 8
    ends = place.position < eighth or place.position >= 7 * place.count // 8
    return ends or (place.position - eighth) % 3 == 2


def _more_bits(more: str, base: str) -> Rule:
    return lambda place: more if _gets_more_bits(place) else base


def _first_part(parts: int, more: str, base: str) -> Rule:
    """More for the first 1 / `parts` of the layers."""
    return lambda place: more if place.position < place.count // parts else base


def _first_few(more: str, base: str) -> Rule:
    """More for as many tensors as an eighth of the layers: a shared expert's counts as one."""
    return lambda place: more if place.index < place.count // 8 else base


def _first_two(place: Place) -> str:
    return "Q5_K" if place.index < 2 else "Q4_K"


def _down_of_iq3_m(place: Place) -> str:
    early = place.position < place.count // 8
    return "Q4_K" if early or (place.n_experts == 8 and _gets_more_bits(place)) else "IQ3_S"


_EIGHT = {VALUE: "Q8_0", KEY: "Q8_0", OUTPUT: "Q5_K"}
_EIGHT_IN_TWO_BITS = {KEY: "Q4_K", OUTPUT: "Q5_K"}
MIXTURES = {
    "Q2_K": Mixture(
        "Q2_K",
        rules={VALUE: _lifted(_shared("Q4_K", "Q3_K")), OUTPUT: "Q3_K", DOWN: "Q3_K"},
        of_eight=_EIGHT,
    ),
    "Q3_K_M": Mixture(
        "Q3_K",
        rules={VALUE: _lifted(_first_two), OUTPUT: "Q4_K", DOWN: _first_part(16, "Q5_K", "Q4_K")},
        of_eight=_EIGHT,
    ),
    "Q4_K_M": Mixture(
        "Q4_K",
        rules={VALUE: _lifted(_more_bits("Q6_K", "Q4_K")), DOWN: _more_bits("Q6_K", "Q4_K")},
        of_eight=_EIGHT,
    ),
    "Q5_K_M": Mixture("Q5_K", rules={VALUE: _more_bits("Q6_K", "Q5_K"), DOWN: _more_bits("Q6_K", "Q5_K")}),
    "Q6_K": Mixture("Q6_K"),
    "Q8_0": Mixture("Q8_0", head="Q8_0"),
    "IQ4_XS": Mixture("IQ4_XS", rules={VALUE: _shared("Q5_K", "IQ4_XS")}, of_eight=_EIGHT),
    "IQ3_M": Mixture(
        "IQ3_S",
        rules={VALUE: _lifted("Q4_K"), OUTPUT: "Q4_K", DOWN: _down_of_iq3_m},
        of_eight=_EIGHT,
    ),
    "IQ3_XXS": Mixture(
        "IQ3_XXS",
        head="Q5_K",
        rules={
            EMBEDDING: "IQ3_S",
            VALUE: _lifted(_shared("Q4_K", "IQ3_XXS")),
            KEY: "IQ2_S",
            QUERY: "IQ2_S",
            OUTPUT: "IQ3_S",
        },
        of_eight=_EIGHT,
    ),
    "IQ2_M": Mixture(
        "IQ2_S",
        head="Q5_K",
        rules={
            EMBEDDING: "IQ3_S",
            VALUE: _shared_or_experts("IQ3_S"),
            OUTPUT: "IQ3_S",
            DOWN: _first_few("IQ3_S", "IQ2_S"),
        },
        of_eight=_EIGHT_IN_TWO_BITS,
    ),
    "IQ2_XS": Mixture(
        "IQ2_XS",
        head="Q5_K",
        rules={
            EMBEDDING: "Q2_K",
            VALUE: _shared_or_experts("Q2_K"),
            DOWN: _first_few("Q2_K", "IQ2_XS"),
        },
        of_eight=_EIGHT_IN_TWO_BITS,
    ),
}


def mixture(name: str, model: ModelFile) -> dict[str, str]:
    """llama-quantize's type for every tensor of the model, in file order; `name` is a key of MIXTURES."""
    recipe, seen, chosen = MIXTURES[name], Counter[str](), dict[str, str]()
    tied = all(tensor.name != "output.weight" for tensor in model.tensors)
    n_values = sum(_kind(tensor, tied) == VALUE for tensor in model.tensors)
    for tensor in sorted(filter(is_quantisable, model.tensors), key=_order):
        kind = _kind(tensor, tied)
        place = _place(model, tensor, kind, seen[kind], n_values)
        seen[kind] += 1
        chosen[tensor.name] = fitting(_wanted(recipe, kind, place, tensor), tensor)
    return {tensor.name: chosen.get(tensor.name, tensor.type.name) for tensor in model.tensors}


def is_quantisable(tensor: Tensor) -> bool:
    """Whether llama-quantize gives the tensor another type: a matrix named weight, no norm or router."""
    is_matrix = any(extent > 1 for extent in tensor.shape[1:])
    return is_matrix and tensor.name.endswith("weight") and not any(part in tensor.name for part in _KEPT)


def fitting(wanted: str, tensor: Tensor) -> str:
    """The type itself, or where a row is no whole number of its blocks, what llama-quantize takes instead."""
    for name in (wanted, _SMALLER_BLOCKS.get(wanted, wanted)):
        if tensor.shape[0] % TYPE_BY_NAME[name].block_elements == 0:
            return name
    return "F16"


def _wanted(recipe: Mixture, kind: str, place: Place, tensor: Tensor) -> str:
    """A head whose rows do not fit the base type gets Q8_0, not what its own type would fall back to."""
    if kind == HEAD and tensor.shape[0] % TYPE_BY_NAME[recipe.base].block_elements:
        return "Q8_0"
    return recipe.choose(kind, place)


def _order(tensor: Tensor) -> tuple[int, str]:
    """llama-quantize's: outside the layers first, then by layer, then by name."""
    return (-1 if tensor.layer is None else tensor.layer, tensor.name)


def _kind(tensor: Tensor, tied: bool) -> str:
    if tensor.name == "output.weight":
        return HEAD
    if tensor.name == "token_embd.weight":
        return HEAD if tied else EMBEDDING
    return next((kind for part, kind in _KINDS.items() if part in tensor.name), OTHER)


def _place(model: ModelFile, tensor: Tensor, kind: str, index: int, n_values: int) -> Place:
    return Place(
        index,
        position=index if tensor.layer is None or kind == VALUE else tensor.layer,
        count=n_values if kind == VALUE else model.n_layers,
        n_experts=model.n_experts,
        sharing=_sharing(model),
        is_70b=_is_70b(model),
    )


def _sharing(model: ModelFile) -> int:
    """Query heads per key-value head in the first layer; 0 where that layer does not attend."""
    shape = model.attention
    return shape.n_heads[0] // shape.n_kv_heads[0] if shape.n_kv_heads[0] else 0


def _is_70b(model: ModelFile) -> bool:
    """What llama.cpp calls a 70B: by architecture and number of layers alone."""
    if model.n_layers - model.hyperparameters.n_prediction_layers != 80:
        return False
    shares = model.attention.n_heads[0] != model.attention.n_kv_heads[0]
    is_llama = model.architecture == "llama" and model.n_experts != 8 and shares
    return model.architecture == "qwen2" or is_llama
