"""The demo's two runs side by side."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from sixgig.cli.report import GB, facts
from sixgig.cli.tables import show_table
from sixgig.cli.terminal import harmless, say
from sixgig.inference import Generation, Sampler, SamplingOptions, abort_on_interrupt, generate
from sixgig.inference.request import PagingOptions
from sixgig.jobs.opening import Opened, Opening, find_model
from sixgig.modelfile import ModelFile
from sixgig.pager.pager import Counters
from sixgig.plan import Use, footprint
from sixgig.units import format_bytes

PROMPT = "PEP: 9999\nTitle: "
N_TOKENS, CONTEXT = 96, 512
BAR_WIDTH = 12
USES = {
    "context and buffers": (Use.KV_CACHE, Use.COMPUTE_BUFFERS, Use.KERNEL_SCRATCH, Use.READ_AHEAD),
    "scratch for paging, at most": (Use.EXPERT_GROUPS,),
}
HONESTY = (
    "The model is tiny (15 MB), its experts far below the size that disks read well, and all of it fits in\n"
    "caches. So these speeds say nothing about real models; sixgig bench MODEL measures those."
)


@dataclass(frozen=True)
class Run:
    """One of the two runs, over."""

    opened: Opened
    answer: Generation
    counters: Counters | None

    def tiers(self, model: ModelFile) -> dict[str, int]:
        """Bytes by use, which add up to the measured peak; the last lie on disk only.

        As planned; of the experts as it came. The program is what the peak holds besides.
        """
        total = model.routed_bytes
        resident = min(self.counters.peak_resident_bytes, total) if self.counters else total
        planned = {name: self.opened.plan.held_bytes(*uses) for name, uses in USES.items()}
        held = {"experts in memory": resident, "other weights": model.dense_bytes, **planned}
        program = max(0, self.opened.peak.total_bytes - sum(held.values()))
        return {**held, "program": program, "experts on disk only": total - resident}


class Comparison:
    """Both runs with run(); then show() or document(). `same`: they wrote the same tokens."""

    paged: Run
    whole: Run

    def __init__(self) -> None:
        self.model = find_model(None)

    def run(self) -> None:
        """Paged first, so that its memory owes nothing to the other."""
        quarter = footprint.resident_bytes(self.model) // 4
        paging = PagingOptions(always=True, cache_bytes=quarter)
        self.paged = self._once("with a quarter of its experts in memory", paging)
        self.whole = self._once("with all of them", PagingOptions())

    def _once(self, words: str, paging: PagingOptions) -> Run:
        say(f"running the demo model {words} ...")
        opening = Opening(self.model, context=CONTEXT, paging=paging, extra_buffers=False)
        with opening.open() as opened:
            engine = opened.engine
            prompt = engine.vocabulary.prompt(PROMPT)
            sampler = Sampler(engine, SamplingOptions(temperature=0))
            with abort_on_interrupt(engine):
                pieces = generate(engine, prompt, N_TOKENS, sampler, ignore_end=True)
                for _ in pieces:
                    pass
            return Run(opened, pieces.result, engine.counters())

    @property
    def n_equal(self) -> int:
        """Tokens that agree, from the first on."""
        pairs = zip(self.paged.answer.token_ids, self.whole.answer.token_ids, strict=False)
        return next((i for i, (left, right) in enumerate(pairs) if left != right), N_TOKENS)

    @property
    def same(self) -> bool:
        """Whether every token agrees."""
        return self.paged.answer.token_ids == self.whole.answer.token_ids

    def document(self) -> dict[str, Any]:
        """`sixgig demo --json`."""
        return {
            "same_tokens": self.same,
            "text": self.whole.answer.text,
            "paged": self._run_document(self.paged),
            "unpaged": self._run_document(self.whole),
        }

    def _run_document(self, run: Run) -> dict[str, Any]:
        return {
            "token_ids": run.answer.token_ids,
            "prefill_tokens_per_s": run.answer.prefill_tokens_per_s,
            "decode_tokens_per_s": run.answer.decode_tokens_per_s,
            "hit_rate": run.counters.hit_rate if run.counters else None,
            "bytes_read": run.counters.bytes_read if run.counters else 0,
            "counters": run.counters.to_json() if run.counters else None,
            "memory_by_tier": run.tiers(self.model),
            **facts(run.opened.stats),
        }

    def show(self) -> None:
        """Text, table and what to make of them, on stdout."""
        console = Console(file=sys.stdout, highlight=False)
        written = Text.assemble((PROMPT, "dim"), harmless(self.whole.answer.text))
        console.print(Panel(written, title="what the model wrote", title_align="left"))
        show_table(console, self._table())
        console.print(f"\n{self._verdict()}")
        console.print(HONESTY, soft_wrap=True)

    def _verdict(self) -> str:
        if self.same:
            return f"Same tokens: all {N_TOKENS} are equal. Paging changes memory and time, not the text."
        return f"DIFFERENT tokens: only the first {self.n_equal} of {N_TOKENS} are equal."

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False)
        for heading in ("memory", "a quarter of the experts", "all experts"):
            table.add_column(heading, no_wrap=True)
        *memory, on_disk = self._memory_rows()
        for row in [*memory, *self._peak_rows(), on_disk, ("", "", ""), *self._speed_rows()]:
            table.add_row(*row)
        return table

    def _memory_rows(self) -> list[tuple[str, str, str]]:
        """All but the program, which would dwarf the rest; the last is not in memory."""
        left, right = self.paged.tiers(self.model), self.whole.tiers(self.model)
        names = [name for name in left if name != "program"]
        largest = max(tiers[name] for tiers in (left, right) for name in names)
        return [(name, bar(left[name], largest), bar(right[name], largest)) for name in names]

    def _peak_rows(self) -> list[tuple[str, str, str]]:
        """What makes the rows above the peak, and the peak."""
        left, right = self.paged, self.whole
        program = [run.tiers(self.model)["program"] for run in (left, right)]
        peak = [run.opened.peak.total_bytes for run in (left, right)]
        rows = {"Python and llama.cpp": program, "peak memory": peak}
        width = BAR_WIDTH + 11
        shown = {name: [f"{format_bytes(size):>{width}}" for size in sizes] for name, sizes in rows.items()}
        return [(name, left_shown, right_shown) for name, (left_shown, right_shown) in shown.items()]

    def _speed_rows(self) -> list[tuple[str, str, str]]:
        paged, whole = self.paged, self.whole
        counters = paged.counters
        assert counters is not None, "the first run pages"
        return [
            ("speed", _speed(paged), _speed(whole)),
            ("experts found in memory", f"{counters.hits} ({100 * counters.hit_rate:.1f}%)", "all"),
            ("experts read from disk", f"{counters.misses}", "none after loading"),
            ("read from disk", f"{counters.bytes_read / GB:.2f} GB", "0.00 GB"),
        ]


def _speed(run: Run) -> str:
    return f"{run.answer.decode_tokens_per_s:.1f} tokens/s"


def bar(size_bytes: int, largest_bytes: int) -> str:
    """A bar and the number; whatever is there shows at least a sliver."""
    eighths = round(size_bytes / largest_bytes * BAR_WIDTH * 8)
    if size_bytes and not eighths:
        eighths = 1
    drawn = "█" * (eighths // 8) + (chr(0x2590 - eighths % 8) if eighths % 8 else "")
    return f"{drawn:<{BAR_WIDTH}} {format_bytes(size_bytes):>10}"
