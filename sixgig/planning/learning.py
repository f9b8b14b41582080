"""What past runs on a machine say about predictions for the next.

A run beside other work, or one predicted from measurements that were taken again since, must not spoil what
comes after: calm runs come first, speeds are learnt only under the measurements they were predicted from, and
beside runs of other models two are thought of that hit their predictions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from statistics import median, median_low
from typing import Literal

from sixgig.hardware import Disk, Machine
from sixgig.hardware.conditions import DISTURBED
from sixgig.planning.budget import Mode

LATEST = 12  # runs that count, newest first
HITS = 2  # runs of other models that are thought to have hit: so one alone corrects nothing
_ABOUT_AS_CALM = 1.5  # times the disturbance of the calmest run
MOST, LEAST = 5.0, 0.2  # a factor beyond is a mistake of the record, not of the model
Phase = Literal["decode", "prompt"]


@dataclass(frozen=True)
class Record:
    """One run: predicted before, measured after. Predictions are those before any correction.

    Seconds are per token; 0 where nothing was predicted or too little ran to be measured. cache_share: of the
    experts' bytes that the cache could hold. joules_per_token: of the processor, idle included; None where no
    meter was read. disturbance: what others took meanwhile, as hardware.conditions counts it. basis: of the
    measurements that the predictions were made from.
    """

    at: str
    version: str
    machine: str
    model: str
    size_bytes: int
    mode: Mode
    context: int
    ubatch: int
    predicted_peak_bytes: int
    measured_peak_bytes: int
    process_bytes: int
    program_bytes: int
    cache_share: float
    hit_rate: float | None
    predicted_decode_s: float
    measured_decode_s: float
    predicted_prompt_s: float
    measured_prompt_s: float
    joules_per_token: float | None = None
    disturbance: float = 0.0
    basis: str = ""


@dataclass(frozen=True)
class Lesson:
    """The correction for one model and mode. factor: measured over predicted; errors: of past predictions, as
    they would have been with the factor of the runs before each.
    """

    decode_factor: float = 1.0
    prompt_factor: float = 1.0
    n_runs: int = 0
    same_model: bool = False
    typical_error: float | None = None
    peak_error: float | None = None
    joules_per_token: float | None = None

    def explain(self) -> str:
        """One line; what it rests on."""
        if not self.n_runs:
            return "no calm run since this machine was measured is recorded yet: speeds are uncorrected"
        of = "this model" if self.same_model else "other models"
        told = f"corrected by {self.n_runs} runs of {of} here (decode x{1 / self.decode_factor:.2f})"
        if self.typical_error is not None:
            told += f"; past error of decode: {100 * self.typical_error:.0f}%"
        return told + (
            f", of peak memory: {100 * self.peak_error:.1f}%" if self.peak_error is not None else ""
        )


def basis_of(machine: Machine, mode: Mode) -> str:
    """Tells the measurements that a prediction rests on from others; the disk's only where it is read."""
    reads = machine.disk.reads if mode == "paged" and isinstance(machine.disk, Disk) else None
    known = asdict(machine.memory)["bandwidth_bytes_per_s"], machine.kernels, reads
    return sha256(repr(known).encode()).hexdigest()[:16]


def lesson(
    records: Iterable[Record], machine: str, model: str, size_bytes: int, mode: Mode, basis: str = ""
) -> Lesson:
    """From this machine's latest runs in this mode: of the same model in the same size, if there are any."""
    here = [record for record in records if record.machine == machine and record.mode == mode]
    same = [record for record in here if (record.model, record.size_bytes) == (model, size_bytes)]
    own = _calmest([record for record in same if record.basis == basis])[-LATEST:]
    others = [record for record in here if record.basis == basis and record.disturbance < DISTURBED]
    chosen, hits = (own, 0) if own else (others[-LATEST:], HITS)
    return Lesson(
        decode_factor=_factor(chosen, "decode", hits),
        prompt_factor=_factor(chosen, "prompt", hits),
        n_runs=len(chosen),
        same_model=bool(own),
        typical_error=_typical_error(chosen, hits),
        peak_error=_peak_error((same or here)[-LATEST:]),
        joules_per_token=_median([r.joules_per_token for r in same if r.joules_per_token is not None]),
    )


def _calmest(records: Sequence[Record]) -> list[Record]:
    """The calm ones; where there are none, those that are about as calm as the calmest."""
    least = min((record.disturbance for record in records), default=0.0)
    limit = max(DISTURBED, _ABOUT_AS_CALM * least)
    return [record for record in records if record.disturbance <= limit]


def process_bytes(records: Iterable[Record], machine: str) -> tuple[int, int] | None:
    """(anonymous, file) bytes of this program at the start of its latest run on this machine."""
    here = [record for record in records if record.machine == machine and record.process_bytes]
    return (here[-1].process_bytes, here[-1].program_bytes) if here else None


def _factor(records: Sequence[Record], phase: Phase, hits: int) -> float:
    """Median of measured over predicted, within bounds, with so many hits beside; 1 where nothing is known.

    Of two in the middle the lower: what disturbs a run makes it slower, never faster.
    """
    ratios = [ratio for record in records if (ratio := _ratio(record, phase)) is not None]
    return min(max(median_low([*ratios, *[1.0] * hits]), LEAST), MOST) if ratios else 1.0


def _ratio(record: Record, phase: Phase) -> float | None:
    predicted = record.predicted_decode_s if phase == "decode" else record.predicted_prompt_s
    measured = record.measured_decode_s if phase == "decode" else record.measured_prompt_s
    return measured / predicted if predicted > 0 and measured > 0 else None


def _typical_error(records: Sequence[Record], hits: int) -> float | None:
    """Median error of decode: each run's prediction with the factor known before it."""
    errors = []
    for number, record in enumerate(records):
        ratio = _ratio(record, "decode")
        if ratio is not None:
            errors.append(abs(_factor(records[:number], "decode", hits) / ratio - 1.0))
    return _median(errors)


def _peak_error(records: Sequence[Record]) -> float | None:
    """Median of how far peak memory was from what was predicted."""
    known = [r for r in records if r.measured_peak_bytes > 0]
    return _median([abs(r.predicted_peak_bytes / r.measured_peak_bytes - 1.0) for r in known])


def _median(values: Sequence[float]) -> float | None:
    return median(values) if values else None
