"""What `sixgig shrink` says: a table for people, a document for programs."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console
from rich.table import Table

from sixgig import __version__
from sixgig.cli.shrinking import Shrinking
from sixgig.cli.tables import show_table
from sixgig.cli.terminal import harmless
from sixgig.compress.outcome import Outcome, Row
from sixgig.units import format_bytes


def shrink_document(shrinking: Shrinking) -> dict[str, Any]:
    """`sixgig shrink --json`. baselines: other files on the same text; equal_bytes: pruned or not."""
    outcome = shrinking.outcome
    return {
        "version": __version__,
        "output": str(shrinking.request.output),
        "size_bytes": outcome.output.size_bytes,
        "bits_per_weight": outcome.output.bits_per_weight,
        "kld_mean": outcome.output.figures.kld_mean,
        "budget_bytes": shrinking.budget_bytes,
        "source_bytes": shrinking.source.size_bytes,
        "measured": outcome.output.to_json(),
        "types": dict(outcome.types),
        "baselines": [row.to_json() for row in (outcome.plain,) if row is not None],
        "equal_bytes": {
            "unpruned": outcome.unpruned.to_json(),
            "pruned": None if outcome.pruned is None else outcome.pruned.to_json(),
        },
    }


def show_shrink(shrinking: Shrinking) -> None:
    """The table on stdout."""
    console = Console(file=sys.stdout, highlight=False)
    outcome = shrinking.outcome
    console.print(_heading(shrinking), markup=False, soft_wrap=True)
    show_table(console, _table(shrinking, outcome))
    console.print(_verdict(outcome), markup=False, soft_wrap=True)


def _heading(shrinking: Shrinking) -> str:
    row, source = shrinking.outcome.output, shrinking.source
    return (
        f"{harmless(str(shrinking.request.output))}: {format_bytes(row.size_bytes)} of "
        f"{format_bytes(source.size_bytes)}, {row.bits_per_weight:.2f} bits a weight"
    )


def _table(shrinking: Shrinking, outcome: Outcome) -> Table:
    n_tokens = outcome.output.figures.n_tokens
    table = Table(caption=f"KL divergence in nats, on {n_tokens} tokens that nothing was chosen by")
    table.add_column("file")
    for name in ("size", "bits", "KLD", "99%", "99.9%", "top 1", "perplexity"):
        table.add_column(name, justify="right")
    for title, row in _rows(outcome):
        table.add_row(title, *_cells(row))
    return table


def _rows(outcome: Outcome) -> list[tuple[str, Row]]:
    rows = [("this file", outcome.output)]
    if outcome.plain is not None:
        rows.append((outcome.plain.label, outcome.plain))
    if outcome.pruned is not None:
        pruned = outcome.output is outcome.pruned
        other = outcome.unpruned if pruned else outcome.pruned
        rows.append(("every weight kept" if pruned else f"pruned: {other.label}", other))
    return rows


def _cells(row: Row) -> tuple[str, ...]:
    figures = row.figures
    return (
        format_bytes(row.size_bytes),
        f"{row.bits_per_weight:.2f}",
        f"{figures.kld_mean:.4f}",
        f"{figures.kld_p99:.3f}",
        f"{figures.kld_p999:.3f}",
        f"{figures.same_top1:.1%}",
        f"{figures.perplexity:.3f}",
    )


def _verdict(outcome: Outcome) -> str:
    if outcome.pruned is None:
        return "Nothing was pruned."
    if outcome.output is outcome.pruned:
        return f"Pruned ({outcome.pruned.label}): measured better than every weight kept in the same bytes."
    return "Every weight was kept: pruning measured worse in the same bytes."
