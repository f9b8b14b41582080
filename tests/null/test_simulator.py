"""The simulator: bounds, contracts, and slow twins of its policies."""

import math
from collections.abc import Container

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sixgig.errors import BudgetError
from sixgig.pager.policies import HALF_LIVES, POLICIES, DecayedFrequency, LeastRecentlyUsed
from sixgig.pager.simulator import Belady, Cache, compare, numbered, replay, reuse_distances
from sixgig.pager.trace import Shape, Trace, Visit
from tests.null.generated_routing import Routing, synthetic_trace

N_EXPERTS = 6


@st.composite
def traces(draw: st.DrawFn, equal: bool = True) -> Trace:
    size = st.just(10) if equal else st.integers(0, 30)
    sizes = draw(st.lists(size, min_size=1, max_size=3).filter(any))
    routed = [layer for layer, size_bytes in enumerate(sizes) if size_bytes]
    experts = st.lists(st.integers(0, N_EXPERTS - 1), min_size=1, max_size=4, unique=True)
    steps = draw(st.lists(st.tuples(st.sampled_from(routed), experts), max_size=40))
    visits = tuple(Visit(number, layer, 1, tuple(ids)) for number, (layer, ids) in enumerate(steps))
    return Trace(Shape(N_EXPERTS, tuple(sizes)), visits)


@given(traces(), st.integers(4, 18))  # a visit larger than the cache has no order of its own: no bound there
def test_no_policy_hits_more_than_belady(trace: Trace, n_experts: int) -> None:
    bound = replay(trace, Belady(trace), 10 * n_experts)
    for make in POLICIES.values():
        assert replay(trace, make(trace.shape), 10 * n_experts).hits <= bound.hits


@given(traces(equal=False), st.integers(30, 300), st.sampled_from([*POLICIES, "belady"]))
def test_the_budget_holds_and_the_counts_add_up(trace: Trace, budget: int, name: str) -> None:
    policy = Belady(trace) if name == "belady" else POLICIES[name](trace.shape)
    cache = Cache(trace.shape, policy, budget)
    for visit in trace:
        experts = numbered(visit, trace.shape)
        wanted = sum(map(trace.shape.size_of, experts))
        cache.serve(experts, visit.number)
        assert cache.used_bytes == sum(cache.sizes.values()) <= cache.peak_bytes <= budget
        assert wanted > budget or set(experts) <= set(cache.sizes)  # pinned ones were not evicted
    counts = replay(trace, Belady(trace), budget)
    assert counts.hits + counts.misses == sum(len(visit.experts) for visit in trace)
    assert 0 <= counts.evictions <= counts.misses


@given(traces(), st.integers(4, 18))
def test_lru_equals_its_slow_twin(trace: Trace, n_experts: int) -> None:
    last_use: dict[int, int] = {}
    resident: set[int] = set()
    hits = clock = 0
    for visit in trace:
        experts = numbered(visit, trace.shape)
        hits += len(resident & set(experts))
        for expert in experts:
            last_use[expert] = clock = clock + 1
        resident |= set(experts)
        resident = set(sorted(resident, key=lambda expert: -last_use[expert])[:n_experts])
    assert replay(trace, LeastRecentlyUsed(trace.shape), 10 * n_experts).hits == hits


@given(traces(), st.integers(4, 18))
def test_decayed_frequency_equals_its_slow_twin(trace: Trace, n_experts: int) -> None:
    twin = SlowDecayed(trace.shape)
    fast = replay(trace, DecayedFrequency(trace.shape), 10 * n_experts)
    assert fast == replay(trace, twin, 10 * n_experts)


class SlowDecayed:
    """The definition: frequencies as sums over all uses, every resident expert looked at."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.ranks = [layer for layer, size in enumerate(shape.expert_bytes) if size]
        self.visits: dict[int, list[int]] = {layer: [] for layer in self.ranks}
        self.uses: dict[int, list[int]] = {}  # expert -> its layer's visit count at each use
        self.weights_at = {
            layer: [0.2] * 5 for layer in self.ranks
        }  # as they stood at the layer's last visit
        self.weights = [0.2] * 5
        self.last_visit: list[int] = []
        self.resident: set[int] = set()
        self.now = 0

    def touch(self, expert: int, visit: int) -> None:
        self.now = expert // self.shape.n_experts
        if visit not in self.visits[self.now]:
            self.learn()
            self.visits[self.now].append(visit)
            self.weights_at[self.now] = self.weights
        self.last_visit.append(expert)
        self.uses.setdefault(expert, []).append(len(self.visits[self.now]))

    def learn(self) -> None:
        """One step of expectation maximisation over the last visit's experts."""
        shares = []
        for expert in self.last_visit:
            before = len(self.visits[expert // self.shape.n_experts]) - 1
            guess = [*self.frequencies(expert, before), len(self.last_visit) / self.shape.n_experts]
            credit = [weight * g for weight, g in zip(self.weights, guess, strict=True)]
            shares.append([c / math.fsum(credit) for c in credit])
        if shares:
            means = [math.fsum(column) / len(shares) for column in zip(*shares, strict=True)]
            moved = [w + (m - w) / 128 for w, m in zip(self.weights, means, strict=True)]
            self.weights = [max(w, 0.001) for w in moved]
        self.last_visit = []

    def frequencies(self, expert: int, now: int) -> list[float]:
        fades = [2.0 ** (-1.0 / half_life) for half_life in HALF_LIVES]
        uses = [use for use in self.uses[expert] if use <= now]
        return [math.fsum((1.0 - fade) * fade ** (now - use) for use in uses) for fade in fades]

    def admit(self, expert: int, visit: int) -> None:
        self.resident.add(expert)

    def forget(self, expert: int) -> None:
        self.resident.remove(expert)

    def victim(self, pinned: Container[int]) -> int:
        free = sorted(expert for expert in self.resident if expert not in pinned)
        waits = {expert: round(self.wait(expert), 9) for expert in free}
        return max(waits, key=lambda expert: waits[expert])

    def wait(self, expert: int) -> float:
        layer = expert // self.shape.n_experts
        known = zip(self.weights_at[layer], self.frequencies(expert, len(self.visits[layer])), strict=False)
        rate = math.fsum(weight * frequency for weight, frequency in known)
        n = len(self.ranks)
        due = (self.ranks.index(layer) - self.ranks.index(self.now) - 1) % n + 1
        return 1.0 / (rate + 1e-6) + due / n


@given(traces())
def test_stack_distances_predict_lru(trace: Trace) -> None:
    one_layer = Trace(
        Shape(N_EXPERTS, (10,)), tuple(Visit(visit.number, 0, 1, visit.experts) for visit in trace)
    )
    distances = reuse_distances(one_layer)
    uses = sum(len(visit.experts) for visit in trace)
    rates = [distances.hit_rate(n) for n in range(4, N_EXPERTS + 1)]
    assert rates == sorted(rates)  # the inclusion property
    for n, rate in enumerate(rates, start=4):
        hits = replay(one_layer, LeastRecentlyUsed(one_layer.shape), 10 * n).hits
        assert math.isclose(rate * uses, hits, abs_tol=1e-6)


def test_distances_of_a_small_trace_by_hand() -> None:
    visits = tuple(Visit(i, 0, 1, ids) for i, ids in enumerate([(0, 1), (2,), (0,), (0,), (1, 2)]))
    distances = reuse_distances(Trace(Shape(4, (10,)), visits))
    assert distances.counts.tolist() == [[1, 1, 2, 0]]
    assert distances.first_uses.tolist() == [3]


def test_lru_falls_off_the_cliff_and_the_default_does_not() -> None:
    trace = synthetic_trace(8, 32, 4, 60)
    below_a_token = 7 * 4 << 20
    assert replay(trace, LeastRecentlyUsed(trace.shape), below_a_token).hits == 0
    assert replay(trace, DecayedFrequency(trace.shape), below_a_token).hit_rate > 0.2


def test_a_cyclic_scan_hits_the_resident_share() -> None:
    """Prompt processing uses every expert of every layer in turn: what fits should stay."""
    visits = tuple(Visit(i, i % 8, 512, tuple(range(32))) for i in range(8 * 20))
    scan = Trace(Shape(32, (1,) * 8), visits)
    table = compare(scan, [128])
    assert table["lru"][0].hits == 0
    assert table["decayed"][0].hit_rate > 0.9 * table["belady"][0].hit_rate > 0.35


def test_the_default_beats_lru_on_published_locality() -> None:
    trace = synthetic_trace(8, 64, 6, 300)
    budgets = [int(trace.shape.routed_bytes * share) for share in (0.1, 0.25, 0.5)]
    table = compare(trace, budgets)
    for lru, decayed, belady in zip(*table.values(), strict=True):
        assert lru.hits <= decayed.hits <= belady.hits
        assert decayed.bytes_read == decayed.misses << 20


def test_a_visit_that_does_not_fit_is_served_in_groups() -> None:
    trace = Trace(Shape(8, (10,)), (Visit(0, 0, 1, (0, 1, 2, 3, 4)), Visit(1, 0, 1, (3, 4, 5))))
    result = replay(trace, LeastRecentlyUsed(trace.shape), 20)
    assert (result.hits, result.misses, result.evictions, result.peak_bytes) == (2, 6, 4, 20)


def test_a_budget_below_one_expert_is_refused() -> None:
    with pytest.raises(BudgetError, match="give at least 10 bytes"):
        replay(Trace(Shape(8, (10,)), ()), LeastRecentlyUsed(Shape(8, (10,))), 9)


def test_synthetic_routing_has_the_locality_asked_for() -> None:
    near = reuse_distances(synthetic_trace(4, 64, 4, 400, routing=Routing(noise=0.1, token=0.2)))
    far = reuse_distances(synthetic_trace(4, 64, 4, 400, routing=Routing(noise=3.0)))
    assert near.hit_rate(16) > 0.75 > 0.45 > far.hit_rate(16)
    assert synthetic_trace(2, 8, 2, 9) == synthetic_trace(2, 8, 2, 9)
