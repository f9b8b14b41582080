"""The demo's two runs side by side: for people, and as a document."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from sixgig.cli.report import GB, facts, paging_facts
from sixgig.cli.tables import show_table
from sixgig.cli.terminal import harmless
from sixgig.jobs.demo import N_TOKENS, PROMPT, DemoResult, DemoRun
from sixgig.units import format_bytes

BAR_WIDTH = 12
HONESTY = (
    "The model is tiny (15 MB), its experts far below the size that disks read well, and all of it fits in\n"
    "caches. So these speeds say nothing about real models; sixgig bench MODEL measures those."
)


def document(result: DemoResult) -> dict[str, Any]:
    """`sixgig demo --json`."""
    return {
        "same_tokens": result.same,
        "text": result.whole.answer.text,
        "paged": _run_document(result.paged),
        "unpaged": _run_document(result.whole),
    }


def _run_document(run: DemoRun) -> dict[str, Any]:
    return {
        "token_ids": run.answer.token_ids,
        "prefill_tokens_per_s": run.answer.prefill_tokens_per_s,
        "decode_tokens_per_s": run.answer.decode_tokens_per_s,
        **paging_facts(run.stats),
        "memory_by_tier": _memory(run),
        **facts(run.stats),
    }


def _memory(run: DemoRun) -> dict[str, int]:
    memory = run.memory
    return {
        "experts in memory": memory.experts_bytes,
        "other weights": memory.other_weights_bytes,
        "context and buffers": memory.context_bytes,
        "scratch for paging, at most": memory.paging_bytes,
        "program": memory.program_bytes,
        "experts on disk only": memory.on_disk_bytes,
    }


def show(result: DemoResult) -> None:
    """Text, table and what to make of them, on stdout."""
    console = Console(file=sys.stdout, highlight=False)
    written = Text.assemble((PROMPT, "dim"), harmless(result.whole.answer.text))
    console.print(Panel(written, title="what the model wrote", title_align="left"))
    show_table(console, _table(result.paged, result.whole))
    console.print(f"\n{_verdict(result)}")
    console.print(HONESTY, soft_wrap=True)


def _verdict(result: DemoResult) -> str:
    if result.same:
        return f"Same tokens: all {N_TOKENS} are equal. Paging changes memory and time, not the text."
    return f"DIFFERENT tokens: only the first {result.n_equal} of {N_TOKENS} are equal."


def _table(paged: DemoRun, whole: DemoRun) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("memory", "a quarter of the experts", "all experts"):
        table.add_column(heading, no_wrap=True)
    *memory, on_disk = _memory_rows(paged, whole)
    rows = [*memory, *_peak_rows(paged, whole), on_disk, ("", "", ""), *_speed_rows(paged, whole)]
    for row in rows:
        table.add_row(*row)
    return table


def _memory_rows(paged: DemoRun, whole: DemoRun) -> list[tuple[str, str, str]]:
    """All but the program, which would dwarf the rest; the last is not in memory."""
    left, right = _memory(paged), _memory(whole)
    names = [name for name in left if name != "program"]
    largest = max(tiers[name] for tiers in (left, right) for name in names)
    return [(name, bar(left[name], largest), bar(right[name], largest)) for name in names]


def _peak_rows(*runs: DemoRun) -> list[tuple[str, str, str]]:
    """What makes the rows above the peak, and the peak."""
    program = [run.memory.program_bytes for run in runs]
    peak = [run.stats.peak_memory_bytes for run in runs]
    rows = {"Python and llama.cpp": program, "peak memory": peak}
    width = BAR_WIDTH + 11
    shown = {name: [f"{format_bytes(size):>{width}}" for size in sizes] for name, sizes in rows.items()}
    return [(name, left_shown, right_shown) for name, (left_shown, right_shown) in shown.items()]


def _speed_rows(paged: DemoRun, whole: DemoRun) -> list[tuple[str, str, str]]:
    counters = paged.stats.counters
    assert counters is not None, "the first run pages"
    return [
        ("speed", _speed(paged), _speed(whole)),
        ("experts found in memory", f"{counters.hits} ({100 * counters.hit_rate:.1f}%)", "all"),
        ("experts read from disk", f"{counters.misses}", "none after loading"),
        ("read from disk", f"{counters.bytes_read / GB:.2f} GB", "0.00 GB"),
    ]


def _speed(run: DemoRun) -> str:
    return f"{run.answer.decode_tokens_per_s:.1f} tokens/s"


def bar(size_bytes: int, largest_bytes: int) -> str:
    """A bar and the number; whatever is there shows at least a sliver."""
    eighths = round(size_bytes / largest_bytes * BAR_WIDTH * 8)
    if size_bytes and not eighths:
        eighths = 1
    drawn = "█" * (eighths // 8) + (chr(0x2590 - eighths % 8) if eighths % 8 else "")
    return f"{drawn:<{BAR_WIDTH}} {format_bytes(size_bytes):>10}"
