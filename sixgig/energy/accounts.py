"""Whose joules they were: of a request, of staying loaded, of the empty machine. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sixgig.energy.idle import IdlePower, Models
from sixgig.hardware.machine import Absent

EMPTY: Models = frozenset()
SETTLE_S = 0.5  # after a request or a change of models nothing is learned: counters lag, clocks fall slowly

_CHANGED = Absent("models were being loaded or unloaded meanwhile")
_UNMEASURED = Absent("no measurement fell within the request")
_NO_PAIR = Absent("not yet seen at rest both with this model and without it, all else the same")
_CONSTANT = Absent("the owner's constants do not tell a loaded machine from an empty one")


@dataclass(frozen=True)
class Interval:
    """Between two consecutive readings. seconds: above 0. joules: of all devices, never negative.

    running_s: for each request that ran in it, for how long. loaded: the models all the while; None when that
    changed within the interval.
    """

    seconds: float
    joules: float | Absent
    loaded: Models | None
    running_s: Mapping[str, float] = field(default_factory=dict)


class Accounts:
    """Three figures, kept apart:

    - a request's energy ABOVE IDLE: of each interval, max(0, joules - idle power x seconds) is divided among
      the requests in proportion to the seconds each ran; the shares add up to it.
    - a model's energy of STAYING LOADED: the difference of the idle powers with it and without it, all other
      models the same, times the time it was loaded, requests or not.
    - the EMPTY machine: the idle power with no model loaded.

    Limits. Work is divided by time, not by tokens: two requests at once cost the same each second. Whatever
    other programs use beyond what they used at rest is charged to the requests. Noise is cut off at 0 in each
    interval, which errs upwards where a request draws hardly more than idle. Counters lag (NVML's by 0.1 s):
    the last joules of a request are lost, some 5% of one that ran a second on an H100. A difference of idle
    powers compares two times, and all that changed between. The unknown is Absent with the reason, never 0.

    fixed_idle_watts: given where idle power is declared, not learned (wall constants).
    """

    def __init__(self, fixed_idle_watts: float | None = None) -> None:
        self._fixed = fixed_idle_watts
        self._idle = IdlePower()
        self._requests: dict[str, float | Absent] = {}
        self._staying: dict[str, _Staying] = {}
        self._rested: tuple[Models | None, float] = (EMPTY, SETTLE_S)

    @property
    def models(self) -> tuple[str, ...]:
        """Every model that was ever loaded."""
        return tuple(self._staying)

    def add(self, interval: Interval) -> None:
        """One more interval, in the order of time."""
        running = {request: s for request, s in interval.running_s.items() if s > 0}
        above = self._above_idle(interval)
        self._charge(running, above)
        rested_s = self._rest(interval, bool(running))
        if interval.loaded is None or isinstance(interval.joules, Absent):
            return
        if not running and rested_s >= SETTLE_S:
            self._idle.observe(interval.loaded, interval.joules, interval.seconds)
        self._charge_staying(interval.loaded, interval.seconds)

    def take(self, request: str) -> float | Absent:
        """Joules above idle of a request, which is then forgotten. Absent if any interval of it was."""
        return self._requests.pop(request, _UNMEASURED)

    def idle_watts(self, models: Models) -> float | Absent:
        """Power with exactly these models loaded and nothing running; of the empty machine for EMPTY."""
        return self._idle.watts(models) if self._fixed is None else self._fixed

    def staying_watts(self, model: str) -> float | Absent:
        """Power of its mere presence: idle with it less idle without it, by the smallest set known."""
        if self._fixed is not None:
            return _CONSTANT
        for models in self._idle.sets_with(model):
            loaded, without = self._idle.watts(models), self._idle.watts(models - {model})
            if not isinstance(loaded, Absent) and not isinstance(without, Absent):
                return max(0, loaded - without)
        return _NO_PAIR

    def staying_joules(self, model: str) -> float | Absent:
        """Energy of its presence so far, never falling; time before its power was known counts once it is."""
        staying = self._staying.get(model)
        return Absent("it was not loaded yet") if staying is None else staying.joules

    def _rest(self, interval: Interval, busy: bool) -> float:
        """Seconds of rest with these models before this interval, which then counts too."""
        models, rested_s = self._rested
        rested_s = rested_s if models == interval.loaded else 0
        self._rested = interval.loaded, 0 if busy else rested_s + interval.seconds
        return rested_s

    def _above_idle(self, interval: Interval) -> float | Absent:
        if isinstance(interval.joules, Absent):
            return interval.joules
        if interval.loaded is None:
            return _CHANGED
        idle = self.idle_watts(interval.loaded)
        return idle if isinstance(idle, Absent) else max(0, interval.joules - idle * interval.seconds)

    def _charge(self, running: Mapping[str, float], above: float | Absent) -> None:
        total_s = sum(running.values())
        for request, seconds in running.items():
            so_far = self._requests.get(request, 0)
            if isinstance(so_far, Absent):
                continue
            self._requests[request] = (
                above if isinstance(above, Absent) else so_far + above * seconds / total_s
            )

    def _charge_staying(self, loaded: Models, seconds: float) -> None:
        for model in loaded:
            self._staying.setdefault(model, _Staying()).uncharged_s += seconds
        for model, staying in self._staying.items():
            staying.charge(self.staying_watts(model))


class _Staying:
    """One model's presence: joules so far, and the seconds that wait for its power to be known."""

    def __init__(self) -> None:
        self.joules: float | Absent = _NO_PAIR
        self.uncharged_s: float = 0

    def charge(self, watts: float | Absent) -> None:
        so_far = 0 if isinstance(self.joules, Absent) else self.joules
        if not isinstance(watts, Absent):
            self.joules = so_far + watts * self.uncharged_s
            self.uncharged_s = 0
        elif isinstance(self.joules, Absent):
            self.joules = watts
