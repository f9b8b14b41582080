"""The count of threads while a model runs, on a fake clock and load; and in a real engine."""

import ctypes
import os
import subprocess
import sys
from dataclasses import dataclass

import pytest

from sixgig.hardware.cores import Cores
from sixgig.hardware.load import LoadReading
from sixgig.inference import Engine, EngineOptions, threads
from sixgig.inference.threads import LOOK_S, PAUSE_S, ThreadCount, choose_waiting


@dataclass
class Machine:
    """Time goes by while we compute on `ours` processors beside `others`."""

    at_s: float = 0.0
    busy_s: float = 0.0
    own_s: float = 0.0
    reads: int = 0

    def read(self) -> LoadReading:
        self.reads += 1
        return LoadReading(self.at_s, self.busy_s, self.own_s)

    def passes(self, seconds: float, others: float, ours: float = 1.0) -> None:
        self.at_s += seconds
        self.own_s += ours * seconds
        self.busy_s += (ours + others) * seconds


def counted(cores: Cores) -> tuple[Machine, ThreadCount]:
    machine = Machine()
    return machine, ThreadCount(cores, machine.read, lambda: machine.at_s)


def test_an_evaluation_is_looked_at_when_it_ends_however_long_the_pause_after_it() -> None:
    machine, count = counted(Cores(4, 4, 4))
    for _ in range(3):
        count.now(idle_s=1.0)
        machine.passes(2.0, others=1)
        count.now(idle_s=0.0)
        machine.passes(1.0, others=4, ours=0)
    assert count.now(idle_s=1.0) == 3 == count.fewest


def evaluate(
    machine: Machine, count: ThreadCount, seconds: float, others: float, each_s: float = 0.02
) -> int:
    """Tokens of `each_s` for some time; the count for the next."""
    for _ in range(round(seconds / each_s)):
        count.now(0.001)
        machine.passes(each_s, others)
    return count.now(0.001)


def test_cores_are_left_to_others_and_taken_back_when_they_have_gone() -> None:
    machine, count = counted(Cores(4, 4, 4))
    assert evaluate(machine, count, 1, others=0) == 4
    assert evaluate(machine, count, 1, others=1) == 3
    assert evaluate(machine, count, 1, others=3.8) == 2
    assert evaluate(machine, count, 1, others=0.1) == 4
    assert count.fewest == 2


def test_what_gives_way_costs_no_thread() -> None:
    machine, count = counted(Cores(2, 2, 2))
    assert evaluate(machine, count, 3, others=0.3) == 2 == count.fewest


def test_time_in_which_nothing_was_evaluated_tells_nothing() -> None:
    machine, count = counted(Cores(2, 2, 2))
    evaluate(machine, count, 1, others=0)
    machine.passes(60, others=2, ours=0)
    assert count.now(60) == 2
    machine.passes(LOOK_S / 2, others=0)
    assert count.now(PAUSE_S / 2) == 2 == count.fewest


def test_the_machine_is_looked_at_a_few_times_a_second_only() -> None:
    machine, count = counted(Cores(8, 8, 16))
    evaluate(machine, count, 10, others=1, each_s=0.001)
    assert machine.reads <= 1 + 10 / LOOK_S
    machine, count = counted(Cores(1, 1, 2))
    evaluate(machine, count, 10, others=1)
    assert machine.reads == 0  # with one core there is no choice


def test_a_machine_that_tells_nothing_has_all_its_cores_used() -> None:
    count = ThreadCount(Cores(4, 4, 8), lambda: None, iter(range(100)).__next__)
    assert [count.now(0.0) for _ in range(5)] == [4] * 5


@pytest.mark.parametrize(("asked", "chosen"), [(0, [2, 1, 1, 2]), (2, [])])
def test_the_engine_computes_on_the_threads_chosen_unless_they_were_named(
    tiny, monkeypatch: pytest.MonkeyPatch, asked, chosen
) -> None:
    counts = iter((2, 1, 1, 1, 1, 2, 2, 2))
    monkeypatch.setattr(ThreadCount, "now", lambda _self, idle_s: next(counts))
    with Engine(tiny("llama"), EngineOptions(context=256, threads=asked)) as engine:
        seen: list[int] = []
        really_decode = engine._c.llama_decode

        def decode(context, batch):
            seen.append(engine._c.llama_n_threads(ctypes.c_void_p(context)))
            return really_decode(context, batch)

        monkeypatch.setattr(engine._c, "llama_decode", decode)
        monkeypatch.setattr(threads, "usable_cores", lambda: Cores(2, 2, 2))
        for token in range(4):
            engine.feed([token])
    assert seen == (chosen or [2] * 4)


@pytest.mark.parametrize(
    ("others", "environment", "spins"),
    [
        (1.0, {}, "1000"),
        (0.2, {}, None),
        (1.0, {"GOMP_SPINCOUNT": "7"}, "7"),
        (1.0, {"OMP_WAIT_POLICY": "active"}, None),
    ],
)
def test_waiting_threads_sleep_where_the_machine_is_shared_at_the_start(others, environment, spins) -> None:
    code = f"""
import os
from sixgig.inference import threads
threads.others_now = lambda cpus: {others}
threads.choose_waiting(2)
print(os.environ.get("GOMP_SPINCOUNT"))
"""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    done = subprocess.run(
        [sys.executable, "-c", code], env=plain | environment, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip() == str(spins), done.stderr


def test_one_thread_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "may_choose_waiting", lambda: True)
    monkeypatch.setattr(threads, "others_now", lambda _cpus: pytest.fail("looked"))
    choose_waiting(1)
