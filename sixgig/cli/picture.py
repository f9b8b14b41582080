"""Draws loss against size, from what `score` and `shrink` measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sixgig.errors import UsageError

GIB = 1 << 30
MIB = 1 << 20
_KINDS = (
    ("unpruned", "o-", "sixgig shrink, every weight kept"),
    ("pruned", "^--", "sixgig shrink, pruned"),
    ("plain", "s:", "plain: one type for all, or two neighbours"),
    ("mixture", "D:", "llama-quantize's mixtures"),
    ("routed", "x:", "one type for the experts, the rest Q6_K"),
)


def draw(path: Path, results: Sequence[Mapping[str, Any]], name: str) -> None:
    """One point a file, KL divergence (logarithmic) against size; .png or .svg by the name.

    results: rows with `kind`, `label`, `size_bytes`, `kld_mean` and its interval, as a work folder keeps
    them. Raises UsageError for another ending, or where matplotlib (the extra "plot") is missing.
    """
    require_drawable(path)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    middle = sorted(row["size_bytes"] for row in results)[len(results) // 2]
    unit, unit_name = (GIB, "GiB") if max(row["size_bytes"] for row in results) > GIB else (MIB, "MiB")
    for kind, style, title in _KINDS:
        rows = sorted((row for row in results if row["kind"] == kind), key=lambda row: row["size_bytes"])
        if not rows:
            continue
        sizes, losses = ([row[key] for row in rows] for key in ("size_bytes", "kld_mean"))
        bounds = [_bounds(row) for row in rows]
        errors = list(zip(*bounds, strict=True))
        axes.errorbar([size / unit for size in sizes], losses, errors, fmt=style, capsize=3, label=title)
        for row in rows if kind != "unpruned" else ():
            at = (row["size_bytes"] / unit, row["kld_mean"])
            side, shift = ("right", -6) if row["size_bytes"] > middle else ("left", 6)
            axes.annotate(row["label"], at, (shift, 6), textcoords="offset points", fontsize=8, ha=side)
    axes.set(xlabel=f"file, {unit_name}", ylabel="KL divergence from the source, nats a token", yscale="log")
    axes.set_title(f"{name}: loss against size")
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)


def _bounds(row: Mapping[str, Any]) -> tuple[float, float]:
    """How far the 95% interval of the divergence reaches down and up; no way where none is told."""
    value = row["kld_mean"]
    lower, upper = row.get("intervals", {}).get("kld_mean", (value, value))
    return min(value - lower, 0.9 * value), upper - value  # the axis is logarithmic


def require_drawable(path: Path) -> None:
    """UsageError where draw() would fail."""
    if path.suffix not in (".png", ".svg"):
        raise UsageError(f"cannot draw {path.name}", cure="name a .png or .svg file")
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        cure = 'pip install "sixgig[plot]"'
        raise UsageError("drawing needs matplotlib", "it is not installed", cure) from error
