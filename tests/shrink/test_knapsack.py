"""The knapsack against enumeration, and on a model-sized instance."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sixgig.compress import knapsack
from sixgig.compress.knapsack import RELATIVE, Choice, solve
from sixgig.errors import BudgetError

Groups = list[list[Choice]]
BITS = (1.5625, 1.75, 2.0625, 2.3125, 2.5625, 2.625, 3.0625, 3.4375, 4.25, 4.5, 5.5, 6.5625, 8.5, 16.0)


def _groups(costs: st.SearchStrategy[float], most: int = 5) -> st.SearchStrategy[Groups]:
    sizes = st.integers(0, 12) | st.integers(0, 10**9)
    choice = st.builds(Choice, sizes, costs)
    return st.lists(st.lists(choice, min_size=1, max_size=4), max_size=most)


whole = st.integers(0, 6).map(float)
broken = st.floats(1e-200, 1) | st.floats(1e-9, 1e6) | st.sampled_from((0.0, 0.1, 0.3))


def _smallest(groups: Groups) -> int:
    return sum(min(choice.size_bytes for choice in group) for group in groups)


def _enumerated(groups: Groups, budget_bytes: int) -> tuple[float, int]:
    """Cost and bytes of the best combination."""
    sums = ((math.fsum(c.cost for c in p), sum(c.size_bytes for c in p)) for p in itertools.product(*groups))
    return min(pair for pair in sums if pair[1] <= budget_bytes)


def _budget(groups: Groups, part: float) -> int:
    smallest, largest = (sum(of(c.size_bytes for c in g) for g in groups) for of in (min, max))
    return smallest + int((largest - smallest) * part)


@settings(deadline=None)
@given(_groups(whole), st.floats(0, 1.1))
def test_whole_costs_give_the_very_best_with_the_fewest_bytes(groups: Groups, part: float) -> None:
    budget = _budget(groups, part)
    found = solve(groups, budget)
    assert (found.cost, found.size_bytes) == _enumerated(groups, budget)
    assert found.lower_bound == found.cost
    assert found.gap == 0


@settings(deadline=None)
@given(_groups(broken), st.floats(0, 1.1))
def test_any_costs_give_the_best_to_1e9th(groups: Groups, part: float) -> None:
    budget = _budget(groups, part)
    found = solve(groups, budget)
    best, _ = _enumerated(groups, budget)
    assert best <= found.cost <= best * (1 + RELATIVE)
    assert found.lower_bound <= best
    assert found.gap <= RELATIVE


@settings(deadline=None)
@given(_groups(broken, most=12), st.floats(0, 1))
def test_a_solution_is_what_it_says_and_fits(groups: Groups, part: float) -> None:
    budget = _budget(groups, part)
    found = solve(groups, budget)
    chosen = [group[at] for group, at in zip(groups, found.choices, strict=True)]
    assert found.size_bytes == sum(choice.size_bytes for choice in chosen) <= budget
    assert found.cost == math.fsum(choice.cost for choice in chosen)


@settings(deadline=None)
@given(_groups(broken, most=12), st.floats(0, 1), st.floats(0, 1))
def test_more_bytes_never_cost_more(groups: Groups, one: float, other: float) -> None:
    less, more = (solve(groups, _budget(groups, part)) for part in sorted((one, other)))
    assert more.cost <= less.cost * (1 + RELATIVE)


@settings(deadline=None)
@given(_groups(whole, most=12), st.floats(0, 1))
def test_no_choice_is_taken_that_another_beats(groups: Groups, part: float) -> None:
    found = solve(groups, _budget(groups, part))
    for group, at in zip(groups, found.choices, strict=True):
        mine = (group[at].size_bytes, group[at].cost)
        assert not any(
            other.size_bytes <= mine[0] and other.cost <= mine[1] and (other.size_bytes, other.cost) != mine
            for other in group
        )


@settings(deadline=None)
@given(_groups(whole).filter(lambda groups: _smallest(groups) > 0))
def test_the_smallest_size_is_named_and_then_fits(groups: Groups) -> None:
    smallest = _smallest(groups)
    with pytest.raises(BudgetError, match=f"allow at least {smallest} bytes"):
        solve(groups, smallest - 1)
    assert solve(groups, smallest).size_bytes == smallest


def test_a_refusal_reads_well() -> None:
    with pytest.raises(BudgetError) as refused:
        solve([[Choice(3 << 30, 1.0), Choice(2 << 30, 2.0)]], 1 << 30)
    assert str(refused.value) == (
        "the smallest choices do not fit; needs 2.00 GiB, 1.00 GiB allowed; allow at least 2147483648 bytes"
    )


def test_no_groups_take_nothing() -> None:
    assert solve([], 0) == knapsack.Solution((), 0, 0.0, 0.0)


def test_a_budget_beyond_all_integers_takes_the_best_of_each() -> None:
    assert solve([[Choice(1, 2.0), Choice(2, 1.0)]] * 3, 1 << 80).choices == (1, 1, 1)


def test_a_small_best_cost_beside_huge_ones_stays_exact() -> None:
    """The unit comes from the best cost, not from the first solution's."""
    groups = [[Choice(0, 1e12), Choice(10, 3e-9), Choice(11, 1e-9)], [Choice(0, 1e12), Choice(10, 5e-9)]]
    assert solve(groups, 21).choices == (2, 1)
    assert solve(groups, 20).choices == (1, 1)


def _model(n_groups: int, n_choices: int, n_shapes: int, padding: int) -> Groups:
    """Tensors of a few shapes; sensitivities over three orders of magnitude, errors that fall 4x per bit."""
    random = np.random.default_rng(7)
    elements = 2 ** random.integers(16, 26, n_shapes) * random.integers(1, 12, n_shapes)
    groups = []
    for shape in random.integers(0, n_shapes, n_groups):
        errors = 4.0 ** -np.array(BITS[:n_choices]) * np.exp(random.normal(0, 0.1, n_choices))
        costs = (0.01 * 10 ** random.uniform(-3, 0) * errors).tolist()
        sizes = [-(-int(elements[shape] * bits / 8) // padding) * padding for bits in BITS]
        groups.append([Choice(size, cost) for size, cost in zip(sizes, costs, strict=False)])
    return groups


@pytest.mark.parametrize(("n_shapes", "padding"), [(1, 4096), (30, 32)])
def test_a_model_of_700_tensors_is_proven_to_1e9th(n_shapes: int, padding: int) -> None:
    groups = _model(700, 14, n_shapes, padding)
    for part in (0.02, 0.2):
        budget = _budget(groups, part)
        found = solve(groups, budget)
        assert found.size_bytes <= budget
        assert found.gap <= RELATIVE
        assert found == solve(groups, budget)


def test_when_states_outgrow_their_limits_the_bound_still_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = _model(60, 10, 20, 32)
    budget = _budget(groups, 0.3)
    best = solve(groups, budget)
    monkeypatch.setattr(knapsack, "LIMITS", (1, 2))
    rough = solve(groups, budget)
    assert best.gap <= RELATIVE < rough.gap < 0.1
    assert rough.lower_bound <= best.cost <= rough.cost
    assert rough.size_bytes <= budget
