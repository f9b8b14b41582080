"""After a run: set what was measured beside what the planner would have said, and remember both."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from sixgig import __version__
from sixgig.hardware import Absent
from sixgig.hardware.conditions import CALM
from sixgig.inference.history import remember_run
from sixgig.jobs.machines import known_machine
from sixgig.jobs.opening import Opened
from sixgig.planning import (
    PUBLISHED,
    Lesson,
    Placement,
    Predictor,
    Record,
    Speed,
    Task,
    Use,
    anatomy,
    basis_of,
    bookkeeping_bytes,
)
from sixgig.planning.footprint import KERNEL_FILE_BYTES

FEWEST_DECODED, FEWEST_PROMPTED = 16, 32  # tokens; fewer tell of starting up rather than of speed


@dataclass(frozen=True)
class Pace:
    """What was measured: tokens of the first prompt and its seconds, all tokens decoded and theirs."""

    prompt_tokens: int
    prompt_s: float
    decoded: int
    decode_s: float
    joules_per_token: float | None = None


def learn(opened: Opened, pace: Pace, path: Path | None = None) -> None:
    """Remember one run that has ended, unless it was too short to tell, on a GPU or on unusual threads.

    Beside other work, which takes cores, threads are unusual too. What else disturbed it, the record says.
    """
    machine = known_machine(opened.model.parts[0].parent)
    options = opened.engine.options
    unusual = opened.engine.fewest_threads != machine.cpu.cores or options.gpu_layers > 0
    if unusual or (pace.decoded < FEWEST_DECODED and pace.prompt_tokens < FEWEST_PROMPTED):
        return
    plan = opened.plan
    share = plan.expert_cache_bytes / max(plan.routed_bytes, 1) if plan.mode == "paged" else 1.0
    task = Task(
        context=options.context,
        ubatch=options.ubatch,
        type_k=options.type_k,
        type_v=options.type_v,
        prompt_tokens=pace.prompt_tokens,
    )
    predictor = Predictor(machine, anatomy(opened.model), task, PUBLISHED)
    speed = predictor.speed(Placement(), plan.mode, share, Lesson())
    conditions = opened.watch.conditions() if opened.watch else CALM
    disturbance = conditions.taken_from("processors")
    if plan.mode == "paged":
        disturbance = max(disturbance, conditions.taken_from("disk"))
    record = _record(opened, machine.identity, pace, share, speed)
    remember_run(replace(record, disturbance=disturbance, basis=basis_of(machine, plan.mode)), path)


def _record(opened: Opened, machine: str, pace: Pace, share: float, speed: Speed | Absent) -> Record:
    plan, options, counters = opened.plan, opened.engine.options, opened.engine.counters()
    task, predicted_s = Task(context=options.context, ubatch=options.ubatch), (0.0, 0.0)
    if not isinstance(speed, Absent):
        predicted_s = speed.decode_s, speed.prompt_s / pace.prompt_tokens
    return Record(
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        version=__version__,
        machine=machine,
        model=opened.model.name,
        size_bytes=opened.model.size_bytes,
        mode=plan.mode,
        context=options.context,
        ubatch=options.ubatch,
        predicted_peak_bytes=plan.predicted_peak_bytes,
        measured_peak_bytes=opened.peak.total_bytes,
        process_bytes=max(0, plan.held_bytes(Use.PROCESS) - bookkeeping_bytes(anatomy(opened.model), task)),
        program_bytes=max(0, plan.held_bytes(Use.PROGRAM_FILES) - KERNEL_FILE_BYTES),
        cache_share=share,
        hit_rate=counters.hit_rate if counters else None,
        predicted_decode_s=predicted_s[0],
        measured_decode_s=_each(pace.decode_s, pace.decoded, FEWEST_DECODED),
        predicted_prompt_s=predicted_s[1],
        measured_prompt_s=_each(pace.prompt_s, pace.prompt_tokens, FEWEST_PROMPTED),
        joules_per_token=pace.joules_per_token,
    )


def _each(seconds: float, count: int, fewest: int) -> float:
    """Seconds of one; 0 where there were too few to tell."""
    return seconds / count if count >= fewest else 0.0
