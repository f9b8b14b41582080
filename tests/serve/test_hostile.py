"""Hostile bodies against a real server, in every API's own places, while a client behaves well."""

from pathlib import Path

from bench.serving.hostile import run
from bench.serving.hostile_bodies import hostile_bodies
from tests.serve.served import tool_caller

N_BODIES, SEED = 40, 13
SPARE = 1.1


def test_a_hostile_body_fails_alone_and_nothing_else_does(tmp_path: Path) -> None:
    outcome = run(N_BODIES, SEED, tool_caller(tmp_path / "tools.gguf"))
    assert outcome.failed == [] and outcome.statuses.total() == N_BODIES
    assert outcome.wrong == [] and outcome.right > 0
    assert len(outcome.engines) == 1, "an engine was lost"
    assert outcome.engine_peak_bytes < SPARE * outcome.granted_bytes
    assert outcome.longest_turn["worked_s"] < 0.5, outcome.longest_turn  # a hang; the bench measures it


def test_the_same_seed_makes_the_same_bodies() -> None:
    first, second = (list(hostile_bodies(20, SEED, "m")) for _ in range(2))
    assert first == second and len({body.name for body in first}) > 10
