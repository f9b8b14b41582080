"""Zeus (extra "energy"): NVIDIA and AMD GPUs, RAPL directly or by its daemon, Apple silicon, Jetson.

Source: zeus 0.16, `zeus.device`. Its objects count in millijoules since an arbitrary moment. For each RAPL
file Zeus would start a child process that watches for wraps; here the files it found are read directly
instead, and wraps are resolved by reading at least once in each wrap period (`Counter`).
"""

from __future__ import annotations

import importlib
import logging
import time
import warnings
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from sixgig.energy.counter import Counter
from sixgig.energy.meter import Clock, Reading
from sixgig.energy.rapl import PLATFORM, RAPL_LAG_S
from sixgig.hardware.machine import Absent

NOT_INSTALLED = Absent("zeus is not installed")

_PER_JOULE = 1000
_LAG_S = 0.1  # NVML's counter moves ten times a second (H100)
# Parts of an Apple chip that do not overlap; its other fields are parts of cpu_total.
_APPLE_PARTS = ("cpu_total_mj", "gpu_mj", "gpu_sram_mj", "dram_mj", "ane_mj")


@dataclass(frozen=True)
class Device:
    """One counter of Zeus's. raw: reads it, may raise. sampled: integrated from power, not counted."""

    name: str
    raw: Callable[[], float]
    per_joule: int = _PER_JOULE
    wrap: int | None = None
    sampled: bool = False
    lag_s: float = _LAG_S


class ZeusMeter:
    """Covers the devices that answered when it was opened; `absent` says why others did not.

    A device that fails later is Absent in that reading. A GPU without an energy counter (before Volta) counts
    the power seen at the readings, the trapezoid between two of them: then the meter is `estimated`.
    """

    def __init__(
        self, devices: Iterable[Device], absent: Mapping[str, Absent], clock: Clock = time.monotonic
    ) -> None:
        self._clock = clock
        self._counters: dict[str, tuple[Device, Counter]] = {}
        self.absent: Mapping[str, Absent] = absent
        for device in devices:
            self._open(device)
        self.name = "Zeus: " + ", ".join(self._counters)
        self.lag_s = max((device.lag_s for device, _ in self._counters.values()), default=0.0)
        self.estimated = any(device.sampled for device, _ in self._counters.values())

    @property
    def covers(self) -> tuple[str, ...]:
        """The devices that are read."""
        return tuple(self._counters)

    def read(self) -> Reading:
        """Joules by device, one after the other."""
        time_s = self._clock()
        return Reading(time_s, {name: self._joules(*pair) for name, pair in self._counters.items()})

    def close(self) -> None:
        """Zeus keeps the drivers' libraries open until the process ends."""

    def _open(self, device: Device) -> None:
        time_s, first = self._clock(), _attempt(device.raw)
        if isinstance(first, Absent):
            self.absent = {**self.absent, device.name: first}
        else:
            self._counters[device.name] = device, Counter(first, time_s, device.per_joule, device.wrap)

    def _joules(self, device: Device, counter: Counter) -> float | Absent:
        time_s, raw = self._clock(), _attempt(device.raw)
        return raw if isinstance(raw, Absent) else counter.advance(raw, time_s)


def open_zeus(clock: Clock = time.monotonic) -> ZeusMeter | Absent:
    """Absent where Zeus is not installed or nothing reads. On AMD GPUs it takes half a second."""
    with _quiet():
        zeus = _module()
        if isinstance(zeus, Absent):
            return zeus
        gpus = _attempt(lambda: list(_gpus(zeus.get_gpus().gpus, clock)))
        processors = _attempt(lambda: list(_processors(zeus.get_cpus().cpus)))
        chip = _attempt(lambda: list(_chip(zeus.get_soc())))
        absent = {name: why for name, why in (("GPU", gpus), ("RAPL", processors)) if isinstance(why, Absent)}
        found = [group for group in (gpus, processors, chip) if not isinstance(group, Absent)]
        meter = ZeusMeter(chain.from_iterable(found), absent, clock)
    if meter.covers:
        return meter
    reasons = [f"{name}: {why.reason}" for name, why in meter.absent.items()]
    return Absent(f"Zeus reads no device ({'; '.join(reasons)})")


def _module() -> Any:
    try:
        return importlib.import_module("zeus.device")
    except Exception as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == "zeus"
        return NOT_INSTALLED if missing else Absent(f"zeus does not load: {error}")


def _attempt(call: Callable[[], Any]) -> Any:
    """What it returns, or Absent with the first sentence of what Zeus or a driver says."""
    try:
        return call()
    except Exception as error:
        sentence = " ".join(str(error).split()).split(". ")[0].rstrip(".")
        return Absent(sentence or type(error).__name__)


@contextmanager
def _quiet() -> Iterator[None]:
    """Zeus logs and warns of each device it does not find; here those reasons come back as Absent."""
    logging.getLogger("zeus").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _gpus(gpus: Iterable[Any], clock: Clock) -> Iterator[Device]:
    named = [(gpu, _name(gpu)) for gpu in gpus]
    count = Tally(name for _, name in named)
    for index, (gpu, name) in enumerate(named):
        label = f"{name} #{index}" if count[name] > 1 else name
        if _attempt(gpu.supports_get_total_energy_consumption) is True:
            yield Device(label, gpu.get_total_energy_consumption)
        else:
            yield Device(label, _SampledPower(_power(gpu), clock), sampled=True)


def _name(gpu: Any) -> str:
    name = _attempt(gpu.get_name)
    return "GPU" if isinstance(name, Absent) else str(name)


def _power(gpu: Any) -> Callable[[], float]:
    """Milliwatts: of the moment, or averaged by a driver that tells nothing else."""
    instant: Callable[[], float] = gpu.get_instant_power_usage
    average: Callable[[], float] = gpu.get_average_power_usage
    return average if isinstance(_attempt(instant), Absent) else instant


class _SampledPower:
    """Millijoules since the first call, the power between two calls taken as linear."""

    def __init__(self, milliwatts: Callable[[], float], clock: Clock) -> None:
        self._milliwatts = milliwatts
        self._clock = clock
        self._last: tuple[float, float] | None = None
        self._millijoules: float = 0

    def __call__(self) -> float:
        power, now_s = self._milliwatts(), self._clock()
        before, since_s = self._last or (power, now_s)
        self._millijoules += (before + power) * (now_s - since_s) / 2
        self._last = power, now_s
        return self._millijoules


def _processors(cpus: Iterable[Any]) -> Iterator[Device]:
    """Packages and their memory; files have the attribute rapl_file, Zeus's daemon does not."""
    for index, cpu in enumerate(cpus):
        if not hasattr(cpu, "rapl_file"):
            yield from _of_daemon(cpu, index)
        elif cpu.rapl_file.name != PLATFORM:
            yield _of_file(cpu.rapl_file, f"RAPL {cpu.rapl_file.name}")
            if cpu.dram is not None:
                yield _of_file(cpu.dram, f"RAPL dram-{index}")


def _of_file(file: Any, label: str) -> Device:
    path = Path(file.energy_uj_path)
    wrap = int(file.max_energy_range_uj)
    return Device(label, lambda: int(path.read_text()), 1_000_000, wrap, lag_s=RAPL_LAG_S)


def _of_daemon(cpu: Any, index: int) -> Iterator[Device]:
    yield Device(f"RAPL package-{index}", lambda: float(cpu.get_total_energy_consumption().cpu_mj))
    if cpu.supports_get_dram_energy_consumption():
        yield Device(f"RAPL dram-{index}", lambda: float(cpu.get_total_energy_consumption().dram_mj))


def _chip(soc: Any) -> Iterator[Device]:
    """A Jetson's total where it has one, else the sum of an Apple chip's parts that are told."""

    def millijoules() -> float:
        told = soc.get_total_energy_consumption()
        total = getattr(told, "total_energy_mj", None)
        parts = [getattr(told, part, None) for part in _APPLE_PARTS]
        known = [part for part in parts if part is not None] if total is None else [total]
        if not known:
            raise ValueError("the chip tells no energy")
        return float(sum(known))

    yield Device(type(soc).__name__, millijoules, sampled=hasattr(soc, "power_measurement"))
