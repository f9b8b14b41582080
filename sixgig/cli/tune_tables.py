"""What `sixgig tune` says when it is done."""

from __future__ import annotations

from shlex import quote
from statistics import median
from typing import Any

from sixgig import __version__
from sixgig.cli.terminal import say, warn
from sixgig.cli.tuning import Tuning
from sixgig.hardware import Absent
from sixgig.units import counted, format_bytes, format_seconds


def show_tuning(tuning: Tuning) -> None:
    """Losses, pace, memory, and what to do with the result."""
    run, plan = tuning.progress, tuning.plan
    before, (best_step, best) = run.held_out[0][1], run.best
    verdict, planned = tuning.verdict, tuning.recipe.steps
    error = "" if verdict.error is None else f", 95% within {verdict.error:.4f}"
    say(
        f"held-out loss {before:.4f} -> {best:.4f} nats a token ({verdict.gain:.4f} lower{error}; "
        f"{counted(len(run.judged), 'document')}), after {best_step} of {counted(run.step, 'step')}"
    )
    if run.step < planned:
        lasted = f"stopped after {run.step} of {counted(planned, 'step')}"
        worse = f"{tuning.recipe.patience} held-out losses in a row were not the lowest"
        say(f"{lasted}: {worse}; the adapter is the one after step {best_step}")
    pace = f"{format_seconds(_seconds_per_step(tuning))} a step, {format_seconds(run.seconds)} in all"
    say(pace + _energy(tuning))
    say(
        f"peak memory {format_bytes(tuning.peak.total_bytes)}, "
        f"predicted {format_bytes(plan.predicted_peak_bytes)}, "
        f"budget {format_bytes(plan.ram_budget_bytes)}; {format_bytes(tuning.bytes_read)} read"
    )
    over = tuning.peak.total_bytes - plan.ram_budget_bytes
    if over > 0:
        warn(f"The budget was passed by {format_bytes(over)}: this is a bug in sixgig, please report it.")
    for finding in tuning.findings:
        warn(finding)
    say(f"the adapter is in {tuning.folder.path}; try it:")
    say(f"  sixgig run {quote(tuning.request.model)} --adapter {quote(str(tuning.folder.adapter_path))}")


def tune_document(tuning: Tuning) -> dict[str, Any]:
    """`sixgig tune --json`."""
    run, plan, request = tuning.progress, tuning.plan, tuning.request
    return {
        "version": __version__,
        "adapter": str(tuning.folder.adapter_path),
        "output": str(tuning.folder.path),
        "merged": None if tuning.merged is None else str(tuning.merged),
        "outcome": tuning.verdict.outcome.value,
        "steps": run.step,
        "planned_steps": tuning.recipe.steps,
        "best_step": run.best[0],
        "epochs": tuning.n_epochs * run.step / tuning.recipe.steps,
        "tokens_per_step": request.step_tokens,
        "seconds": run.seconds,
        "seconds_per_step": _seconds_per_step(tuning),
        "tokens": run.tokens,
        "heldout_loss_before": run.held_out[0][1],
        "heldout_loss_after": run.best[1],
        "heldout_gain": tuning.verdict.gain,
        "heldout_gain_error": tuning.verdict.error,
        "heldout_documents": len(run.judged),
        "training_loss_fall": tuning.verdict.fall,
        "losses": run.losses,
        "held_out": run.held_out,
        "peak_memory_bytes": tuning.peak.total_bytes,
        "predicted_peak_memory_bytes": plan.predicted_peak_bytes,
        "ram_budget_bytes": plan.ram_budget_bytes,
        "within_budget": tuning.peak.total_bytes <= plan.ram_budget_bytes,
        "bytes_read": tuning.bytes_read,
        "read_bytes_per_step": plan.read_bytes,
        "joules": None if isinstance(tuning.bar.joules, Absent) else tuning.bar.joules,
        "rank": request.rank,
        "alpha": request.scaling,
        "targets": [part.value for part in request.parts],
        "n_weights": tuning.adapter.n_weights,
        "optimizer": request.optimizer,
        "learning_rate": request.peak_rate,
        "notices": [*tuning.notices, *tuning.findings],
    }


def _seconds_per_step(tuning: Tuning) -> float:
    """The median of this sitting's steps, 0 where it had none."""
    return median(tuning.bar.seconds_per_step or [0.0])


def _energy(tuning: Tuning) -> str:
    joules = tuning.bar.joules
    return "" if isinstance(joules, Absent) else f", {joules:.0f} J of the processor, idle included"
