"""What `sixgig plan` says: a table for people, a document for programs."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sixgig import __version__
from sixgig.cli.tables import show_table
from sixgig.cli.terminal import escaped
from sixgig.hardware import Absent, Gpu, Machine
from sixgig.jobs.candidates import Candidate, Refused
from sixgig.jobs.plan import PlanResult
from sixgig.planning import Need, Plan, Speed, Tier, WorkPlan
from sixgig.planning.quality import SOURCE
from sixgig.units import format_bytes, format_rate, format_seconds

_RUN_COLUMNS = ("VRAM", "on disk", "tokens/s", "first token")
_WORK_COLUMNS = ("read", "pace")


def plan_document(result: PlanResult) -> dict[str, Any]:
    """`sixgig plan --json`; of two models the second one's document inside, with both in proportion."""
    chosen, machine = result.recommended, result.machine
    others = [*(c for c in result.candidates if c is not chosen), *result.alternatives]
    document = {
        "version": __version__,
        "model": result.name,
        "task": vars(chosen.plan.task),
        "warnings": list(_beyond_training(chosen)),
        "machine": {
            "name": machine.name,
            "origin": machine.origin,
            "identity": machine.identity,
            "disturbances": list(result.disturbances),
        },
        "budgets": {"ram_bytes": result.ram_budget_bytes, "vram_bytes": result.vram_budget_bytes},
        "recommended": _candidate_document(chosen),
        "alternatives": [_candidate_document(candidate) for candidate in others],
        "refused": [_offer_document(refused) | {"error": str(refused.error)} for refused in result.refused],
        "hit_rates_from": result.hit_rates_from,
        "expected_kld_from": SOURCE,
        "learned": result.lesson.explain() if result.lesson else None,
        "lesson": vars(result.lesson) if result.lesson else None,
    }
    if (second := result.versus) is None:
        return document
    ratio, verdict = _ratios(result, second), _verdict(result, second)
    return document | {"vs": plan_document(second) | {"ratio": ratio, "verdict": verdict}}


def show_plan(result: PlanResult) -> None:
    """For people, on stdout."""
    console = Console(file=sys.stdout, highlight=False)
    for one in filter(None, (result, result.versus)):
        _show_lines(console, _circumstances(one))
        show_table(console, _table(one))
        _show_lines(console, _conclusions(one))
        console.print()
    if result.versus is not None:
        _show_lines(console, (_verdict(result, result.versus),))


def _show_lines(console: Console, lines: Iterable[str]) -> None:
    for line in lines:
        console.print(Text(escaped(line)), soft_wrap=True)


def _candidate_document(candidate: Candidate) -> dict[str, Any]:
    return _offer_document(candidate) | candidate.plan.to_json()


def _offer_document(one: Candidate | Refused) -> dict[str, Any]:
    return {
        "quantisation": one.offer.quantisation,
        "name": one.offer.name,
        "word": one.offer.word,
        "files": list(one.offer.files),
        "size_bytes": one.size_bytes,
        "expected_kld": one.expected_kld if isinstance(one, Candidate) else None,
    }


def _circumstances(result: PlanResult) -> Iterator[str]:
    task = result.recommended.plan.task
    yield f"{result.name}, to {task.kind}, context {task.context}"
    yield from _beyond_training(result.recommended)
    yield f"on {_machine_words(result.machine)}"
    uses_gpu = result.vram_budget_bytes and task.kind == "run"
    vram = f", {format_bytes(result.vram_budget_bytes)} of VRAM" if uses_gpu else ", no GPU"
    yield f"within {format_bytes(result.ram_budget_bytes)} of memory{vram}"


def _beyond_training(candidate: Candidate) -> Iterator[str]:
    """A warning where the context planned for is longer than the model was trained for."""
    context, trained = candidate.plan.task.context, candidate.model.context_length
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


def _table(result: PlanResult) -> Table:
    """The largest file first, what cannot be read last."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("", no_wrap=True)
    work = isinstance(result.recommended.plan, WorkPlan)
    for name in ("size", "loss", "memory", *(_WORK_COLUMNS if work else _RUN_COLUMNS)):
        table.add_column(name, justify="right", no_wrap=True)
    rows: list[Candidate | Refused] = [*result.candidates, *result.refused]
    for one in sorted(rows, key=lambda one: (-(one.model.size_bytes if one.model else 0), one.offer.name)):
        chosen = one is result.recommended
        table.add_row(*_row(one, _label(one, result), chosen), style="bold" if chosen else "")
    for other in result.alternatives:
        table.add_row("  or", "", "", *_figures(other), style="dim")
    return table


def _label(one: Candidate | Refused, result: PlanResult) -> str:
    """Of one file its quantisation; of several what names each alone: after hf:OWNER/REPO:, in a folder."""
    return one.offer.quantisation if result.is_alone else one.offer.word


def _row(one: Candidate | Refused, label: str, chosen: bool) -> list[str]:
    name = ("> " if chosen else "  ") + escaped(label)
    size = _gib(one.size_bytes) if one.size_bytes else "?"
    if isinstance(one, Refused):
        return [name, size, "?", "too large" if one.model else "unreadable"]
    loss = "?" if one.expected_kld is None else f"{one.expected_kld:.3f}"
    return [name, size, loss, *_figures(one)]


def _figures(candidate: Candidate) -> list[str]:
    if isinstance(candidate.plan, WorkPlan):
        pace = "?" if candidate.work_s is None else format_seconds(candidate.work_s)
        return [_gib(candidate.ram_bytes), _gib(candidate.disk_bytes), f"{pace} a {candidate.plan.unit}"]
    sizes = (_gib(n) if n else "-" for n in (candidate.vram_bytes, candidate.disk_bytes))
    rate, first_s = candidate.decode_tokens_per_s, candidate.time_to_first_token_s
    times = "?" if rate is None else f"{rate:.2f}", "?" if first_s is None else format_seconds(first_s)
    return [_gib(candidate.ram_bytes), *sizes, *times]


def _gib(size_bytes: float) -> str:
    """As narrow as a table needs it."""
    return f"{size_bytes / 2**30:.1f} G" if size_bytes >= 2**30 else f"{size_bytes / 2**20:.0f} M"


def _conclusions(result: PlanResult) -> Iterator[str]:
    chosen = result.recommended
    yield f"{_label(chosen, result)}: {chosen.explanation}"
    yield from _uses(chosen.plan)
    yield from _certainty(result, chosen.plan)
    for refused in result.refused[:3]:
        yield f"{_label(refused, result)}: {refused.error}"
    if len(result.refused) > 3:
        yield f"and {len(result.refused) - 3} more that do not fit or cannot be read"


def _uses(plan: Plan | WorkPlan) -> Iterator[str]:
    memory = plan if isinstance(plan, WorkPlan) else plan.memory
    yield f"memory: {_words(memory.at(Tier.RAM))}"
    if on_device := memory.at(Tier.VRAM):
        yield f"VRAM: {_words(on_device)}"


def _words(needs: tuple[Need, ...]) -> str:
    shown = [need for need in needs if need.size_bytes and need.phase != "loading"]
    return ", ".join(f"{need.use.label} {format_bytes(need.size_bytes)}" for need in shown)


def _certainty(result: PlanResult, plan: Plan | WorkPlan) -> Iterator[str]:
    """How far all this can be trusted."""
    if isinstance(plan, WorkPlan):
        if plan.task.kind == "tune":
            tokens = plan.task.tune_tokens
            yield f"memory as sixgig tune plans it, for {tokens} tokens a step; the pace is an estimate"
            return
        yield "bytes and times are estimates: nothing here was measured against such a run yet"
        return
    source = plan.source
    if plan.confirmed:
        yield f"bytes: {source.words} (weights, KV cache, compute buffers)"
    else:
        reason = f" ({plan.unconfirmed_because})" if plan.unconfirmed_because else ""
        off = f"compute buffers may be {source.error:.0%} off, the rest is exact"
        yield f"bytes: {source.words}{reason}; {off}"
    if isinstance(plan.speed, Absent):
        return
    if plan.memory.mode == "paged":
        yield f"hit rates: {result.hit_rates_from}"
        yield from _disk_limits(plan.speed)
    if plan.speed.nominal:
        yield "speed: nominal kernels and rates, of a machine nobody measured"
    elif result.lesson is not None:
        yield f"speed: {result.lesson.explain()}"
    for line in result.disturbances:
        yield f"speed: {line}; it is measured again once the machine is calm"
    if result.recommended.expected_kld is not None:
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


def _ratios(first: PlanResult, second: PlanResult) -> dict[str, float | None]:
    """The second over the first."""
    one, other = first.recommended, second.recommended
    paces = one.decode_tokens_per_s, other.decode_tokens_per_s
    memory = (other.ram_bytes + other.vram_bytes) / (one.ram_bytes + one.vram_bytes)
    return {"memory": memory, "decode_tokens_per_s": paces[1] / paces[0] if paces[0] and paces[1] else None}


def _verdict(first: PlanResult, second: PlanResult) -> str:
    ratios = _ratios(first, second)
    one, other = first.recommended, second.recommended
    speed = ratios["decode_tokens_per_s"]
    pace = "an unknown speed" if speed is None else f"{speed:.2f} times the speed"
    told = (
        f"{second.name} ({other.quantisation}) beside {first.name} ({one.quantisation}): "
        f"{ratios['memory']:.2f} times the memory, {pace}"
    )
    if one.expected_kld is not None and other.expected_kld is not None:
        told += f", expected loss by quantisation {other.expected_kld:.3f} against {one.expected_kld:.3f}"
    return told + ". Which model is the better one no header tells: sixgig score will measure it."
