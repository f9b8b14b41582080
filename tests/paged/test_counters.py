"""What the pager counts is what happened: read bytes, hits and misses, and what stays resident."""

import numpy as np
import pytest

from sixgig.modelfile import open_model
from sixgig.pager.pager import CachePolicy
from sixgig.pager.policies import POLICIES
from sixgig.pager.simulator import replay
from sixgig.pager.trace import TraceFile
from sixgig.planning import footprint
from tests.paged.engines import PROMPT, logits_of, one_visit_bytes, open_paged, share_of_experts, stock_logits

TWINS = {CachePolicy.LRU: "lru", CachePolicy.DECAYED_FREQUENCY: "decayed"}
LONG = tuple(3 + i * i * 11 % 241 for i in range(40))


def expert_bytes(path):
    model = open_model(path)
    tensors = [t for t in model.routed_experts() if t.layer == model.routed_experts()[0].layer]
    return sum(t.size_bytes // t.shape[2] for t in tensors)


@pytest.mark.parametrize("policy", CachePolicy)
@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.5, 1.0])
def test_bytes_read_are_misses_times_the_size_of_an_expert(tiny, policy, share):
    path = tiny("qwen3moe")
    with open_paged(path, share_of_experts(path, share), policy=policy) as engine:
        logits_of(engine, PROMPT[:30], LONG)
        counters = engine.pager.counters()
    assert counters.misses > 0
    assert counters.bytes_read == pytest.approx(counters.misses * expert_bytes(path), rel=0.02)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5])
def test_an_expert_is_read_at_most_once_per_ubatch_and_layer(tiny, tmp_path, share):
    path = tiny("gpt-oss")
    with open_paged(path, share_of_experts(path, share)) as engine, engine.pager.tracing(tmp_path / "trace"):
        for _ in range(3):
            engine.clear()
            engine.all_logits(PROMPT)
        counters = engine.pager.counters()
    uses = sum(len(visit.experts) for visit in TraceFile(tmp_path / "trace"))
    assert counters.bytes_read <= uses * expert_bytes(path)
    assert counters.bytes_read <= counters.visits * open_model(path).routed_bytes / 4


@pytest.mark.parametrize("policy", CachePolicy)
@pytest.mark.parametrize("n_resident", [2, 3, 4, 8, 16, 25])
def test_the_simulator_replays_a_trace_as_it_was(tiny, tmp_path, policy, n_resident):
    path = tiny("qwen3moe")
    rooms = {footprint.piece_bytes(t) for t in open_model(path).routed_experts()}
    assert len(rooms) == 1  # every expert takes the same pages: both caches hold as many
    with (
        open_paged(path, n_resident * 3 * rooms.pop(), policy=policy) as engine,
        engine.pager.tracing(tmp_path / "trace"),
    ):
        logits_of(engine, PROMPT[:1], LONG)
        counters = engine.pager.counters()
    trace = TraceFile(tmp_path / "trace")
    again = replay(trace, POLICIES[TWINS[policy]](trace.shape), n_resident * expert_bytes(path))
    assert sum(len(visit.experts) for visit in trace) == counters.hits + counters.misses
    assert (counters.hits, counters.misses) == (again.hits, again.misses)
    assert counters.evictions == again.evictions and counters.bytes_read == again.bytes_read


@pytest.mark.parametrize("read_ahead", [False, True])
def test_what_is_resident_never_passes_the_budget_and_never_drifts(tiny, read_ahead):
    path = tiny("qwen3moe", "Q4_0", n_layers=3, expert_width=64)
    budget = one_visit_bytes(open_model(path)) * 3 // 2
    random = np.random.default_rng(1)
    with open_paged(path, budget, read_ahead=read_ahead) as engine:
        residents = []
        for _ in range(6):
            engine.clear()
            logits_of(engine, (5,), tuple(int(token) for token in random.integers(3, 250, 50)))
            counters = engine.pager.counters()
            assert counters.resident_bytes <= counters.peak_resident_bytes <= budget
            residents.append(counters.resident_bytes)
        assert min(residents) >= budget // 2
        assert counters.predicted_useful + counters.predicted_wasted <= counters.predicted
        assert np.array_equal(logits_of(engine), stock_logits(path))


def test_resetting_keeps_what_is_resident(tiny):
    path = tiny("qwen3moe")
    with open_paged(path, share_of_experts(path, 1.0)) as engine:
        logits_of(engine)
        before = engine.pager.counters()
        engine.pager.reset_counters()
        logits_of(engine)
        after = engine.pager.counters()
    assert before.misses > 0 and before.bytes_read > 0 and before.read_s > 0 and before.compute_s > 0
    assert after.misses == after.bytes_read == after.evictions == 0 and after.hit_rate == 1.0
    assert after.resident_bytes == before.resident_bytes
