"""The state of a run in one file, replaced whole: a killed run goes on from it to the same bits.

Format: safetensors. Tensors are the factors by name, "best."-prefixed those of the lowest held-out loss,
"optimiser."-prefixed the optimiser's; the header's metadata hold "job" and "progress" as JSON.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from sixgig.errors import TrainingError


@dataclass
class Progress:
    """step: how many are done. losses: of each step's batch. held_out: (after how many steps, loss).

    tokens: learnt from so far. seconds: of all sittings.
    """

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)
    held_out: list[tuple[int, float]] = field(default_factory=list)

    @property
    def best(self) -> tuple[int, float]:
        """The lowest held-out loss, the first where several are equal: (after how many steps, loss)."""
        return min(self.held_out, key=lambda seen: (seen[1], seen[0]))


@dataclass(frozen=True)
class State:
    """All that decides how a run goes on."""

    job: dict[str, Any]
    progress: Progress
    tensors: dict[str, Tensor]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """Tensors under a prefix, without it."""
        return {n.removeprefix(prefix): t for n, t in self.tensors.items() if n.startswith(prefix)}


def save_state(path: Path, job: Mapping[str, Any], progress: Progress, tensors: Mapping[str, Tensor]) -> None:
    """Written beside, synced, renamed: `path` is always whole. TrainingError, and then it is as it was."""
    notes = {"job": json.dumps(job), "progress": json.dumps(asdict(progress))}
    beside = path.with_name(f".{path.name}.part")
    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, beside, notes)
        _sync(beside)
        os.replace(beside, path)
        _sync(path.parent)
    except (SafetensorError, OSError) as error:
        beside.unlink(missing_ok=True)
        what, cure = (
            f"the state of the run cannot be saved in {path.parent}",
            "make room, go on with --resume",
        )
        raise TrainingError(what, str(error), cure) from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def load_state(path: Path) -> State:
    """What save_state wrote; TrainingError when it cannot be read."""
    try:
        with safe_open(path, "pt") as file:
            notes = file.metadata() or {}
            progress = Progress(**json.loads(notes["progress"]))
            progress.held_out = [(int(step), float(loss)) for step, loss in progress.held_out]
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            return State(json.loads(notes["job"]), progress, tensors)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        cure = "remove it and begin again"
        raise TrainingError(f"{path} holds no state of a run", str(error)[:100], cure) from error


def require_same(state: State, job: Mapping[str, Any], path: Path) -> None:
    """TrainingError that names the first difference between the saved run and the one asked for."""
    wanted = json.loads(json.dumps(job))
    for key in {**wanted, **state.job}:
        if state.job.get(key) != wanted.get(key):
            numbers = f"{key}: {str(state.job.get(key))[:60]} there, {str(wanted.get(key))[:60]} now"
            cure = "ask for the same, or name another folder with -o"
            raise TrainingError(f"{path} belongs to another run", numbers, cure)
