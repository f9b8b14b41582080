"""What `sixgig shrink` says: a table for people, a document for programs."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console
from rich.table import Table

from sixgig import __version__
from sixgig.cli.tables import show_table
from sixgig.cli.terminal import harmless
from sixgig.compress.curve import Kind
from sixgig.compress.measuring import Figures
from sixgig.compress.outcome import MeasuredFile, Outcome
from sixgig.evaluate.intervals import TOKENS_WANTED
from sixgig.jobs.shrink import ShrinkResult
from sixgig.units import counted, format_bytes

_WIDE = 80  # columns


def shrink_document(shrunk: ShrinkResult) -> dict[str, Any]:
    """`sixgig shrink --json`. baselines: other files on the same text; equal_bytes: pruned or not, within the
    same size; intervals: 95%, [lower, upper], by the figure's name."""
    made, plain, pruned = shrunk.output, shrunk.plain, shrunk.pruned
    return {
        "version": __version__,
        "output": str(shrunk.path),
        "size_bytes": made.size_bytes,
        "bits_per_weight": made.bits_per_weight,
        "kld_mean": made.figures.kld_mean,
        "budget_bytes": shrunk.budget_bytes,
        "source_bytes": shrunk.source_bytes,
        "source_quantised": list(shrunk.source_quantised),
        "measured": made.to_json(),
        "types": dict(shrunk.types),
        "baselines": [] if plain is None else [_beside(made, plain)],
        "equal_bytes": {
            "unpruned": shrunk.unpruned.to_json(),
            "pruned": None if pruned is None else pruned.to_json(),
        },
        "n_tokens_wanted": TOKENS_WANTED,
        "notices": list(shrunk.notices),
    }


def _beside(made: MeasuredFile, other: MeasuredFile) -> dict[str, Any]:
    """Another file's row. size_ratio: its size over ours; kld_ratio: our divergence over its."""
    ratio = made.kld_ratio(other)
    return {
        **other.to_json(),
        "size_ratio": other.size_bytes / made.size_bytes,
        "kld_ratio": None if ratio is None else vars(ratio),
    }


def show_shrink(shrunk: ShrinkResult) -> None:
    """The table on stdout."""
    console = Console(file=sys.stdout, highlight=False)
    console.print(_heading(shrunk), markup=False, soft_wrap=True)
    show_table(console, _table(shrunk, console.width >= _WIDE))
    remarks = [harmless(notice) for notice in shrunk.notices if notice.startswith("warning: ")]
    for line in (_plain_words(shrunk), _verdict(shrunk), *remarks):
        console.print(line, markup=False, soft_wrap=True)


def _heading(shrunk: ShrinkResult) -> str:
    made = shrunk.output
    return (
        f"{harmless(str(shrunk.path))}: {format_bytes(made.size_bytes)} of "
        f"{format_bytes(shrunk.source_bytes)}, {made.bits_per_weight:.2f} bits a weight"
    )


def _table(outcome: Outcome, wide: bool) -> Table:
    """wide: there is room for figures in one line."""
    figures = outcome.output.figures
    scored = f"{figures.n_tokens} tokens in {counted(len(figures.windows), 'window')}"
    table = Table(
        caption=f"KL divergence from the source in nats, on {scored} that nothing was chosen by. "
        "Bits: of a weight. ±: half a 95% interval; ≥: too few tokens to say more"
    )
    table.add_column("file")
    for name in ("size", "KLD", "99%", "99.9%", "top 1", "perplexity"):
        table.add_column(name, justify="right", no_wrap=wide)
    for title, row in _rows(outcome):
        table.add_row(title, *_cells(row))
    return table


def _rows(outcome: Outcome) -> list[tuple[str, MeasuredFile]]:
    rows = [("this file", outcome.output)]
    if outcome.plain is not None:
        rows.append((outcome.plain.label, outcome.plain))
    if outcome.pruned is not None:
        pruned = outcome.output.kind is Kind.PRUNED
        other = outcome.unpruned if pruned else outcome.pruned
        rows.append(("every weight kept" if pruned else f"pruned: {other.label}", other))
    return rows


def _cells(row: MeasuredFile) -> tuple[str, ...]:
    """Each figure above what it is known to."""
    figures = row.figures
    return (
        f"{format_bytes(row.size_bytes)}\n{row.bits_per_weight:.2f} bits",
        _cell(figures, "kld_mean", ".4f"),
        _cell(figures, "kld_p99", ".3f"),
        _cell(figures, "kld_p999", ".3f"),
        _cell(figures, "same_top1", ".1%"),
        _cell(figures, "perplexity", "#.4g"),
    )


def _cell(figures: Figures, name: str, form: str) -> str:
    interval = figures.intervals[name]
    known = f"≥ {interval.lower:{form}}" if interval.half is None else f"± {interval.half:{form}}"
    return f"{getattr(figures, name):{form}}\n{known}"


def _plain_words(outcome: Outcome) -> str:
    """What plain quantisation gives in the nearest size, and how much nearer the source this file is."""
    made, plain = outcome.output, outcome.plain
    if plain is None:
        return "No plain file is as small as this one: none to compare with."
    size = f"{1 - plain.size_bytes / made.size_bytes:.2%} smaller than this file"
    return (
        f"Plain quantisation ({plain.label}): {format_bytes(plain.size_bytes)}, {size}{_ratio(made, plain)}."
    )


def _ratio(made: MeasuredFile, other: MeasuredFile) -> str:
    """How this file's divergence stands to another's, in words; "" where there is no ratio to tell."""
    found = made.kld_ratio(other)
    if found is None:
        return "; too few windows to compare both in pairs"
    bounds = f"{found.lower:.2f} to {found.upper:.2f}"
    open_ = "; that they differ is not certain" if found.lower <= 1 <= found.upper else ""
    return f"; this file diverges {found.mean:.2f} times as much (95%: {bounds}{open_})"


def _verdict(outcome: Outcome) -> str:
    """Pruned or not, which the text searched on decided; and what the text judged on says to that."""
    pruned, kept = outcome.pruned, outcome.unpruned
    if pruned is None:
        return "Nothing was pruned."
    if outcome.output.kind is Kind.PRUNED:
        chosen = f"Pruned ({pruned.label}): better on the text searched on than every weight kept"
        return f"{chosen}, {format_bytes(kept.size_bytes)}{_ratio(pruned, kept)}."
    chosen = f"Every weight was kept: better on the text searched on than pruned ({pruned.label})"
    return f"{chosen}, {format_bytes(pruned.size_bytes)}{_ratio(kept, pruned)}."
