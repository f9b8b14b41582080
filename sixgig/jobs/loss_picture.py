"""Draws a run of tuning: its losses over the steps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sixgig.jobs.pictures import save_figure

SMOOTHED_STEPS = 8
Points = Sequence[tuple[int, float]]


def draw_losses(path: Path, losses: Sequence[float], held_out: Points, name: str) -> bool:
    """A file, .png or .svg by its name; False, and no file, where matplotlib (the extra "plot") is missing.

    losses: of the batch of each step; held_out: (after how many steps, loss).
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    steps = range(1, len(losses) + 1)
    axes.plot(steps, losses, color="C0", alpha=0.3, label="of each step's batch")
    axes.plot(steps, smoothed(losses), color="C0", label=f"the same, mean of {SMOOTHED_STEPS}")
    axes.plot(*zip(*held_out, strict=True), "o-", color="C1", label="held out")
    best = min(held_out, key=lambda point: point[1])
    axes.annotate(f"{best[1]:.4f}", best, (0, -14), textcoords="offset points", ha="center", color="C1")
    axes.set(xlabel="step", ylabel="loss, nats a token")
    axes.set_title(f"{name}: tuning", parse_math=False)
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    save_figure(figure, path)
    return True


def smoothed(values: Sequence[float], width: int = SMOOTHED_STEPS) -> list[float]:
    """The mean of each value and those before it, `width` in all where there are so many."""
    windows = (values[max(0, end - width) : end] for end in range(1, len(values) + 1))
    return [sum(window) / len(window) for window in windows]
