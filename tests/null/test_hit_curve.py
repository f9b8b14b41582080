"""Hit rates of a recorded trace, as the planner takes them."""

from pathlib import Path

import pytest

from sixgig.errors import UsageError
from sixgig.pager.hit_curve import FEWEST_VISITS, SHARES, recorded_curve
from sixgig.pager.policies import DecayedFrequency
from sixgig.pager.simulator import replay
from sixgig.pager.trace import Shape, TraceFile, Visit, write_trace
from tests.null.generated_routing import synthetic_trace


def trace_of(path: Path, n_tokens: int) -> TraceFile:
    made = synthetic_trace(4, 16, 2, n_tokens, expert_bytes=1000)
    write_trace(path, made.shape, iter(made.visits))
    return TraceFile(path)


def test_the_curve_is_what_the_simulator_replays(tmp_path: Path) -> None:
    trace = trace_of(tmp_path / "t", 2 * FEWEST_VISITS)
    curve = recorded_curve(trace)
    rates = []
    for share in SHARES[1:]:
        budget = int(share * trace.shape.routed_bytes)
        rates.append(replay(trace, DecayedFrequency(trace.shape), budget).hit_rate)
        assert curve.at(share) == pytest.approx(max(rates))
    assert rates[-1] > 0.5
    assert curve.at(0.0) == 0.0 and curve.at(1.0) == 1.0
    assert curve.source == "recorded in t"


def test_a_short_trace_is_refused_with_the_numbers(tmp_path: Path) -> None:
    shape = Shape(16, (1000,) * 4)
    write_trace(tmp_path / "t", shape, [Visit(n, n % 4, 1, (n % 16,)) for n in range(40)])
    with pytest.raises(UsageError, match=f"10 visits of each layer, {FEWEST_VISITS} needed"):
        recorded_curve(TraceFile(tmp_path / "t"))
