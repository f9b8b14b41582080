"""The vocabulary: what tensors of a model are for, declared once per architecture."""

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from re import ASCII, compile


class Role(StrEnum):
    """What a tensor does. Only three-dimensional expert weights are ROUTED_EXPERT; their biases are OTHER."""

    EMBEDDING = "embedding"
    HEAD = "head"
    NORM = "norm"
    ATTENTION = "attention"
    LINEAR_ATTENTION = "linear_attention"
    CONVOLUTION = "convolution"
    ROUTER = "router"
    ROUTED_EXPERT = "routed_expert"
    SHARED_EXPERT = "shared_expert"
    FEED_FORWARD = "feed_forward"
    OTHER = "other"


@dataclass(frozen=True)
class TensorRule:
    """One tensor name, "blk.{layer}.ffn_up.weight" where it repeats per layer, and its role."""

    pattern: str
    role: Role


@dataclass(frozen=True)
class RouterRule:
    """Where a layer's router lives, as name patterns with "{layer}".

    `weight` has shape (n_embd, n_experts); `bias` is added to the logits; `selection_bias` is added to the
    gates for choosing only (DeepSeek's); `input_norm` is the norm whose output the router reads.
    `names_gate`: llama.cpp has no default gating function for the family and aborts without one.
    """

    weight: str = "blk.{layer}.ffn_gate_inp.weight"
    bias: str | None = None
    selection_bias: str | None = None
    input_norm: str = "blk.{layer}.ffn_norm.weight"
    names_gate: bool = False


@dataclass(frozen=True)
class SlidingRule:
    """Which layers look back a window only: all but the last of every `period`, unless the file says others.

    window: 0 where the file's key counts; else what llama.cpp takes unless that key is there and 0.
    """

    period: int
    window: int = 0


_LAYER = compile(r"blk\.(0|[1-9][0-9]{0,5})\.(.+)", ASCII)


@dataclass(frozen=True)
class Family:
    """One architecture as GGUF names it, its tensors, and its router (None where it has no experts).

    `rotates_whole_heads`: llama.cpp's graph wants rotary dimensions, key and value width to be equal.
    `sliding`: None where llama.cpp gives every layer the whole context, whatever the metadata say.
    """

    architecture: str
    rules: tuple[TensorRule, ...]
    router: RouterRule | None = None
    rotates_whole_heads: bool = False
    sliding: SlidingRule | None = None

    @cached_property
    def roles(self) -> dict[str, Role]:
        """Role by pattern."""
        return {rule.pattern: rule.role for rule in self.rules}

    def classify(self, name: str) -> tuple[Role, int | None]:
        """The role of a tensor and its layer (None outside the layers); OTHER when it is not declared."""
        match = _LAYER.fullmatch(name)
        if match is None:
            return Role.OTHER if "{" in name else self.roles.get(name, Role.OTHER), None
        return self.roles.get("blk.{layer}." + match[2], Role.OTHER), int(match[1])
