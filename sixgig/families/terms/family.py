"""A family's declaration: all that is known of one architecture."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from sixgig.families.terms.blocks import Blocks
from sixgig.families.terms.cuts import DenseCuts, ExpertCuts
from sixgig.families.terms.recipe import Recipe
from sixgig.families.terms.roles import Role, role_and_layer

POST_ATTENTION_NORM = "blk.{layer}.post_attention_norm.weight"
SELECTION_BIAS = "blk.{layer}.exp_probs_b.bias"
ROUTER_BIAS = "blk.{layer}.ffn_gate_inp.bias"
# In a hybrid attn_qkv and attn_gate belong to the delta net; its full layers have attn_q, attn_k, attn_v.
DELTA_NET_ROLES = {"attn_qkv": Role.LINEAR_ATTENTION, "attn_gate": Role.LINEAR_ATTENTION}


@dataclass(frozen=True)
class RouterRule:
    """Where a layer's router lives, as name patterns with "{layer}".

    `weight` has shape (n_embd, n_experts); `bias` is added to the logits; `selection_bias` is added to the
    gates for choosing only (DeepSeek's); `input_norm` is the norm whose output the router reads.
    """

    weight: str = "blk.{layer}.ffn_gate_inp.weight"
    bias: str | None = None
    selection_bias: str | None = None
    input_norm: str = "blk.{layer}.ffn_norm.weight"


@dataclass(frozen=True)
class SlidingRule:
    """Which layers look back a window only: all but the last of every `period`, unless the file says others.

    window: 0 where the file's key counts; else what llama.cpp takes unless that key is there and 0.
    default: what it takes where that key is not there.
    """

    period: int
    window: int = 0
    default: int = 0


@dataclass(frozen=True)
class Family:
    """One architecture as GGUF names it. What is None or empty is not known of it.

    `declared`: it has a file of its own; without, only the engine's vocabulary speaks.
    `roles`: stems ("attn_qkv") that mean something else here than in that vocabulary.
    `sliding`: None where llama.cpp gives every layer the whole context, whatever the metadata say.
    `recipes`: how checkpoints of it are converted. `tuning`: how its blocks compute.
    `unadapted`: roles whose products the engine's graph computes without adapters.
    `dense_cuts`, `expert_cuts`: what may be pruned of a model without experts, and of one with them.
    """

    architecture: str
    declared: bool = True
    roles: Mapping[str, Role] = field(default_factory=dict)
    router: RouterRule = RouterRule()
    sliding: SlidingRule | None = None
    unadapted: frozenset[Role] = frozenset()
    dense_cuts: DenseCuts | None = None
    expert_cuts: ExpertCuts | None = None
    recipes: tuple[Recipe, ...] = ()
    tuning: Blocks | None = None

    def __post_init__(self) -> None:
        named = tuple(replace(recipe, architecture=self.architecture) for recipe in self.recipes)
        object.__setattr__(self, "recipes", named)

    def classify(self, name: str) -> tuple[Role, int | None]:
        """The role of a tensor and its layer (None outside the layers); OTHER for what nobody knows."""
        return role_and_layer(name, self.roles)
