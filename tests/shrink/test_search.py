"""The search by values: prices that measured better are kept, and files are told apart by their cut."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from sixgig.compress import search
from sixgig.compress.choose import Recipe
from sixgig.compress.search import Candidate, Pricing, best, search_types
from sixgig.compress.shrinker import Variant, recipe_digest
from sixgig.families import Role
from sixgig.modelfile import TYPE_BY_NAME
from sixgig.pruning.proposals import FewerChannels, FewerExperts, NarrowerExperts, Proposal
from sixgig.weights.stored import WeightInfo

UP, DOWN = "ffn_up.weight", "ffn_down.weight"


def variant(cut: Proposal | None = None) -> Variant:
    nothing: Any = object()
    return Variant(cut, nothing, nothing, {})


def lost(kld_mean: float) -> Any:
    return SimpleNamespace(kld_mean=kld_mean, kld_words=f"{kld_mean} nats")


def weight(name: str, n_rows: int) -> WeightInfo:
    return WeightInfo(f"blk.0.{name}", (256, n_rows), TYPE_BY_NAME["F16"], Role.FEED_FORWARD, 0)


def searched(
    monkeypatch: pytest.MonkeyPatch, losses: dict[Pricing, float]
) -> tuple[Candidate, list[Pricing]]:
    """What a search finds where recipes lose what their prices say (else 9 nats), and the prices it tried."""
    asked, tried = dict[str, Pricing](), list[Pricing]()

    def recipe_by(shrinker: Any, whole: Variant, budget_bytes: int, pricing: Pricing) -> Recipe:
        asked[str(len(asked))] = pricing
        return Recipe({"tensor": str(len(asked) - 1)}, budget_bytes, 0.0)

    def try_out(whole: Variant, recipe: Recipe, label: str) -> Any:
        tried.append(asked[recipe.types["tensor"]])
        return lost(losses.get(tried[-1], 9.0))

    monkeypatch.setattr(search, "recipe_by", recipe_by)
    shrinker: Any = SimpleNamespace(
        engines=SimpleNamespace(say=lambda line: None),
        whole=variant(),
        weights=SimpleNamespace(tensors=(weight(UP, 512), weight(DOWN, 256))),
        try_out=try_out,
    )
    return search_types(shrinker, 1000, rounds=9), tried


@pytest.mark.parametrize("routing", [True, False])
def test_what_measured_better_is_gone_on_from(monkeypatch: pytest.MonkeyPatch, routing: bool) -> None:
    halved = Pricing(routing, ((UP, 0.5),))
    both = Pricing(routing, ((UP, 0.5), (DOWN, 2.0)))
    found, tried = searched(monkeypatch, {Pricing(routing): 3.0, halved: 2.0, both: 1.0})
    assert (found.pricing, found.figures.kld_mean) == (both, 1.0)
    last = Pricing(routing, ((UP, 0.5), (DOWN, 2.0), (DOWN, 0.5)))
    assert tried == [Pricing(), Pricing(routing=False), Pricing(routing, ((UP, 2.0),)), halved, both, last]
    assert last.factor(f"blk.7.{DOWN}") == 1.0 and last.factor(f"blk.0.{UP}") == 0.5


def test_of_equals_the_first_is_best() -> None:
    both = [Candidate(name, variant(), Pricing(), Recipe({}, 1, 0.0), lost(1.0)) for name in ("a", "b")]
    found = best(both)
    assert found is not None and found.label == "a" and best([]) is None


def test_files_are_told_apart_by_their_cut_and_types_alone() -> None:
    recipe, other = Recipe({"a": "Q4_K"}, 9, 0.0), Recipe({"a": "Q5_K"}, 9, 0.0)
    cuts = [
        None,
        FewerExperts(7, 8),
        FewerExperts(7, 8, refitted=True),
        NarrowerExperts(7, 8),
        FewerChannels(0.1, 32),
    ]
    digests = {recipe_digest(variant(cut), each) for cut in cuts for each in (recipe, other)}
    assert len(digests) == 2 * len(cuts) == 2 * len({str(cut) for cut in cuts})
    assert variant(FewerExperts(7, 8)) == variant(FewerExperts(7, 8)) != variant(FewerExperts(6, 8))
    again = Recipe({"a": "Q4_K"}, 10, 1.0)
    assert recipe_digest(variant(FewerExperts(7, 8)), recipe) == recipe_digest(
        variant(FewerExperts(7, 8)), again
    )
