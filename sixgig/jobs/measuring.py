"""A benchmark's run: forced tokens, timed, with the limit that the same bytes set."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np

from sixgig.families import Role
from sixgig.hardware import Absent, Bandwidth, disk_read_bandwidth, memory_bandwidth
from sixgig.hardware.energy import joules_between, read_energy
from sixgig.inference import Sampler, SamplingOptions, abort_on_interrupt
from sixgig.inference.load import BudgetedEngine
from sixgig.modelfile import ModelFile
from sixgig.pager.pager import DEFAULT_READERS, Counters
from sixgig.planning import footprint
from sixgig.planning.limit import Limit, Traffic, distinct_experts

DISK_S, MEMORY_S = 1.5, 0.5
SMALLEST_ARRAY_BYTES, LARGEST_ARRAY_BYTES = 8 << 20, 64 << 20


@dataclass(frozen=True)
class Phase:
    """A prompt or a decoding: tokens, the passes over the weights they took, wall seconds, what the pager did
    meanwhile (None when unpaged), and the joules of the processor packages.

    token_s: seconds of each token that was decoded, () of a prompt.
    """

    n_tokens: int
    n_passes: int
    seconds: float
    counters: Counters | None
    joules: float | Absent
    token_s: tuple[float, ...] = ()

    @property
    def middle_s(self) -> tuple[float, float] | None:
        """Between which times nine tokens of ten lie, in the order of their times; None of a prompt."""
        if not self.token_s:
            return None
        fast, slow = np.quantile(self.token_s, [0.05, 0.95])
        return float(fast), float(slow)

    @property
    def tokens_per_s(self) -> float:
        """The measured speed."""
        return self.n_tokens / self.seconds if self.seconds > 0 else 0.0

    @property
    def joules_per_token(self) -> float | None:
        """Of the processor packages, idle included; None where no meter tells."""
        return None if isinstance(self.joules, Absent) else self.joules / self.n_tokens


@dataclass(frozen=True)
class PhaseLimit:
    """The least seconds of a phase: those that the bandwidths need for the bytes of weights that had to move.

    ratio: measured speed over the limit's. read_ratio: the disk's while reading over the plain; None where
    nothing was read.
    """

    seconds: float
    tokens_per_s: float
    ratio: float
    memory_bytes: float
    disk_bytes: float
    read_ratio: float | None

    @classmethod
    def of(cls, model: ModelFile, phase: Phase, memory: Bandwidth, disk: Bandwidth | None) -> Self:
        """Of a phase that was measured."""
        needed, counters = traffic(model, phase), phase.counters
        disk_bytes_per_s = disk.bytes_per_s if disk else None
        seconds = Limit(memory.bytes_per_s, disk_bytes_per_s).seconds(needed)
        read_ratio = None
        if counters is not None and counters.read_s and disk_bytes_per_s is not None:
            read_ratio = counters.bytes_read / counters.read_s / disk_bytes_per_s
        return cls(
            seconds,
            phase.n_tokens / seconds,
            seconds / phase.seconds,
            needed.memory_bytes,
            needed.disk_bytes,
            read_ratio,
        )


def measure_phases(
    engine: BudgetedEngine,
    tokens: Sequence[int],
    n_prompt: int,
    progress: Callable[[float], object],
) -> tuple[Phase, Phase]:
    """(prompt, decoding): the first `n_prompt` tokens at once, the others one by one, whatever follows.

    Decoding finds in the cache what the prompt left there. Its time holds the choice of a token after each
    evaluation, as `run` makes it, so that both tell the same speed; what is chosen is not used. `progress`
    gets the fraction of both.
    """
    prompt, forced = tokens[:n_prompt], tokens[n_prompt:]
    share = n_prompt / len(tokens)

    sampler = Sampler(engine, SamplingOptions(seed=0))

    token_s = list[float]()

    def decode() -> None:
        for done, token in enumerate(forced, 1):
            began_s = time.perf_counter()
            engine.feed([token])
            sampler.sample(engine)
            token_s.append(time.perf_counter() - began_s)
            progress(share + (1 - share) * done / len(forced))

    def prefill() -> None:
        engine.prefill(prompt, lambda fraction: progress(share * fraction))

    with abort_on_interrupt(engine):
        first = _timed(engine, n_prompt, -(-n_prompt // engine.ubatch), prefill)
        second = _timed(engine, len(forced), len(forced), decode)
    return first, replace(second, token_s=tuple(token_s))


def _timed(engine: BudgetedEngine, n_tokens: int, n_passes: int, work: Callable[[], object]) -> Phase:
    if engine.pager is not None:
        engine.pager.reset_counters()
    energy, started = read_energy(), time.perf_counter()
    work()
    seconds = time.perf_counter() - started
    return Phase(n_tokens, n_passes, seconds, engine.counters(), joules_between(energy, read_energy()))


def traffic(model: ModelFile, phase: Phase) -> Traffic:
    """Bytes of weights that the phase had to move. Reads ahead that nobody wanted are not among them."""
    dense = float(_dense_bytes_per_pass(model) * phase.n_passes)
    counters = phase.counters
    if counters is None:
        return Traffic(dense, _expected_expert_bytes(model, phase))
    one = _expert_bytes(model)
    needed = max(0.0, counters.bytes_read - counters.predicted_wasted * one)
    return Traffic(dense, (counters.hits + counters.misses) * one, needed)


def _dense_bytes_per_pass(model: ModelFile) -> int:
    """Dense bytes, less the embedding table where the head has its own: a token reads one row of it."""
    roles = {tensor.role for tensor in model.tensors}
    unread = (t.size_bytes for t in model.tensors if t.role is Role.EMBEDDING and Role.HEAD in roles)
    return model.dense_bytes - sum(unread)


def _expected_expert_bytes(model: ModelFile, phase: Phase) -> float:
    if not model.n_experts:
        return 0.0
    tokens_per_pass = phase.n_tokens // max(phase.n_passes, 1)
    share = distinct_experts(model.n_experts, model.n_experts_used, tokens_per_pass) / model.n_experts
    return model.routed_bytes * share * phase.n_passes


def _expert_bytes(model: ModelFile) -> float:
    """Mean bytes of one expert of one layer."""
    layers = {tensor.layer for tensor in model.routed_experts()}
    return model.routed_bytes / (len(layers) * model.n_experts)


def measure_memory(threads: int, ram_bytes: int) -> Bandwidth:
    """Memory's bandwidth, taking a quarter of the budget at most."""
    room = ram_bytes // (4 * threads)
    array = min(LARGEST_ARRAY_BYTES, max(SMALLEST_ARRAY_BYTES, room))
    return memory_bandwidth(threads, MEMORY_S, array)


def measure_disk(model: ModelFile) -> Bandwidth:
    """The disk's plain bandwidth under the model: as many readers as the pager has, and its mean block."""
    experts = model.routed_experts()
    n_pieces = sum(tensor.shape[2] for tensor in experts)
    block = footprint.resident_bytes(model) // n_pieces if n_pieces else 1 << 20
    largest: Path = max(model.parts, key=lambda part: part.stat().st_size)
    return disk_read_bandwidth(largest, block, DEFAULT_READERS, DISK_S)
