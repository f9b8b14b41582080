"""Draws loss against size, from what `score` and `shrink` measured."""

from __future__ import annotations

from pathlib import Path

from sixgig.compress.outcome import Outcome, Row
from sixgig.errors import UsageError
from sixgig.modelfile import ModelFile

GIB = 1 << 30


def draw(path: Path, outcome: Outcome, source: ModelFile) -> None:
    """One point a file, KL divergence (logarithmic) against size; .png or .svg by the name.

    Raises UsageError for another ending, or where matplotlib (the extra "plot") is missing.
    """
    require_drawable(path)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    for name, marker, row in _points(outcome):
        axes.plot(row.size_bytes / GIB, row.figures.kld_mean, marker, markersize=9, label=name)
        axes.annotate(f"{row.bits_per_weight:.2f} bits", (row.size_bytes / GIB, row.figures.kld_mean))
    axes.set(xlabel="file, GiB", ylabel="KL divergence from the source, nats a token", yscale="log")
    axes.set_title(f"{source.name}: loss against size")
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)


def require_drawable(path: Path) -> None:
    """UsageError where draw() would fail."""
    if path.suffix not in (".png", ".svg"):
        raise UsageError(f"cannot draw {path.name}", cure="name a .png or .svg file")
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        cure = 'pip install "sixgig[plot]"'
        raise UsageError("drawing needs matplotlib", "it is not installed", cure) from error


def _points(outcome: Outcome) -> list[tuple[str, str, Row]]:
    points = [("this file", "o", outcome.output)]
    if outcome.plain is not None:
        points.append((outcome.plain.label, "s", outcome.plain))
    if outcome.pruned is not None and outcome.pruned is not outcome.output:
        points.append((f"pruned: {outcome.pruned.label}", "^", outcome.pruned))
    if outcome.unpruned is not outcome.output:
        points.append(("every weight kept", "v", outcome.unpruned))
    return points
