"""What a stock llama.cpp loads of a pruned model: the compatibility table, per architecture.

Source: the loaders of the pinned llama.cpp (src/models/*.cpp) and its build_moe_ffn; every row is loaded and
compared by tests/shrink/test_structure*.py. "Fixed" also stands where nobody has verified more.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from sixgig.errors import UsageError
from sixgig.modelfile import ModelFile


class Freedom(StrEnum):
    """How an extent may change."""

    FIXED = "fixed"
    UNIFORM = "the same in every layer"
    PER_LAYER = "its own in every layer"


class SharedWidth(StrEnum):
    """Where llama.cpp takes the shared experts' width from when the routed ones become narrower.

    OWN: a key that has nothing to do with it. STATED: a key whose default is the routed width, so it must be
    written. STATED_EACH: the like, times expert_shared_count. COUNTED: the routed width times
    expert_shared_count, which must then change. SAME: the routed width.
    """

    OWN = "own"
    STATED = "stated"
    STATED_EACH = "stated each"
    COUNTED = "counted"
    SAME = "same"


@dataclass(frozen=True)
class ExpertFreedom:
    """Any uniform number of experts and any uniform width, within what stands here.

    width_key: metadata, without the architecture, that give the width. frozen_count: a number of experts by
    which llama.cpp knows a variant with another graph. renormalises: the gates of the chosen experts are
    divided by their sum (None: expert_weights_norm decides). softmax: gates are a softmax over all experts
    unless expert_gating_func says otherwise. plain: an expert is down(silu(gate(x)) * up(x)), without biases.
    """

    width_key: tuple[str, ...] = ("expert_feed_forward_length",)
    shared: SharedWidth = SharedWidth.OWN
    frozen_count: int = 0
    renormalises: bool | None = True
    softmax: bool = True
    plain: bool = True


@dataclass(frozen=True)
class Capabilities:
    """What may be cut out of an architecture.

    heads: key-value groups with their query heads. widths: dense feed-forward channels. output_bias: loads
    attn_output.bias and ffn_down.bias that were not there. carrier: an architecture with the same graph
    under which the file may be written to get more. experts: None for a model without.
    """

    architecture: str
    heads: Freedom = Freedom.FIXED
    widths: Freedom = Freedom.FIXED
    output_bias: bool = False
    carrier: str | None = None
    experts: ExpertFreedom | None = None
    not_loaded: tuple[str, ...] = field(default=())


_U, _L = Freedom.UNIFORM, Freedom.PER_LAYER
_DENSE = (
    Capabilities("deci", _L, _L, output_bias=True, not_loaded=("attn_q_norm", "attn_k_norm")),
    Capabilities("llama", _U, _U, output_bias=True, carrier="deci"),
    Capabilities("granite", _U, _U, output_bias=True),
    Capabilities("qwen2", widths=_U),
    Capabilities("qwen3", _U, _U),
    Capabilities("qwen35", _U, _U),
)
_FFN = ("feed_forward_length",)
_BOTH = ("feed_forward_length", "expert_feed_forward_length")
_PLAIN = ExpertFreedom()
_MIXTURES: dict[str, ExpertFreedom] = {
    "bailingmoe2": ExpertFreedom(shared=SharedWidth.STATED_EACH, renormalises=None, softmax=False),
    "deepseek": ExpertFreedom(shared=SharedWidth.COUNTED, renormalises=False),
    "deepseek2": ExpertFreedom(shared=SharedWidth.COUNTED, renormalises=None),
    "dots1": ExpertFreedom(shared=SharedWidth.COUNTED, renormalises=None, softmax=False),
    "ernie4_5-moe": _PLAIN,
    "glm4moe": ExpertFreedom(shared=SharedWidth.COUNTED, renormalises=None, softmax=False),
    "gpt-oss": ExpertFreedom(plain=False),
    "granitemoe": ExpertFreedom(width_key=_FFN),
    "hunyuan-moe": ExpertFreedom(width_key=_BOTH, shared=SharedWidth.STATED),
    "lfm2moe": ExpertFreedom(softmax=False),
    "llama": ExpertFreedom(width_key=_FFN),
    "llama4": ExpertFreedom(
        shared=SharedWidth.SAME, frozen_count=128, renormalises=False, softmax=False, plain=False
    ),
    "minimax-m2": ExpertFreedom(width_key=_BOTH, softmax=False),
    "olmoe": ExpertFreedom(width_key=_FFN, renormalises=False),
    "qwen2moe": ExpertFreedom(renormalises=False),
    "qwen35moe": _PLAIN,
    "qwen3moe": _PLAIN,
    "qwen3next": _PLAIN,
    "qwen3vlmoe": _PLAIN,
}


def can_carry(model: ModelFile) -> Capabilities:
    """The row of the model's architecture, with experts if the model has them; UsageError without a row."""
    return row(model.architecture, mixture=model.n_experts > 0)


def row(architecture: str, *, mixture: bool) -> Capabilities:
    """A row of the table; UsageError names the architectures there are."""
    if mixture and architecture in _MIXTURES:
        return Capabilities(architecture, experts=_MIXTURES[architecture])
    dense = {capabilities.architecture: capabilities for capabilities in _DENSE}
    if not mixture and architecture in dense:
        return dense[architecture]
    kind, known = ("mixtures", sorted(_MIXTURES)) if mixture else ("dense models", sorted(dense))
    raise UsageError(
        f"nothing is known about pruning {architecture}",
        f"{kind} that can be: {', '.join(known)}",
        "--no-prune",
    )


def expert_freedom(model: ModelFile) -> ExpertFreedom:
    """How the experts may change; UsageError where there are none."""
    found = can_carry(model).experts
    if found is None:
        raise UsageError(
            f"{model.name} has no experts to prune", model.architecture, "prune its widths instead"
        )
    return found


def gates_shift(model: ModelFile) -> bool:
    """Whether the gates of experts that stay grow when others go: a softmax over all, never renormalised.

    Elsewhere a token that would not have chosen a dropped expert is computed as before.
    """
    freedom, prefix = expert_freedom(model), model.architecture
    gating = model.metadata.integer(f"{prefix}.expert_gating_func")
    softmax = freedom.softmax if not gating else gating == 1
    norm = model.metadata.get(f"{prefix}.expert_weights_norm")
    return softmax and not (bool(norm) if freedom.renormalises is None else freedom.renormalises)


def with_carrier(capabilities: Capabilities) -> Capabilities:
    """What the same model may lose when it is written under its carrier's name; itself without one."""
    if capabilities.carrier is None:
        return capabilities
    return replace(row(capabilities.carrier, mixture=False), carrier=capabilities.carrier)
