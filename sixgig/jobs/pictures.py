"""Pictures in files, .png or .svg by the name: loss against size, from what `score` and `shrink` measured."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from sixgig.atomic import replace_file
from sixgig.compress.curve import Kind, LossPoint
from sixgig.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GIB, MIB = 1 << 30, 1 << 20
_STYLES = {
    Kind.UNPRUNED: ("o-", "sixgig shrink, every weight kept"),
    Kind.PRUNED: ("^--", "sixgig shrink, pruned"),
    Kind.PLAIN: ("s:", "plain: one type for all, or two neighbours"),
    Kind.MIXTURE: ("D:", "llama-quantize's mixtures"),
    Kind.ROUTED: ("x:", "one type for the experts, the rest Q6_K"),
}


def draw(path: Path, points: Sequence[LossPoint], name: str) -> None:
    """KL divergence (logarithmic) against size, a point each with its interval.

    Raises UsageError as require_drawable() and save_figure().
    """
    require_drawable(path)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    middle = sorted(point.size_bytes for point in points)[len(points) // 2]
    unit, unit_name = (GIB, "GiB") if max(point.size_bytes for point in points) > GIB else (MIB, "MiB")
    for kind, (style, title) in _STYLES.items():
        of_kind = sorted((p for p in points if p.kind is kind), key=lambda point: point.size_bytes)
        if not of_kind:
            continue
        sizes, losses = [p.size_bytes / unit for p in of_kind], [p.kld_mean for p in of_kind]
        errors = list(zip(*map(_reach, of_kind), strict=True))
        axes.errorbar(sizes, losses, errors, fmt=style, capsize=3, label=title)
        for point in of_kind if kind is not Kind.UNPRUNED else ():
            at = (point.size_bytes / unit, point.kld_mean)
            side, shift = ("right", -6) if point.size_bytes > middle else ("left", 6)
            axes.annotate(point.label, at, (shift, 6), textcoords="offset points", fontsize=8, ha=side)
    axes.set(xlabel=f"file, {unit_name}", ylabel="KL divergence from the source, nats a token", yscale="log")
    axes.set_title(f"{name}: loss against size")
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
    save_figure(figure, path)


def _reach(point: LossPoint) -> tuple[float, float]:
    """How far the interval reaches down and up."""
    below = min(point.kld_mean - point.kld_lower, 0.9 * point.kld_mean)  # the axis is logarithmic
    return below, point.kld_upper - point.kld_mean


def save_figure(figure: Figure, path: Path) -> None:
    """The picture, whole or not at all. Raises UsageError where it cannot be written."""
    picture = BytesIO()
    figure.savefig(picture, format=path.suffix[1:], dpi=150)
    try:
        replace_file(path, picture.getvalue())
    except OSError as error:
        raise UsageError(f"cannot write {path}", error.strerror or str(error)) from error


def require_drawable(path: Path) -> None:
    """UsageError for another ending, or where matplotlib (the extra "plot") is missing."""
    if path.suffix not in (".png", ".svg"):
        raise UsageError(f"cannot draw {path.name}", cure="name a .png or .svg file")
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        cure = 'pip install "sixgig[plot]"'
        raise UsageError("drawing needs matplotlib", "it is not installed", cure) from error
