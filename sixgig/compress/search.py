"""Searches the best recipe of a size: chosen by costs, measured, corrected by what was measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sixgig.compress.shrinker import Candidate, Shrinker
from sixgig.compress.types import can_be_quantised
from sixgig.families.terms.names import inside_layer


def best(candidates: Sequence[Candidate]) -> Candidate:
    """The one with the least divergence; of equals the first."""
    return min(candidates, key=lambda candidate: candidate.figures.kld_mean)


def search_types(
    shrinker: Shrinker,
    budget_bytes: int,
    rounds: int,
    say: Callable[[str], object],
) -> Candidate:
    """The best recipe of the source's own tensors at a size: chosen, measured, corrected.

    Additivity fails at few bits, and types differ in what their errors do. So each kind of tensor is
    given more and then fewer bits, by doubling and halving its cost; what measures better stays. rounds:
    how many such changes are tried, kinds with the most weights first.
    """
    tilt: dict[str, float] = {}
    found = best(
        [
            shrinker.try_out(
                "by costs", shrinker.recipe(shrinker.weights, shrinker.distortions, budget_bytes)
            ),
            shrinker.try_out(
                "without routing",
                shrinker.recipe(shrinker.weights, shrinker.distortions, budget_bytes, routing=False),
            ),
        ]
    )
    routing = found.label == "by costs"
    say(f"first recipe: {found.figures.kld_words}, {found.recipe.expected_loss:.5f} expected")
    changes = _changes(shrinker)[:rounds]
    for number, (name, factor) in enumerate(changes, 1):
        changed = {**tilt, name: tilt.get(name, 1.0) * factor}
        recipe = shrinker.recipe(shrinker.weights, shrinker.distortions, budget_bytes, changed, routing)
        if recipe.types == found.recipe.types:
            continue
        say(f"change {number} of {len(changes)}: {name} x {factor:g}")
        tried = shrinker.try_out(f"{name} x {factor:g}", recipe)
        if tried.figures.kld_mean < found.figures.kld_mean:
            found, tilt = tried, changed
            say(f"{tried.label}: {tried.figures.kld_words}")
    return found


def _changes(shrinker: Shrinker) -> list[tuple[str, float]]:
    """(kind of tensor, factor): kinds with the most elements first, each up and down."""
    sizes: dict[str, int] = {}
    for info in shrinker.weights.tensors:
        if can_be_quantised(info):
            stem = inside_layer(info.name)
            sizes[stem] = sizes.get(stem, 0) + info.n_elements
    order = sorted(sizes, key=lambda name: -sizes[name])
    return [(name, factor) for name in order for factor in (2.0, 0.5)]
