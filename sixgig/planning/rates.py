"""What one processor does in a second, for the planner: weights multiplied, bytes moved."""

from __future__ import annotations

from dataclasses import dataclass

from sixgig.hardware import Absent, Gpu, Kernels, KernelSpeed, Machine
from sixgig.planning.anatomy import Weights
from sixgig.planning.nominal import NOMINAL_CORE

USABLE_GPU_SHARE = 0.7  # of a GPU's nominal bandwidth, as products with one row of input reach it
GPU_FLOP_PER_BYTE = (
    20.0  # prompts: about what cards from Pascal on do beside a byte of bandwidth, at half speed
)
UNTUNED_SHARE = 0.8  # of memory's bandwidth, where no kernel was measured


@dataclass(frozen=True)
class CpuRates:
    """The engine's CPU kernels, measured or nominal. repacked: whether the engine may repack weights."""

    kernels: Kernels
    memory_bytes_per_s: float
    repacked: bool
    measured: bool

    def decode_s(self, weights: Weights) -> float:
        """Seconds to multiply matrices with one row of input."""
        speed = self._speed(weights.type)
        rate = max(speed.decode, speed.repacked_decode) if self.repacked else speed.decode
        seconds = weights.n_weights / rate if rate > 0 else 0.0
        if not self.measured:
            return max(seconds, weights.size_bytes / (UNTUNED_SHARE * self.memory_bytes_per_s))
        usual_rows = weights.n_weights / self.kernels.row_width
        return max(seconds / 2, seconds + (weights.n_rows - usual_rows) * self.kernels.row_s)

    def prompt_s(self, weights: Weights, n_tokens: float) -> float:
        """Seconds to multiply matrices with n_tokens rows of input; never less than with one."""
        speed = self._speed(weights.type)
        rate = max(speed.prompt, speed.repacked_prompt) if self.repacked else speed.prompt
        return max(weights.n_weights * n_tokens / rate if rate > 0 else 0.0, self.decode_s(weights))

    def move_s(self, size_bytes: float) -> float:
        """Seconds to read or write that much memory."""
        return size_bytes / self.memory_bytes_per_s

    def steps_s(self, n_steps: float) -> float:
        """Seconds of that many small graph nodes."""
        return n_steps * self.kernels.step_s

    def _speed(self, kind: str) -> KernelSpeed:
        """The type's own speed; of a type nobody measured, that of the slowest."""
        known = {speed.type: speed for speed in self.kernels.speeds}
        return known.get(kind) or min(self.kernels.speeds, key=lambda speed: speed.decode)


@dataclass(frozen=True)
class GpuRates:
    """A GPU by its nominal bandwidth."""

    bytes_per_s: float

    def decode_s(self, weights: Weights) -> float:
        """Seconds to multiply matrices with one row of input."""
        return weights.size_bytes / (USABLE_GPU_SHARE * self.bytes_per_s)

    def prompt_s(self, weights: Weights, n_tokens: float) -> float:
        """Seconds to multiply matrices with n_tokens rows of input."""
        products = 2.0 * weights.n_weights * n_tokens / (GPU_FLOP_PER_BYTE * self.bytes_per_s)
        return max(products, self.decode_s(weights))

    def move_s(self, size_bytes: float) -> float:
        """Seconds to read or write that much of its memory."""
        return size_bytes / (USABLE_GPU_SHARE * self.bytes_per_s)

    def steps_s(self, n_steps: float) -> float:
        """Seconds of that many small graph nodes: one launch each."""
        return n_steps * 2e-6


Rates = CpuRates | GpuRates


def cpu_rates(machine: Machine, repacked: bool) -> CpuRates | Absent:
    """The machine's rates, with nominal kernels where its own were not measured; Absent without bandwidth."""
    bandwidth = machine.memory.bandwidth_bytes_per_s
    if isinstance(bandwidth, Absent):
        return Absent(f"memory bandwidth: {bandwidth.reason}; run sixgig doctor")
    if isinstance(machine.kernels, Kernels):
        return CpuRates(machine.kernels, bandwidth, repacked, measured=True)
    return CpuRates(_scaled(machine.cpu.cores), bandwidth, repacked, measured=False)


def gpu_rates(gpu: Gpu) -> GpuRates | Absent:
    """The GPU's rates; Absent where its bandwidth is not known."""
    bandwidth = gpu.bandwidth_bytes_per_s
    if isinstance(bandwidth, Absent):
        return Absent(f"{gpu.name}: memory bandwidth: {bandwidth.reason}")
    return GpuRates(bandwidth)


def _scaled(cores: int) -> Kernels:
    """One nominal core's speeds times the cores."""
    speeds = tuple(
        KernelSpeed(s.type, *(cores * x for x in (s.decode, s.prompt, s.repacked_decode, s.repacked_prompt)))
        for s in NOMINAL_CORE.speeds
    )
    return Kernels(
        NOMINAL_CORE.engine, cores, NOMINAL_CORE.step_s, NOMINAL_CORE.row_s, NOMINAL_CORE.row_width, speeds
    )
