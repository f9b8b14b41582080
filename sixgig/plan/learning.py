"""What past runs on a machine say about predictions for the next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from sixgig.plan.budget import Mode

LATEST = 12  # runs that count, newest first
MOST, LEAST = 5.0, 0.2  # a factor beyond is a mistake of the record, not of the model
Phase = Literal["decode", "prompt"]


@dataclass(frozen=True)
class Record:
    """One run: predicted before, measured after. Predictions are those before any correction.

    Seconds are per token; 0 where nothing was predicted or too little ran to be measured. cache_share: of the
    experts' bytes that the cache could hold. joules_per_token: of the processor, idle included; None where no
    meter was read.
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
            return "no run on this machine has been recorded yet: speeds are uncorrected"
        of = "this model" if self.same_model else "other models"
        told = f"corrected by {self.n_runs} runs of {of} here (decode x{1 / self.decode_factor:.2f})"
        if self.typical_error is not None:
            told += f"; past error of decode: {100 * self.typical_error:.0f}%"
        return told + (
            f", of peak memory: {100 * self.peak_error:.1f}%" if self.peak_error is not None else ""
        )


def lesson(records: Iterable[Record], machine: str, model: str, size_bytes: int, mode: Mode) -> Lesson:
    """From this machine's latest runs in this mode: of the same model in the same size, if there are any."""
    here = [record for record in records if record.machine == machine and record.mode == mode]
    same = [record for record in here if (record.model, record.size_bytes) == (model, size_bytes)]
    chosen = (same or here)[-LATEST:]
    return Lesson(
        decode_factor=_factor(chosen, "decode"),
        prompt_factor=_factor(chosen, "prompt"),
        n_runs=len(chosen),
        same_model=bool(same),
        typical_error=_typical_error(chosen),
        peak_error=_peak_error(chosen),
        joules_per_token=_median([r.joules_per_token for r in same if r.joules_per_token is not None]),
    )


def process_bytes(records: Iterable[Record], machine: str) -> tuple[int, int] | None:
    """(anonymous, file) bytes of this program at the start of its latest run on this machine."""
    here = [record for record in records if record.machine == machine and record.process_bytes]
    return (here[-1].process_bytes, here[-1].program_bytes) if here else None


def _factor(records: Sequence[Record], phase: Phase) -> float:
    """Median of measured over predicted, within bounds; 1 where nothing can be said."""
    ratios = [ratio for record in records if (ratio := _ratio(record, phase)) is not None]
    return min(max(median(ratios), LEAST), MOST) if ratios else 1.0


def _ratio(record: Record, phase: Phase) -> float | None:
    predicted = record.predicted_decode_s if phase == "decode" else record.predicted_prompt_s
    measured = record.measured_decode_s if phase == "decode" else record.measured_prompt_s
    return measured / predicted if predicted > 0 and measured > 0 else None


def _typical_error(records: Sequence[Record]) -> float | None:
    """Median error of decode: each run's prediction with the factor known before it."""
    errors = []
    for number, record in enumerate(records):
        ratio = _ratio(record, "decode")
        if ratio is not None:
            errors.append(abs(_factor(records[:number], "decode") / ratio - 1.0))
    return _median(errors)


def _peak_error(records: Sequence[Record]) -> float | None:
    """Median of how far peak memory was from what was predicted."""
    known = [r for r in records if r.measured_peak_bytes > 0]
    return _median([abs(r.predicted_peak_bytes / r.measured_peak_bytes - 1.0) for r in known])


def _median(values: Sequence[float]) -> float | None:
    return median(values) if values else None
