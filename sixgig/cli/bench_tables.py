"""What `sixgig bench` says: a table for people, a document for programs."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from sixgig.cli.report import facts, memory_words
from sixgig.cli.tables import show_table
from sixgig.jobs.bench import BenchResult
from sixgig.jobs.measuring import Phase, PhaseLimit
from sixgig.pager.pager import Counters
from sixgig.units import format_bytes, format_rate, format_seconds


def bench_document(result: BenchResult) -> dict[str, Any]:
    """`sixgig bench --json`: decode, prefill, limit, and what all documents share."""
    memory, disk = result.memory, result.disk
    return {
        "prefill": _phase_document(result.prefill),
        "decode": _phase_document(result.decode),
        "limit": {
            "memory_bandwidth_bytes_per_s": memory.bytes_per_s,
            "disk_bandwidth_bytes_per_s": disk.bytes_per_s if disk else None,
            "disk_block_bytes": disk.block_bytes if disk else None,
            "disk_direct": disk.direct if disk else None,
            "prefill": asdict(result.prefill_limit),
            "decode": asdict(result.decode_limit),
        },
        "load_s": result.stats.load_s,
        "tokens_from": result.tokens_from,
        "notices": result.notices,
        **facts(result.stats),
    }


def show_bench(result: BenchResult) -> None:
    """The table on stdout, memory below it."""
    console = Console(file=sys.stdout, highlight=False)
    show_table(console, _table(result))
    console.print(_bandwidths(result), soft_wrap=True)
    for line in result.notices:
        console.print(line, soft_wrap=True)
    console.print(memory_words(result.stats.plan, result.stats.peak), soft_wrap=True)


def _bandwidths(result: BenchResult) -> str:
    disk = "not needed: nothing was paged"
    if result.disk is not None:
        way = "direct" if result.disk.direct else "through the page cache, which flatters"
        block = format_bytes(result.disk.block_bytes)
        disk = f"{format_rate(result.disk.bytes_per_s)} (blocks of {block}, {way})"
    return f"measured here: memory {format_rate(result.memory.bytes_per_s)}, disk {disk}"


def _table(result: BenchResult) -> Table:
    stats = result.stats
    table = Table(title=f"{stats.model.name}, {stats.plan.mode}", title_justify="left")
    table.add_column("")
    for name, phase in (("prompt", result.prefill), ("decode", result.decode)):
        table.add_column(f"{name}, {phase.n_tokens} tokens", justify="right")
    prompt = _rows(result.prefill, result.prefill_limit)
    for (label, left), (_, right) in zip(prompt, _rows(result.decode, result.decode_limit), strict=True):
        table.add_row(label, left, right)
    return table


def _rows(phase: Phase, limit: PhaseLimit) -> list[tuple[str, str]]:
    rows = [
        ("speed", f"{phase.tokens_per_s:.2f} tokens/s"),
        ("limit by bytes moved", f"{limit.tokens_per_s:.2f} tokens/s"),
        ("speed / limit", f"{100 * limit.ratio:.1f}%"),
        ("time per token", format_seconds(phase.seconds / phase.n_tokens)),
        ("  of nine in ten", _spread(phase)),
        ("from memory per token", format_bytes(limit.memory_bytes / phase.n_tokens)),
    ]
    if (joules := phase.joules_per_token) is not None:
        rows.append(("processor energy per token", f"{joules:.2f} J, idle included"))
    return rows + (_paging_rows(phase, phase.counters, limit.read_ratio) if phase.counters else [])


def _paging_rows(phase: Phase, counters: Counters, read_ratio: float | None) -> list[tuple[str, str]]:
    return [
        ("from disk per token", format_bytes(counters.bytes_read / phase.n_tokens)),
        ("hits", f"{100 * counters.hit_rate:.1f}%"),
        ("waiting for experts", f"{100 * counters.stall_s / phase.seconds:.0f}% of the time"),
        ("read ahead: useful, wasted", f"{counters.predicted_useful}, {counters.predicted_wasted}"),
        ("disk while reading / plain", "-" if read_ratio is None else f"{100 * read_ratio:.0f}%"),
    ]


def _spread(phase: Phase) -> str:
    """The times of all but the fastest and the slowest twentieth."""
    return "-" if phase.middle_s is None else " to ".join(map(format_seconds, phase.middle_s))


def _phase_document(phase: Phase) -> dict[str, Any]:
    return {
        **{
            name: value
            for name, value in asdict(phase).items()
            if name not in ("counters", "joules", "token_s")
        },
        "token_s_5_to_95_percent": phase.middle_s,
        "joules_per_token": phase.joules_per_token,
        "tokens_per_s": phase.tokens_per_s,
        "seconds_per_token": phase.seconds / phase.n_tokens,
        "stall_s": phase.counters.stall_s if phase.counters else 0.0,
        "counters": phase.counters.to_json() if phase.counters else None,
    }
