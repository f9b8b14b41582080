"""What `sixgig score` says: a table for people, a document for programs."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console
from rich.table import Table

from sixgig.cli.report import facts, memory_words, paging_facts
from sixgig.cli.tables import show_table
from sixgig.cli.terminal import harmless
from sixgig.evaluate import Divergence, Score
from sixgig.jobs.score import ScoreResult
from sixgig.units import counted


def score_document(result: ScoreResult) -> dict[str, Any]:
    """`sixgig score --json`. reference is null without one; opened is null where its file was used."""
    stats = result.stats
    return {
        **result.to_json(),
        "notices": result.notices,
        "window_tokens": result.window_tokens,
        "reference": _reference_document(result),
        "load_s": stats.load_s,
        **paging_facts(stats),
        **facts(stats),
    }


def _reference_document(result: ScoreResult) -> dict[str, Any] | None:
    if result.base_path is None:
        return None
    stats = result.reference_stats
    return {
        "log_probabilities": str(result.base_path),
        "log_probabilities_bytes": result.base_path.stat().st_size,
        "opened": None if stats is None else facts(stats),
    }


def show_score(result: ScoreResult) -> None:
    """The table on stdout, memory below it."""
    console = Console(file=sys.stdout, highlight=False)
    stats, reference = result.stats, result.reference_stats
    counts = f"{result.n_tokens} tokens in {counted(result.n_windows, 'window')} of {result.window_tokens}"
    console.print(f"{harmless(stats.model.name)}: {counts}", markup=False, soft_wrap=True)
    show_table(console, _table(result))
    if reference is not None:
        console.print("reference: " + memory_words(reference.plan, reference.peak), soft_wrap=True)
    console.print(memory_words(stats.plan, stats.peak), soft_wrap=True)


def _table(score: Score) -> Table:
    table = Table(show_header=False, caption="95% intervals; ≥: too few tokens to bound it from above")
    table.add_column()
    table.add_column(justify="right")
    table.add_column(justify="left")
    for row in _rows(score):
        table.add_row(*row)
    return table


def _rows(score: Score) -> list[tuple[str, str, str]]:
    rows = [_row(score, "perplexity", "perplexity", ".4f")]
    return rows + (_compared_rows(score, score.divergence) if score.divergence else [])


def _compared_rows(score: Score, divergence: Divergence) -> list[tuple[str, str, str]]:
    ranks = {
        "median": "kld_median",
        "90%": "kld_p90",
        "95%": "kld_p95",
        "99%": "kld_p99",
        "99.9%": "kld_p999",
    }
    return [
        _row(score, "  the reference's", "base_perplexity", ".4f"),
        _row(score, "  ln of their ratio", "log_ratio", "+.5f"),
        _row(score, "divergence from it (KL, nats), mean", "kld_mean", ".6f"),
        *(_row(score, f"  {title}", name, ".6f") for title, name in ranks.items()),
        ("  largest", f"{divergence.kld_max:.6f}", "of these tokens"),
        _row(score, "same likeliest token", "same_top1", ".3%"),
        _row(score, "right token's probability, RMS change", "rms_p_change", ".3%"),
    ]


def _row(score: Score, title: str, name: str, form: str) -> tuple[str, str, str]:
    """A figure with what it is known to."""
    found, form = score.intervals[name], form.replace(".", "z.")  # z: no "-0.00000"
    upper = "" if found.upper is None else f"{found.lower:{form}} to {found.upper:{form}}"
    return title, f"{found.value:{form}}", upper or f"≥ {found.lower:{form}}"
