"""One `sixgig bench`: what was measured, as a table and as a document."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from sixgig.cli.console import PromptBar
from sixgig.cli.report import facts, memory_words
from sixgig.cli.reporter import TerminalReporter
from sixgig.cli.tables import show_table
from sixgig.hardware import Absent, Bandwidth, usable_cores
from sixgig.jobs.lessons import Pace, learn
from sixgig.jobs.measuring import (
    Phase,
    limit_of,
    measure_disk,
    measure_memory,
    measure_phases,
    traffic,
)
from sixgig.jobs.opening import Opened, Opening
from sixgig.jobs.texts import drawn_tokens, read_text, text_tokens
from sixgig.pager.pager import Counters
from sixgig.plan import MemoryPlan
from sixgig.units import format_bytes, format_rate, format_seconds

TOKENS_WANTED = 32


class Benchmark:
    """Measures once with run(); then show() or document()."""

    opened: Opened
    prefill: Phase
    decode: Phase

    def __init__(self, opening: Opening, n_prompt: int, count: int, text: Path | None, seed: int) -> None:
        self._opening, self._n_prompt, self._count = opening, n_prompt, count
        self._seed, self._text = seed, read_text(text, TerminalReporter()) if text else None
        self._source = str(text) if text else f"seed {seed}"
        self.disk: Bandwidth | None = None

    def run(self) -> None:
        """Bandwidths are measured before and after, and the faster ones count: others share the machine.

        Memory's while no model is loaded, so that its arrays are never held together with it.
        """
        self.memory = self._measured_memory()
        with self._opening.open(TerminalReporter(), self._on_plan) as self.opened:
            engine = self.opened.engine
            with PromptBar("measuring", begins=True) as bar:
                self.prefill, self.decode = measure_phases(engine, self._tokens(), self._n_prompt, bar)
            if self.disk is not None:
                self.disk = _faster(self.disk, measure_disk(self.opened.model))
        self.memory = _faster(self.memory, self._measured_memory())
        prompt, decode = self.prefill, self.decode
        pace = Pace(prompt.n_tokens, prompt.seconds, decode.n_tokens, decode.seconds, _joules_each(decode))
        learn(self.opened, pace)

    def _measured_memory(self) -> Bandwidth:
        return measure_memory(
            self._opening.thread_count or usable_cores().performance, self._opening.budget_bytes
        )

    def _on_plan(self, plan: MemoryPlan) -> None:
        if plan.mode == "paged":
            self.disk = measure_disk(self._opening.model)

    def _tokens(self) -> list[int]:
        engine = self.opened.engine
        if self._text is None:
            begin, _ = engine.vocabulary.frame  # llama-bench too begins with BOS where the model wants one
            return [*begin, *drawn_tokens(engine.vocabulary.size, self._count, self._seed)][: self._count]
        return text_tokens(engine, self._text, self._count)

    def document(self) -> dict[str, Any]:
        """`sixgig bench --json`: decode, prefill, limit, and what all documents share."""
        return {
            "prefill": _phase_document(self.prefill),
            "decode": _phase_document(self.decode),
            "limit": {
                "memory_bandwidth_bytes_per_s": self.memory.bytes_per_s,
                "disk_bandwidth_bytes_per_s": self.disk.bytes_per_s if self.disk else None,
                "disk_block_bytes": self.disk.block_bytes if self.disk else None,
                "disk_direct": self.disk.direct if self.disk else None,
                "prefill": self._limit_document(self.prefill),
                "decode": self._limit_document(self.decode),
            },
            "load_s": self.opened.load_s,
            "tokens_from": self._source,
            "notices": self._remarks(),
            **facts(self.opened),
        }

    def _limit_document(self, phase: Phase) -> dict[str, Any]:
        """ratio: measured speed over the limit's. read_ratio: the disk's while reading over the plain."""
        needed = traffic(self.opened.model, phase)
        seconds = limit_of(self.memory, self.disk).seconds(needed)
        return {
            "seconds": seconds,
            "tokens_per_s": phase.n_tokens / seconds,
            "ratio": seconds / phase.seconds,
            "memory_bytes": needed.memory_bytes,
            "disk_bytes": needed.disk_bytes,
            "read_ratio": self._read_ratio(phase.counters),
        }

    def _read_ratio(self, counters: Counters | None) -> float | None:
        if counters is None or self.disk is None or not counters.read_s:
            return None
        return counters.bytes_read / counters.read_s / self.disk.bytes_per_s

    def show(self) -> None:
        """The table on stdout, memory below it."""
        console = Console(file=sys.stdout, highlight=False)
        show_table(console, self._table())
        console.print(self._bandwidths(), soft_wrap=True)
        for line in self._remarks():
            console.print(line, soft_wrap=True)
        console.print(memory_words(self.opened.plan, self.opened.peak), soft_wrap=True)

    def _bandwidths(self) -> str:
        disk = "not needed: nothing was paged"
        if self.disk is not None:
            way = "direct" if self.disk.direct else "through the page cache, which flatters"
            block = format_bytes(self.disk.block_bytes)
            disk = f"{format_rate(self.disk.bytes_per_s)} (blocks of {block}, {way})"
        return f"measured here: memory {format_rate(self.memory.bytes_per_s)}, disk {disk}"

    def _remarks(self) -> list[str]:
        """Where the figures are less than they seem."""
        found = []
        if self._text is None and self.decode.counters is not None:
            found.append(
                "hits are of random tokens, half of them repeated: measure those of text with --text"
            )
        if self.decode.n_tokens < TOKENS_WANTED:
            wanted = f"{TOKENS_WANTED} are wanted for a speed to trust: --tokens"
            found.append(f"warning: decoding was timed on {self.decode.n_tokens} tokens, {wanted}")
        return found

    def _table(self) -> Table:
        table = Table(title=f"{self.opened.model.name}, {self.opened.plan.mode}", title_justify="left")
        table.add_column("")
        for name, phase in (("prompt", self.prefill), ("decode", self.decode)):
            table.add_column(f"{name}, {phase.n_tokens} tokens", justify="right")
        columns = zip(self._rows(self.prefill), self._rows(self.decode), strict=True)
        for (label, left), (_, right) in columns:
            table.add_row(label, left, right)
        return table

    def _rows(self, phase: Phase) -> list[tuple[str, str]]:
        limit = self._limit_document(phase)
        rows = [
            ("speed", f"{phase.tokens_per_s:.2f} tokens/s"),
            ("limit by bytes moved", f"{limit['tokens_per_s']:.2f} tokens/s"),
            ("speed / limit", f"{100 * limit['ratio']:.1f}%"),
            ("time per token", format_seconds(phase.seconds / phase.n_tokens)),
            ("  of nine in ten", _spread(phase)),
            ("from memory per token", format_bytes(limit["memory_bytes"] / phase.n_tokens)),
        ]
        if (joules := _joules_each(phase)) is not None:
            rows.append(("processor energy per token", f"{joules:.2f} J, idle included"))
        return rows + (self._paging_rows(phase, phase.counters) if phase.counters else [])

    def _paging_rows(self, phase: Phase, counters: Counters) -> list[tuple[str, str]]:
        ratio = self._read_ratio(counters)
        return [
            ("from disk per token", format_bytes(counters.bytes_read / phase.n_tokens)),
            ("hits", f"{100 * counters.hit_rate:.1f}%"),
            ("waiting for experts", f"{100 * counters.stall_s / phase.seconds:.0f}% of the time"),
            ("read ahead: useful, wasted", f"{counters.predicted_useful}, {counters.predicted_wasted}"),
            ("disk while reading / plain", "-" if ratio is None else f"{100 * ratio:.0f}%"),
        ]


def _spread(phase: Phase) -> str:
    """The times of all but the fastest and the slowest twentieth."""
    return "-" if phase.middle_s is None else " to ".join(map(format_seconds, phase.middle_s))


def _faster(one: Bandwidth, other: Bandwidth) -> Bandwidth:
    return max(one, other, key=lambda bandwidth: bandwidth.bytes_per_s)


def _joules_each(phase: Phase) -> float | None:
    return None if isinstance(phase.joules, Absent) else phase.joules / phase.n_tokens


def _phase_document(phase: Phase) -> dict[str, Any]:
    return {
        **{
            name: value
            for name, value in asdict(phase).items()
            if name not in ("counters", "joules", "token_s")
        },
        "token_s_5_to_95_percent": phase.middle_s,
        "joules_per_token": _joules_each(phase),
        "tokens_per_s": phase.tokens_per_s,
        "seconds_per_token": phase.seconds / phase.n_tokens,
        "stall_s": phase.counters.stall_s if phase.counters else 0.0,
        "counters": phase.counters.to_json() if phase.counters else None,
    }
