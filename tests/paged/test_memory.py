"""The budget as a contract, in a process of its own inside a memory cgroup set well above it."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bench.cgroup import MemoryGroup, unavailable
from bench.synthetic.shape import PRESETS
from bench.synthetic.writer import write_model

ROOT = Path(__file__).resolve().parents[2]
MIB = 1 << 20
RUN = """
import json, sys
from pathlib import Path
from sixgig.hardware import PeakSampler
from sixgig.inference.load import open_engine
from sixgig.inference.options import EngineOptions
with PeakSampler(0.005) as sampler:
    options = EngineOptions(context=1024, ubatch=256, threads=2)
    with open_engine(Path(sys.argv[1]), int(sys.argv[2]), options) as engine:
        prompt = [3 + i * i * 7 % 4000 for i in range(300)]
        engine.prefill(prompt)
        for i in range(12):
            engine.decode(3 + i * i * 11 % 4000)
        plan, counters = engine.plan, engine.counters()
print(json.dumps({
    "plan": plan.to_json(), "explain": plan.explain(), "peak": vars(sampler.peak),
    "counters": counters.to_json() if counters else None,
}))
"""


@pytest.fixture(scope="session")
def large_model(tmp_path_factory):
    """About 300 MB."""
    path = tmp_path_factory.mktemp("large") / "model.gguf"
    write_model(replace(PRESETS["600m"], n_layers=5, n_experts=128), path)
    yield path
    path.unlink()


def test_memory_stays_within_the_budget_and_as_predicted(large_model):
    if reason := unavailable():
        pytest.skip(reason)
    size = large_model.stat().st_size
    assert size > 280 * MIB
    for share in (0.3, 1 / 3, 0.6):
        budget = max(int(size * share), 0) + 140 * MIB  # the interpreter and the library are not the file's
        with MemoryGroup(2 << 30) as group:
            environment = os.environ | {"PYTHONPATH": str(ROOT)}
            done = group.run(
                [sys.executable, "-c", RUN, str(large_model), str(budget)], 100, environment=environment
            )
        assert done.status == 0, done.stderr
        result = json.loads(done.stdout)
        plan, peak, counters = result["plan"], result["peak"], result["counters"]
        assert plan["mode"] == "paged" and counters["evictions"] > 0, result["explain"]
        predicted = plan["predicted_peak_memory_bytes"]
        print(f"{budget / MIB:.0f} MiB budget, {predicted / MIB:.0f} predicted, {peak}")
        assert peak["total_bytes"] <= budget
        assert peak["anonymous_bytes"] + peak["file_bytes"] + peak["shared_bytes"] <= budget + 8 * MIB
        assert peak["total_bytes"] <= predicted + plan["margin_bytes"]
        assert peak["total_bytes"] >= predicted * 0.85
        assert done.peak_bytes <= budget + 48 * MIB  # page cache in passing is charged to the group
