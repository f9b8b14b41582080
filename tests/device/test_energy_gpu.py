"""Zeus's joules of an NVIDIA GPU agree with the power its driver tells."""

import time
from statistics import mean

import pytest

from sixgig.energy.zeus import ZeusMeter, open_zeus
from sixgig.hardware.machine import Absent
from sixgig.hardware.nvml import Nvml, open_nvml

SECONDS, WITHIN = 2.0, 0.3


def _has_gpu() -> bool:
    with open_nvml() as nvml:
        return not isinstance(nvml, Absent) and bool(nvml.devices())


pytestmark = [
    pytest.mark.device,
    pytest.mark.skipif(not _has_gpu(), reason="no NVIDIA driver tells of a GPU here"),
]


def _watts(nvml: Nvml) -> float:
    """Of all GPUs, sampled for SECONDS."""
    samples: list[float] = []
    started = time.monotonic()
    while time.monotonic() - started < SECONDS:
        milliwatts = [nvml.ask("nvmlDeviceGetPowerUsage", gpu) for gpu in nvml.devices()]
        samples.append(sum(power for power in milliwatts if not isinstance(power, Absent)) / 1000)
        time.sleep(0.02)
    return mean(samples)


def _gpu_joules(meter: ZeusMeter) -> tuple[float, float]:
    reading = meter.read()
    values = [joules for name, joules in reading.joules.items() if not name.startswith("RAPL")]
    assert values and not any(isinstance(joules, Absent) for joules in values)
    return reading.time_s, sum(joules for joules in values if not isinstance(joules, Absent))


def test_joules_agree_with_the_drivers_power() -> None:
    pytest.importorskip("zeus", reason='the extra "energy" is not installed')
    meter = open_zeus()
    assert isinstance(meter, ZeusMeter)
    with open_nvml() as nvml:
        assert not isinstance(nvml, Absent)
        began_s, before = _gpu_joules(meter)
        watts = _watts(nvml)
        ended_s, after = _gpu_joules(meter)
    assert after - before == pytest.approx(watts * (ended_s - began_s), rel=WITHIN)
