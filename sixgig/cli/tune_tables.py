"""What `sixgig tune` says when it is done."""

from __future__ import annotations

from shlex import quote
from typing import Any

from sixgig import __version__
from sixgig.cli.terminal import say, warn
from sixgig.hardware import Absent
from sixgig.jobs.tune import TuneResult
from sixgig.units import counted, format_bytes, format_seconds


def show_tuning(result: TuneResult, model: str) -> None:
    """Losses, pace, memory, and what to do with the result. model: as it was named."""
    plan, verdict, recipe = result.plan, result.verdict, result.recipe
    error = "" if verdict.error is None else f", 95% within {verdict.error:.4f}"
    say(
        f"held-out loss {result.loss_before:.4f} -> {result.loss_after:.4f} nats a token "
        f"({verdict.gain:.4f} lower{error}; {counted(result.n_judged, 'document')}), "
        f"after {result.best_step} of {counted(result.steps, 'step')}"
    )
    if result.steps < recipe.steps:
        lasted = f"stopped after {result.steps} of {counted(recipe.steps, 'step')}"
        worse = f"{recipe.patience} held-out losses in a row were not the lowest"
        say(f"{lasted}: {worse}; the adapter is the one after step {result.best_step}")
    pace = f"{format_seconds(result.seconds_per_step)} a step, {format_seconds(result.seconds)} in all"
    joules = result.joules
    say(pace + ("" if isinstance(joules, Absent) else f", {joules:.0f} J of the processor, idle included"))
    say(
        f"peak memory {format_bytes(result.peak_memory_bytes)}, "
        f"predicted {format_bytes(plan.predicted_peak_bytes)}, "
        f"budget {format_bytes(plan.ram_budget_bytes)}; {format_bytes(result.bytes_read)} read"
    )
    over = result.peak_memory_bytes - plan.ram_budget_bytes
    if over > 0:
        warn(f"The budget was passed by {format_bytes(over)}: this is a bug in sixgig, please report it.")
    for finding in result.findings:
        warn(finding)
    say(f"the adapter is in {result.folder}; try it:")
    say(f"  sixgig run {quote(model)} --adapter {quote(str(result.adapter))}")


def tune_document(result: TuneResult) -> dict[str, Any]:
    """`sixgig tune --json`."""
    plan, verdict, recipe = result.plan, result.verdict, result.recipe
    return {
        "version": __version__,
        "adapter": str(result.adapter),
        "output": str(result.folder),
        "merged": None if result.merged is None else str(result.merged),
        "outcome": verdict.outcome.value,
        "steps": result.steps,
        "planned_steps": recipe.steps,
        "best_step": result.best_step,
        "epochs": result.epochs,
        "tokens_per_step": result.tokens_per_step,
        "seconds": result.seconds,
        "seconds_per_step": result.seconds_per_step,
        "tokens": result.tokens,
        "heldout_loss_before": result.loss_before,
        "heldout_loss_after": result.loss_after,
        "heldout_gain": verdict.gain,
        "heldout_gain_error": verdict.error,
        "heldout_documents": result.n_judged,
        "training_loss_fall": verdict.fall,
        "losses": result.losses,
        "held_out": result.held_out,
        "peak_memory_bytes": result.peak_memory_bytes,
        "predicted_peak_memory_bytes": plan.predicted_peak_bytes,
        "ram_budget_bytes": plan.ram_budget_bytes,
        "within_budget": result.peak_memory_bytes <= plan.ram_budget_bytes,
        "bytes_read": result.bytes_read,
        "read_bytes_per_step": plan.read_bytes,
        "joules": None if isinstance(result.joules, Absent) else result.joules,
        "rank": result.rank,
        "alpha": result.alpha,
        "targets": result.targets,
        "n_weights": result.n_weights,
        "optimizer": recipe.optimiser,
        "learning_rate": recipe.learning_rate,
        "notices": [*result.notices, *result.findings],
    }
