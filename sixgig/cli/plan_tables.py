"""What `sixgig plan` says: a table for people, a document for programs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sixgig import __version__
from sixgig.cli.planning import Candidate, Planning, Survey
from sixgig.cli.tables import show_table
from sixgig.cli.terminal import escaped
from sixgig.hardware import Absent, Gpu, Machine
from sixgig.plan import Need, Plan, Speed, Tier, WorkPlan
from sixgig.plan.quality import SOURCE
from sixgig.units import format_bytes, format_rate, format_seconds

_RUN_COLUMNS = ("VRAM", "on disk", "tokens/s", "first token")
_WORK_COLUMNS = ("read", "pace")


def plan_document(planning: Planning, survey: Survey) -> dict[str, Any]:
    """`sixgig plan --json`."""
    others = [c for c in survey.candidates if c.offer != survey.recommended.offer]
    return {
        "version": __version__,
        "model": survey.name,
        "task": vars(_planned(survey.recommended).task),
        "warnings": list(_beyond_training(survey)),
        "machine": {
            "name": planning.machine.name,
            "origin": planning.machine.origin,
            "identity": planning.machine.identity,
            "disturbances": list(planning.disturbances),
        },
        "budgets": vars(planning.budgets),
        "recommended": _candidate_document(survey.recommended),
        "alternatives": [
            *(_candidate_document(c) for c in others if c.plan is not None),
            *(_offer_document(survey.recommended) | plan.to_json() for plan in survey.alternatives),
        ],
        "refused": [_offer_document(c) | {"error": str(c.error)} for c in others if c.plan is None],
        "hit_rates_from": planning.hits.source,
        "expected_kld_from": SOURCE,
        "learned": survey.lesson.explain() if survey.lesson else None,
        "lesson": vars(survey.lesson) if survey.lesson else None,
    }


def comparison_document(planning: Planning, first: Survey, second: Survey) -> dict[str, Any]:
    """The second model's document, and both in proportion."""
    return {
        **plan_document(planning, second),
        "ratio": _ratios(first, second),
        "verdict": _verdict(first, second),
    }


def show_plan(planning: Planning, survey: Survey) -> None:
    """For people, on stdout."""
    console = Console(file=sys.stdout, highlight=False)
    for line in _circumstances(planning, survey):
        console.print(Text(escaped(line)), soft_wrap=True)
    show_table(console, _table(survey))
    for line in _conclusions(planning, survey):
        console.print(Text(escaped(line)), soft_wrap=True)
    console.print()


def show_comparison(first: Survey, second: Survey) -> None:
    """One line that sets them side by side."""
    Console(file=sys.stdout, highlight=False).print(Text(escaped(_verdict(first, second))), soft_wrap=True)


def _candidate_document(candidate: Candidate) -> dict[str, Any]:
    return _offer_document(candidate) | _planned(candidate).to_json()


def _offer_document(candidate: Candidate) -> dict[str, Any]:
    return {
        "quantisation": candidate.offer.quantisation,
        "name": candidate.offer.name,
        "word": candidate.offer.word,
        "files": list(candidate.offer.files),
        "size_bytes": candidate.model.size_bytes if candidate.model else candidate.offer.size_bytes,
        "expected_kld": candidate.kld,
    }


def _planned(candidate: Candidate) -> Plan | WorkPlan:
    assert candidate.plan is not None, "only what was planned is recommended"
    return candidate.plan


def _circumstances(planning: Planning, survey: Survey) -> Iterator[str]:
    budgets, task = planning.budgets, _planned(survey.recommended).task
    yield f"{survey.name}, to {task.kind}, context {task.context}"
    yield from _beyond_training(survey)
    yield f"on {_machine_words(planning.machine)}"
    uses_gpu = budgets.vram_bytes and task.kind == "run"
    vram = f", {format_bytes(budgets.vram_bytes)} of VRAM" if uses_gpu else ", no GPU"
    yield f"within {format_bytes(budgets.ram_bytes)} of memory{vram}"


def _beyond_training(survey: Survey) -> Iterator[str]:
    """A warning where the context planned for is longer than the model was trained for."""
    context, model = _planned(survey.recommended).task.context, survey.recommended.model
    trained = model.context_length if model else None
    if trained and context > trained:
        yield (
            f"warning: the model was trained for a context of {trained}; beyond it answers get worse, "
            f"and sixgig serve gives {trained}"
        )


def _machine_words(machine: Machine) -> str:
    memory, disk = machine.memory, machine.disk
    read = disk if isinstance(disk, Absent) else disk.bytes_per_s(1 << 20)
    words = [
        f"{machine.cpu.name}, {machine.cpu.cores} cores",
        f"memory {_rate(memory.bandwidth_bytes_per_s)}",
    ]
    words.append(f"disk {_rate(read)}")
    words += [_gpu_words(gpu) for gpu in machine.gpus]
    return f"{machine.name} ({'; '.join(words)})"


def _gpu_words(gpu: Gpu) -> str:
    return f"{gpu.name} {format_bytes(gpu.memory_bytes)}"


def _rate(rate: float | Absent) -> str:
    return "unknown" if isinstance(rate, Absent) else format_rate(rate)


def _table(survey: Survey) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("", no_wrap=True)
    work = isinstance(survey.recommended.plan, WorkPlan)
    for name in ("size", "loss", "memory", *(_WORK_COLUMNS if work else _RUN_COLUMNS)):
        table.add_column(name, justify="right", no_wrap=True)
    for candidate in sorted(survey.candidates, key=lambda c: -(c.model.size_bytes if c.model else 0)):
        chosen = candidate.offer == survey.recommended.offer
        shown = survey.recommended if chosen else candidate
        table.add_row(*_row(shown, _label(shown, survey), chosen), style="bold" if chosen else "")
    for plan in survey.alternatives:
        table.add_row("  or", "", "", *_figures(plan), style="dim")
    return table


def _label(candidate: Candidate, survey: Survey) -> str:
    """Of one file its quantisation; of several what names each alone: after hf:OWNER/REPO:, in a folder."""
    return candidate.offer.quantisation if len(survey.candidates) == 1 else candidate.offer.word


def _row(candidate: Candidate, label: str, chosen: bool) -> list[str]:
    name = ("> " if chosen else "  ") + escaped(label)
    size = candidate.model.size_bytes if candidate.model else candidate.offer.size_bytes
    loss = "?" if candidate.kld is None else f"{candidate.kld:.3f}"
    head = [name, _gib(size) if size else "?", loss]
    if candidate.plan is None:
        return [*head, "too large" if candidate.model else "unreadable"]
    return [*head, *_figures(candidate.plan)]


def _figures(plan: Plan | WorkPlan) -> list[str]:
    if isinstance(plan, WorkPlan):
        pace = "?" if isinstance(plan.seconds, Absent) else format_seconds(plan.seconds)
        return [_gib(plan.predicted_peak_bytes), _gib(plan.read_bytes), f"{pace} a {plan.unit}"]
    sizes = [
        _gib(plan.memory.predicted_peak_bytes),
        *(_gib(n) if n else "-" for n in (plan.vram_bytes, plan.disk_bytes)),
    ]
    if isinstance(plan.speed, Absent):
        return [*sizes, "?", "?"]
    first = format_seconds(plan.speed.time_to_first_token_s)
    return [*sizes, f"{plan.speed.decode_tokens_per_s:.2f}", first]


def _gib(size_bytes: float) -> str:
    """As narrow as a table needs it."""
    return f"{size_bytes / 2**30:.1f} G" if size_bytes >= 2**30 else f"{size_bytes / 2**20:.0f} M"


def _conclusions(planning: Planning, survey: Survey) -> Iterator[str]:
    plan = _planned(survey.recommended)
    yield f"{_label(survey.recommended, survey)}: {plan.why()}"
    yield from _uses(plan)
    yield from _certainty(planning, survey, plan)
    refused = [c for c in survey.candidates if c.error is not None]
    for candidate in refused[:3]:
        yield f"{_label(candidate, survey)}: {candidate.error}"
    if len(refused) > 3:
        yield f"and {len(refused) - 3} more that do not fit or cannot be read"


def _uses(plan: Plan | WorkPlan) -> Iterator[str]:
    memory = plan if isinstance(plan, WorkPlan) else plan.memory
    yield f"memory: {_words(memory.at(Tier.RAM))}"
    if on_device := memory.at(Tier.VRAM):
        yield f"VRAM: {_words(on_device)}"


def _words(needs: tuple[Need, ...]) -> str:
    shown = [need for need in needs if need.size_bytes and need.phase != "loading"]
    return ", ".join(f"{need.use.label} {format_bytes(need.size_bytes)}" for need in shown)


def _certainty(planning: Planning, survey: Survey, plan: Plan | WorkPlan) -> Iterator[str]:
    """How far all this can be trusted."""
    if isinstance(plan, WorkPlan):
        if plan.task.kind == "tune":
            tokens = plan.task.tune_tokens
            yield f"memory as sixgig tune plans it, for {tokens} tokens a step; the pace is an estimate"
            return
        yield "bytes and times are estimates: nothing here was measured against such a run yet"
        return
    if plan.confirmed:
        yield f"bytes: {plan.source.words} (weights, KV cache, compute buffers)"
    else:
        reason = f" ({plan.unconfirmed_because})" if plan.unconfirmed_because else ""
        off = f"compute buffers may be {plan.source.error:.0%} off, the rest is exact"
        yield f"bytes: {plan.source.words}{reason}; {off}"
    if isinstance(plan.speed, Absent):
        return
    if plan.memory.mode == "paged":
        yield f"hit rates: {planning.hits.source}"
        yield from _disk_limits(plan.speed)
    if plan.speed.nominal:
        yield "speed: nominal kernels and rates, of a machine nobody measured"
    elif survey.lesson is not None:
        yield f"speed: {survey.lesson.explain()}"
    for line in planning.disturbances:
        yield f"speed: {line}; it is measured again once the machine is calm"
    if survey.recommended.kld is not None:
        yield f"loss: KL divergence, {SOURCE}: not measured of this one; smaller models lose more"
    joules = plan.speed.joules_per_token
    yield (
        f"energy: {joules.reason}"
        if isinstance(joules, Absent)
        else f"energy: {joules:.2f} J per token of the processor, metered here"
    )


def _disk_limits(speed: Speed) -> Iterator[str]:
    """What the disk alone would allow."""
    cold, warm = speed.disk_limit(0.0), speed.disk_limit(0.6)
    if cold is not None and warm is not None:
        yield (
            f"limit by this disk alone: {cold:.2f} tokens/s with nothing in memory, "
            f"{warm:.2f} where 60% of uses are found there"
        )


def _ratios(first: Survey, second: Survey) -> dict[str, float | None]:
    """The second over the first."""
    one, other = first.recommended, second.recommended
    memory = _memory(other) / _memory(one)
    speed = other.tokens_per_s / one.tokens_per_s if one.tokens_per_s and other.tokens_per_s else None
    return {"memory": memory, "decode_tokens_per_s": speed}


def _memory(candidate: Candidate) -> int:
    plan = _planned(candidate)
    return (
        plan.predicted_peak_bytes
        if isinstance(plan, WorkPlan)
        else plan.memory.predicted_peak_bytes + plan.vram_bytes
    )


def _verdict(first: Survey, second: Survey) -> str:
    ratios = _ratios(first, second)
    one, other = first.recommended, second.recommended
    speed = ratios["decode_tokens_per_s"]
    pace = "an unknown speed" if speed is None else f"{speed:.2f} times the speed"
    told = (
        f"{second.name} ({other.offer.quantisation}) beside {first.name} ({one.offer.quantisation}): "
        f"{ratios['memory']:.2f} times the memory, {pace}"
    )
    if one.kld is not None and other.kld is not None:
        told += f", expected loss by quantisation {other.kld:.3f} against {one.kld:.3f}"
    return told + ". Which model is the better one no header tells: sixgig score will measure it."
