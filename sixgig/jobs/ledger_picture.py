"""Draws a ledger: tokens, and below them what they cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sixgig.jobs.pictures import require_drawable, save_figure
from sixgig.ledger import Report, Sum

MICROS = 1_000_000
MOST_LABELS = 16


def draw_ledger(path: Path, report: Report) -> bool:
    """A file, .png or .svg by its name; False, and no file, where nothing was served.

    Raises UsageError as require_drawable() and save_figure().
    """
    require_drawable(path)
    if not report.empty:
        save_figure(_figure(report), path)
    return not report.empty


def _figure(report: Report) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 7), layout="constrained")
    tokens, costs = figure.subplots(2, sharex=True)
    served = [row.served for row in report.rows]
    _stack(tokens, {
        "in": [of.prompt_tokens for of in served],
        "out": [of.completion_tokens for of in served],
    })  # fmt: skip
    _stack(costs, {
        "energy above idle": [of.energy_micros for of in served],
        "staying loaded": [row.loaded.energy_micros for row in report.rows],
        "upstream": [of.upstream_micros for of in served],
    }, 1 / MICROS)  # fmt: skip
    tokens.set(ylabel="tokens", title=f"served, by {report.by}")
    costs.set(ylabel="cost")
    _name_rows(costs, [_printable(row.name) or "-" for row in report.rows])
    return figure


def _stack(axes: Any, series: dict[str, list[Sum[int]]], scale: float = 1.0) -> None:
    """Bars upon one another; a label says how much of its figures is known."""
    floor = [0.0] * len(next(iter(series.values())))
    for label, figures in series.items():
        heights = [scale * (figure.total or 0) for figure in figures]
        axes.bar(range(len(heights)), heights, bottom=floor, label=label + _coverage(figures))
        floor = [low + height for low, height in zip(floor, heights, strict=True)]
    axes.grid(visible=True, axis="y", alpha=0.3)
    axes.margins(y=0.2)
    axes.legend(loc="upper center", ncols=len(series), fontsize=8)


def _coverage(figures: list[Sum[int]]) -> str:
    measured, of = (sum(getattr(figure, name) for figure in figures) for name in ("measured", "of"))
    known = "" if measured == of else f" (known for {measured} of {of})"
    return known + (", in part estimated" if any(figure.estimated for figure in figures) else "")


def _printable(name: str) -> str:
    """Whoever asked chose it."""
    return name if name.isprintable() else ascii(name)[1:-1]


def _name_rows(axes: Any, names: list[str]) -> None:
    """Every so many of them, as many as there is room for; none is read as a formula."""
    step = -(-len(names) // MOST_LABELS)
    axes.set_xticks(range(0, len(names), step), names[::step], rotation=45, ha="right", parse_math=False)
