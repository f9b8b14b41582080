"""Searches the best recipe of a size: types by costs, measured, the costs corrected by what was measured."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import prod

from sixgig.compress.choose import Recipe, choose
from sixgig.compress.measuring import Figures
from sixgig.compress.sensitivity import expected, marginal
from sixgig.compress.shrinker import Shrinker, Variant
from sixgig.compress.types import can_be_quantised
from sixgig.errors import BudgetError, UsageError
from sixgig.families.terms.names import inside_layer
from sixgig.pruning.proposals import proposals

_ROUNDS = 4
Change = tuple[str, float]  # of a kind of tensor (its name without the layer), the factor on its cost


@dataclass(frozen=True)
class Pricing:
    """What an error in each tensor is taken to cost. routing: that routers choose other experts counts too.
    changes: of the costs found, one after another."""

    routing: bool = True
    changes: tuple[Change, ...] = ()

    def factor(self, name: str) -> float:
        """On the cost of a tensor."""
        kind = inside_layer(name)
        return prod(factor for changed, factor in self.changes if changed == kind)

    def __str__(self) -> str:
        """What is special about it."""
        if self.changes:
            name, factor = self.changes[-1]
            return f"{name} x {factor:g}"
        return "by costs" if self.routing else "without routing"


@dataclass(frozen=True)
class Candidate:
    """A recipe of a variant that was written and measured on the text to search on. label: what is special
    about it, in words."""

    label: str
    variant: Variant
    pricing: Pricing
    recipe: Recipe
    figures: Figures


def best(candidates: Iterable[Candidate]) -> Candidate | None:
    """The one with the least divergence; of equals the first, of none None."""
    return min(candidates, key=lambda candidate: candidate.figures.kld_mean, default=None)


def search_types(shrinker: Shrinker, budget_bytes: int, rounds: int) -> Candidate:
    """The best recipe of the source's own tensors at a size: chosen, measured, corrected.

    Additivity fails at few bits, and types differ in what their errors do. So each kind of tensor is
    given more and then fewer bits, by doubling and halving its cost; what measures better stays. rounds:
    how many such changes are tried, kinds with the most weights first.
    """
    say, whole = shrinker.engines.say, shrinker.whole
    first, other = (_tried(shrinker, whole, budget_bytes, Pricing(routing)) for routing in (True, False))
    found = first if first.figures.kld_mean <= other.figures.kld_mean else other
    say(f"first recipe: {found.figures.kld_words}, {found.recipe.expected_loss:.5f} expected")
    changes = _changes(shrinker)[:rounds]
    for number, change in enumerate(changes, 1):
        pricing = replace(found.pricing, changes=(*found.pricing.changes, change))
        recipe = recipe_by(shrinker, whole, budget_bytes, pricing)
        if recipe.types == found.recipe.types:
            continue
        say(f"change {number} of {len(changes)}: {pricing}")
        tried = _measured(shrinker, whole, pricing, recipe)
        if tried.figures.kld_mean < found.figures.kld_mean:
            found = tried
            say(f"{pricing}: {tried.figures.kld_words}")
    return found


def search_cuts(shrinker: Shrinker, budget_bytes: int) -> list[Candidate]:
    """Each cut proposed with the best types for the same bytes; what does not fit or load is left out."""
    found = []
    for proposal in proposals(shrinker.weights):
        try:
            found.append(_tried(shrinker, shrinker.cut(proposal), budget_bytes, Pricing()))
        except (BudgetError, UsageError) as error:
            shrinker.engines.say(f"{proposal}: left out: {error}")
        else:
            shrinker.engines.say(f"{proposal}: {found[-1].figures.kld_words}")
    return found


def recipe_by(shrinker: Shrinker, variant: Variant, budget_bytes: int, pricing: Pricing) -> Recipe:
    """The best types by the costs where the recipe itself ends up: costs and recipe are found in turns."""
    sensitivities = shrinker.sensitivities
    errors = dict.fromkeys(sensitivities, 0.01)
    for _ in range(_ROUNDS):
        costs = (
            marginal(sensitivities, errors)
            if pricing.routing
            else {name: found.linear for name, found in sensitivities.items()}
        )
        costs = {name: cost * pricing.factor(name) for name, cost in costs.items()}
        head_bytes = shrinker.head_bytes(variant.weights)
        found = choose(variant.weights, variant.distortions, costs, budget_bytes, head_bytes)
        errors = {name: variant.distortions[name].errors[kind] for name, kind in found.types.items()}
    return replace(found, expected_loss=expected(shrinker.reached, errors))


def _tried(shrinker: Shrinker, variant: Variant, budget_bytes: int, pricing: Pricing) -> Candidate:
    return _measured(shrinker, variant, pricing, recipe_by(shrinker, variant, budget_bytes, pricing))


def _measured(shrinker: Shrinker, variant: Variant, pricing: Pricing, recipe: Recipe) -> Candidate:
    label = str(variant.cut or pricing)
    return Candidate(label, variant, pricing, recipe, shrinker.try_out(variant, recipe, label))


def _changes(shrinker: Shrinker) -> list[Change]:
    """Kinds of tensors with the most elements first, each up and down."""
    sizes: dict[str, int] = {}
    for info in shrinker.weights.tensors:
        if can_be_quantised(info):
            stem = inside_layer(info.name)
            sizes[stem] = sizes.get(stem, 0) + info.n_elements
    order = sorted(sizes, key=lambda name: -sizes[name])
    return [(name, factor) for name in order for factor in (2.0, 0.5)]
