"""One meter and its accounts, for a server that runs several requests at once."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from sixgig.energy.accounts import EMPTY, Accounts, Interval
from sixgig.energy.idle import Models
from sixgig.energy.meter import AbsentMeter, Clock, Meter, Reading
from sixgig.energy.wall import WallMeter
from sixgig.hardware.machine import Absent

YOUNG_S = 0.02  # a reading of this age serves for a request that begins
LEAST_LAGS = 5  # a request this many times longer than the meter's lag is off by at most a fifth
_NOW_S = 1.0  # "watts now" is the mean of at least this long, where that long was measured


@dataclass(frozen=True)
class Energy:
    """Of one request, above idle (`Accounts` says what that claims). source: the meter and what it covers."""

    joules: float | Absent
    source: str
    estimated: bool


@dataclass(frozen=True)
class EnergyState:
    """At the latest reading. watts: mean of the last second or more. idle_watts: with the present models;
    empty_watts: with none. joules: by device since the start, those that cannot be read with the reason.
    staying_watts and staying_joules: by model, of all that were ever loaded.
    """

    source: str
    estimated: bool
    watts: float | Absent
    idle_watts: float | Absent
    empty_watts: float | Absent
    joules: Mapping[str, float | Absent]
    staying_watts: Mapping[str, float | Absent]
    staying_joules: Mapping[str, float | Absent]


class EnergyMonitor:
    """Thread-safe. Every call may read the meter, which blocks (1 ms, with GPU drivers tens), or wait for one
    that does, unless `blocks` is false: an event loop then calls it in a thread. `tick` is for every half
    second. Requests that end while the meter is being read share the next reading.

    Between two readings a request counts for the seconds it ran. clock: the one of the meter's readings.
    """

    def __init__(self, meter: Meter | Absent, clock: Clock = time.monotonic) -> None:
        self._meter: Meter = AbsentMeter(meter) if isinstance(meter, Absent) else meter
        self._wall = meter if isinstance(meter, WallMeter) else None
        self._accounts = Accounts(self._wall.idle_watts if self._wall else None)
        self._clock = clock
        self._lock = threading.Lock()
        self._models: Models | None = EMPTY
        self._began_s: dict[str, float] = {}
        self._recent: deque[tuple[float, float]] = deque()
        self._last_s, self._last = self._read()
        self._remember()

    @property
    def blocks(self) -> bool:
        """Whether a call may take its time: not where nothing is read."""
        return not isinstance(self._meter, AbsentMeter | WallMeter)

    def begin(self, request_id: str) -> None:
        """It runs from now on: call when it gets its engine, not while it waits or its model loads.

        Raises ValueError for a request that runs already.
        """
        now_s = self._clock()
        with self._lock:
            if request_id in self._began_s:
                raise ValueError(f"request {request_id!r} runs already")
            if now_s - self._last_s >= YOUNG_S:
                self._measure()
            self._began_s[request_id] = now_s
            self._tell_wall()

    def end(self, request_id: str) -> Energy:
        """It ran until now. Reads the meter, unless that was done since the call. KeyError if not begun.

        Absent for less than LEAST_LAGS of the meter's lags: half a second with GPUs, 5 ms with RAPL.
        """
        now_s = self._clock()
        with self._lock:
            if self._last_s < now_s:
                self._measure()
            ran_s = now_s - self._began_s.pop(request_id)
            self._tell_wall()
            joules = self._accounts.take(request_id)
        least_s = LEAST_LAGS * self._meter.lag_s
        if ran_s < least_s:
            joules = Absent(f"it ran for less than the {least_s:g} s that this meter can tell")
        return Energy(joules, self._meter.name, self._meter.estimated)

    def loaded(self, models: Models | None) -> None:
        """The models that are loaded from now on; None while one is being loaded or leaves.

        What happens under None is charged to nobody, and a request that runs meanwhile is Absent.
        """
        with self._lock:
            if models != self._models:
                self._measure()
                self._models = models

    def tick(self) -> None:
        """Reads the meter: idle power is learned from these readings, and counters' wraps are seen."""
        with self._lock:
            self._measure()

    def state(self) -> EnergyState:
        """As of the latest reading; takes none itself, but waits for one under way."""
        with self._lock:
            accounts, models = self._accounts, self._models
            return EnergyState(
                source=self._meter.name,
                estimated=self._meter.estimated,
                watts=self._watts(),
                idle_watts=Absent("the models change") if models is None else accounts.idle_watts(models),
                empty_watts=accounts.idle_watts(EMPTY),
                joules=self._by_device(),
                staying_watts={model: accounts.staying_watts(model) for model in accounts.models},
                staying_joules={model: accounts.staying_joules(model) for model in accounts.models},
            )

    def close(self) -> None:
        """Closes the meter."""
        with self._lock:
            self._meter.close()

    def _read(self) -> tuple[float, Reading | Absent]:
        reading = self._meter.read()
        return (self._clock() if isinstance(reading, Absent) else reading.time_s), reading

    def _measure(self) -> None:
        """One reading, and the interval up to it; none if no time has passed."""
        now_s, reading = self._read()
        if now_s <= self._last_s:
            return
        running_s = {request: now_s - max(began, self._last_s) for request, began in self._began_s.items()}
        joules = _between(self._last, reading)
        self._accounts.add(Interval(now_s - self._last_s, joules, self._models, running_s))
        self._last_s, self._last = now_s, reading
        self._remember()

    def _tell_wall(self) -> None:
        if self._wall:
            self._wall.switch(bool(self._began_s))

    def _remember(self) -> None:
        joules = _total(self._last)
        if isinstance(joules, Absent):
            self._recent.clear()
            return
        self._recent.append((self._last_s, joules))
        while len(self._recent) > 1 and self._recent[1][0] <= self._last_s - _NOW_S:
            self._recent.popleft()

    def _watts(self) -> float | Absent:
        total = _total(self._last)
        if isinstance(total, Absent):
            return total
        (since_s, before), (now_s, after) = self._recent[0], self._recent[-1]
        return (after - before) / (now_s - since_s) if now_s > since_s else Absent("not measured yet")

    def _by_device(self) -> dict[str, float | Absent]:
        read = {} if isinstance(self._last, Absent) else self._last.joules
        return {**read, **self._meter.absent}


def _between(before: Reading | Absent, after: Reading | Absent) -> float | Absent:
    """Joules of all devices; Absent if any is in either reading."""
    began, ended = _total(before), _total(after)
    if isinstance(ended, Absent):
        return ended
    if isinstance(began, Absent):
        return began
    return ended - began if ended >= began else Absent("the meter went back")


def _total(reading: Reading | Absent) -> float | Absent:
    if isinstance(reading, Absent):
        return reading
    known: float = 0
    for device, joules in reading.joules.items():
        if isinstance(joules, Absent):
            return Absent(f"{device}: {joules.reason}")
        known += joules
    return known
