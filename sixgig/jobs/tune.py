"""Train an adapter (LoRA) on a model file."""

from __future__ import annotations

from sixgig.errors import UsageError
from sixgig.jobs.door import door
from sixgig.jobs.tune_request import TuneRequest, TuneResult
from sixgig.units import format_bytes

__all__ = ["TuneRequest", "TuneResult", "tune"]
PYTORCH_BYTES = 256 << 20  # what it takes to import it and to plan; with a model it is more


def _tune(request: TuneRequest) -> TuneResult:
    """Train an adapter (LoRA) on the model file you run, within a budget of memory.

    The model is read half a layer at a time and stays as it is. The best adapter is written, that of the
    lowest held-out loss. A run that was cut short (by reporter.cancel(), Ctrl-C, a full disk, a power cut)
    goes on with resume=True, to the same bits.

    From any thread; `ram` is the whole process's, so two runs at once may pass it together. PyTorch's number
    of threads and glibc's allocator are set for the process. Ctrl-C reaches the main thread alone, cancel()
    any.

    Raises UsageError for what cannot be asked for, data that cannot be learnt from, a folder that holds
    something else, or where PyTorch is missing; BudgetError where memory or disk has no room; ModelFileError
    for a model that cannot be tuned; TrainingError, and of it DivergedError, where a run cannot go on;
    ReadError where the disk fails; Cancelled.
    """
    from sixgig.inference.threads import choose_waiting

    _require_room(request.ram)
    choose_waiting(
        request.threads or 0
    )  # PyTorch brings an OpenMP of its own, which looks when it is imported
    _require_torch()
    from sixgig.jobs.tune_run import run

    return run(request)


tune = door(TuneRequest, _tune)
"""Learn DATA as an adapter; arguments: TuneRequest."""


def _require_room(ram_bytes: int | None) -> None:
    """Refuse where not even PyTorch can be imported: the system would end the process over it."""
    from sixgig.inference.memory import allowed
    from sixgig.planning import Refusal

    allowance = allowed(ram_bytes)
    if allowance.limit is not None and allowance.limit.reachable_bytes < PYTORCH_BYTES:
        what = f"no model can be tuned in {format_bytes(allowance.ram_bytes)} of memory"
        with allowance.explaining():
            needed = f"{format_bytes(PYTORCH_BYTES)} needed for PyTorch alone"
            raise Refusal(PYTORCH_BYTES, what, needed, f"try --ram {PYTORCH_BYTES >> 20}M or more")


def _require_torch() -> None:
    try:
        import safetensors
        import torch  # noqa: F401
    except ImportError as error:
        numbers = f"{error.name} is not installed"
        raise UsageError("tuning needs PyTorch", numbers, 'pip install "sixgig[tune]"') from error
    del safetensors
