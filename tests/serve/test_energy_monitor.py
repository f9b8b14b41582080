"""Requests that overlap, models that come and go, and meters that fail, on a sensor played by hand."""

import threading
from itertools import count, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sixgig.energy import Energy, EnergyMonitor, ReplayMeter, WallMeter
from sixgig.energy.monitor import YOUNG_S
from sixgig.hardware.energy import EnergyReading
from sixgig.hardware.machine import Absent
from tests.serve.energy_traces import Clock, Sensor, SlowMeter

MODELS = frozenset(["m"])
IDLE, BUSY = 16, 80


def rest(sensor: Sensor, monitor: EnergyMonitor, watts: float) -> None:
    """Two seconds, the first to settle."""
    for _ in range(2):
        sensor.after(1, watts)
        monitor.tick()


def at_rest() -> tuple[Sensor, EnergyMonitor]:
    """A model loaded, its idle power known."""
    sensor = Sensor(Clock())
    monitor = EnergyMonitor(sensor, sensor.clock)
    monitor.loaded(MODELS)
    rest(sensor, monitor, IDLE)
    return sensor, monitor


def test_one_request_gets_what_is_above_idle() -> None:
    sensor, monitor = at_rest()
    monitor.begin("r")
    sensor.after(4, BUSY)
    assert monitor.end("r") == Energy(4 * (BUSY - IDLE), "a sensor", estimated=False)


def test_ticks_between_change_nothing() -> None:
    sensor, monitor = at_rest()
    monitor.begin("r")
    for _ in range(8):
        sensor.after(0.5, BUSY)
        monitor.tick()
    assert monitor.end("r").joules == 4 * (BUSY - IDLE)


def test_overlapping_requests_share_exactly() -> None:
    sensor, monitor = at_rest()
    monitor.begin("first")
    sensor.after(2, BUSY)
    monitor.begin("second")
    sensor.after(1, 144)
    first = monitor.end("first").joules
    sensor.after(2, BUSY)
    assert (first, monitor.end("second").joules) == (128 + 64, 64 + 128)


def test_a_request_that_begins_within_an_interval_counts_from_there() -> None:
    sensor, monitor = at_rest()
    monitor.begin("first")
    sensor.after(1 / 64, 8 * BUSY)
    monitor.begin("second")
    sensor.after(1 / 64, 8 * BUSY)
    above = (8 * BUSY - IDLE) / 32
    assert monitor.end("second").joules == pytest.approx(above / 3)
    assert monitor.end("first").joules == pytest.approx(above * 2 / 3)


def test_a_young_reading_serves_for_a_beginning_and_an_old_one_does_not() -> None:
    sensor, monitor = at_rest()
    before = sensor.n_reads
    sensor.after(YOUNG_S / 2, IDLE)
    monitor.begin("young")
    assert sensor.n_reads == before
    sensor.after(YOUNG_S, IDLE)
    monitor.begin("old")
    assert sensor.n_reads == before + 1


@pytest.mark.parametrize("ids", list(permutations("abc")))
def test_the_order_of_simultaneous_beginnings_does_not_matter(ids: tuple[str, ...]) -> None:
    sensor, monitor = at_rest()
    for request in ids:
        monitor.begin(request)
    sensor.after(3, IDLE + 64)
    assert [monitor.end(request).joules for request in "abc"] == [64, 64, 64]


steps = st.tuples(st.sampled_from("abcd"), st.integers(0, 64), st.integers(0, 512))


@given(st.lists(steps, max_size=40))
def test_requests_add_up_to_what_was_above_idle(history: list[tuple[str, int, int]]) -> None:
    """Each step toggles a request, then lets time pass at some power at or above idle."""
    sensor, monitor = at_rest()
    running: set[str] = set()
    told, above = 0.0, 0.0
    for request, sixty_fourths, watts in [*history, ("", 64, 0)]:
        if request in running:
            energy = monitor.end(request).joules
            told += energy if not isinstance(energy, Absent) else 0
            running.discard(request)
        elif request:
            monitor.begin(request)
            running.add(request)
        sensor.after(sixty_fourths / 64, IDLE + watts if running else IDLE)
        above += sixty_fourths / 64 * watts if running else 0
        if not running:
            monitor.tick()
    for request in running:
        energy = monitor.end(request).joules
        assert not isinstance(energy, Absent) and energy >= 0
        told += energy
    assert told == pytest.approx(above, abs=1e-6)


def test_the_first_request_after_a_load_is_absent_the_next_is_not() -> None:
    sensor = Sensor(Clock())
    monitor = EnergyMonitor(sensor, sensor.clock)
    monitor.loaded(MODELS)
    monitor.begin("first")
    sensor.after(1, BUSY)
    assert isinstance(monitor.end("first").joules, Absent)
    rest(sensor, monitor, IDLE)
    monitor.begin("next")
    sensor.after(1, BUSY)
    assert monitor.end("next").joules == BUSY - IDLE


def test_loading_is_charged_to_nobody() -> None:
    sensor, monitor = at_rest()
    monitor.begin("through")
    sensor.after(1, BUSY)
    monitor.loaded(None)
    sensor.after(5, 500)
    monitor.loaded(MODELS | {"n"})
    sensor.after(1, BUSY)
    assert isinstance(monitor.end("through").joules, Absent)
    monitor.loaded(MODELS)
    monitor.begin("after")
    sensor.after(1, BUSY)
    assert monitor.end("after").joules == BUSY - IDLE
    assert monitor.state().idle_watts == IDLE


def test_a_change_of_models_cuts_the_interval_however_young() -> None:
    sensor, monitor = at_rest()
    sensor.after(1 / 1024, IDLE)
    monitor.begin("r")
    monitor.loaded(frozenset())
    monitor.loaded(MODELS)
    sensor.after(1, BUSY)
    assert monitor.end("r").joules == BUSY - IDLE


def test_three_figures_are_kept_apart() -> None:
    sensor = Sensor(Clock())
    monitor = EnergyMonitor(sensor, sensor.clock)
    rest(sensor, monitor, 8)
    monitor.loaded(MODELS)
    rest(sensor, monitor, 16)
    monitor.begin("r")
    sensor.after(4, 80)
    joules = monitor.end("r").joules
    state = monitor.state()
    assert joules == 256
    assert (state.empty_watts, state.idle_watts, state.watts) == (8, 16, 80)
    assert (state.staying_watts, state.staying_joules) == ({"m": 8}, {"m": 8 * 6})
    assert state.joules == {"chip": 16 + 32 + 320}


def test_a_device_that_fails_makes_requests_absent_and_recovers() -> None:
    sensor, monitor = at_rest()
    counted = sensor.joules
    monitor.begin("through")
    sensor.after(1, BUSY)
    sensor.joules = Absent("lost")
    monitor.tick()
    assert monitor.state().watts == Absent("chip: lost")
    sensor.clock.now_s += 1
    assert not isinstance(counted, Absent)
    sensor.joules = counted + 2 * BUSY
    assert monitor.end("through").joules == Absent("chip: lost")
    monitor.begin("after")
    sensor.after(1, BUSY)
    assert monitor.end("after").joules == BUSY - IDLE


def test_a_request_shorter_than_the_meter_tells_is_absent_not_zero() -> None:
    sensor, monitor = at_rest()
    sensor.lag_s = 0.125
    monitor.begin("short")
    monitor.begin("long enough")
    sensor.after(0.5, IDLE)
    short = monitor.end("short").joules
    sensor.after(0.125, BUSY)
    assert isinstance(short, Absent) and "0.625 s" in short.reason
    assert monitor.end("long enough").joules == 0.125 * (BUSY - IDLE)


def test_a_meter_that_goes_back_is_absent_not_negative() -> None:
    sensor, monitor = at_rest()
    monitor.begin("r")
    sensor.clock.now_s += 1
    sensor.joules = 0
    assert isinstance(monitor.end("r").joules, Absent)


def test_without_a_meter_every_figure_says_why() -> None:
    monitor = EnergyMonitor(Absent("no counter"))
    monitor.begin("r")
    monitor.tick()
    assert monitor.end("r") == Energy(Absent("no counter"), "no meter", estimated=False)
    assert monitor.state().watts == Absent("no counter") and monitor.state().joules == {}


def test_wall_constants_are_told_what_runs_and_need_no_rest() -> None:
    clock = Clock()
    monitor = EnergyMonitor(WallMeter(32, 128, clock), clock)
    monitor.loaded(MODELS)
    clock.now_s = 1
    monitor.begin("a")
    clock.now_s = 2
    monitor.begin("b")
    clock.now_s = 3
    a, b = monitor.end("a"), monitor.end("b")
    assert (a.joules, b.joules, a.estimated) == (96 + 48, 48, True)
    clock.now_s = 5
    monitor.tick()
    assert monitor.state().joules == {"wall": 32 + 256 + 64}


def test_a_replayed_wrap_is_charged_to_the_request_it_fell_in() -> None:
    clock, wrap = Clock(), 2**26 * 15_625 - 1
    joules_past_the_wrap = (-5, -3, -1, 2, 5)
    values = [joules * 1_000_000 % (wrap + 1) for joules in joules_past_the_wrap]
    trace = [(float(second), EnergyReading((("p", value, wrap),))) for second, value in enumerate(values)]
    monitor = EnergyMonitor(ReplayMeter.from_rapl(trace), clock)
    clock.now_s = 1
    monitor.tick()
    clock.now_s = 2
    monitor.begin("r")
    clock.now_s = 3
    monitor.tick()
    clock.now_s = 4
    assert monitor.end("r").joules == 3 + 3 - 2 * 2


def test_a_request_cannot_begin_twice_or_end_unbegun() -> None:
    _, monitor = at_rest()
    monitor.begin("r")
    with pytest.raises(ValueError, match="'r' runs already"):
        monitor.begin("r")
    with pytest.raises(KeyError):
        monitor.end("other")


def test_requests_that_end_during_a_reading_share_the_next_one() -> None:
    seconds, looked = count(), threading.Semaphore(0)

    def clock() -> float:
        now_s = next(seconds)
        looked.release()
        return now_s

    meter = SlowMeter(lambda: next(seconds))
    monitor = EnergyMonitor(meter, clock)
    for n in range(8):
        monitor.begin(str(n))
        looked.acquire()
    meter.armed = True
    first, *others = (threading.Thread(target=monitor.end, args=(str(n),)) for n in range(8))
    first.start()
    assert meter.reading.wait(60) and looked.acquire(timeout=60)
    for thread in others:
        thread.start()
    assert all(looked.acquire(timeout=60) for _ in others)
    meter.proceed.set()
    for thread in (first, *others):
        thread.join(60)
    assert meter.n_reads == 2  # one for the first, one for the seven others
