"""One training by ours: `python -m bench.tuning.ours TASK.json resident|streamed`. Prints a line of JSON.

resident: with room for all weights to stay. streamed: the smallest budget that works, and nothing stays: each
step reads the whole model twice, and the inputs of layers go through the disk too.
"""

from __future__ import annotations

import argparse
import tempfile
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import replace
from math import inf
from pathlib import Path

import numpy as np

from bench.tuning.task import CLIP, WARMUP_STEPS, Task, Told, imported, load_task
from sixgig.errors import BudgetError
from sixgig.finetune.adapter import Target, targets
from sixgig.finetune.footing import find_footing
from sixgig.finetune.net import build_net
from sixgig.finetune.packing import MicroBatch
from sixgig.finetune.session import Setup, open_trainer
from sixgig.finetune.state import Progress
from sixgig.finetune.train import Batch as MicroBatches
from sixgig.finetune.train import Corpus, Recipe, Stepped
from sixgig.hardware import available_bytes, process_memory
from sixgig.modelfile import ModelFile, open_model
from sixgig.planning import ProcessBytes, anatomy
from sixgig.planning.tuning import Batch, TuningPlan, plan_tuning

MICRO_TOKENS = 1024  # as `sixgig tune` has it
MIB = 1 << 20


class Recorder:
    """A train.Listener that tells of each step; what is judged between steps is no step's time."""

    def __init__(self, told: Told) -> None:
        self._told = told

    def stepped(self, progress: Progress, step: Stepped) -> None:
        """As train.Listener."""
        self._told.stepped(step.loss.mean)

    def evaluated(self, progress: Progress) -> None:
        """As train.Listener."""
        self._told.began()


def train(task: Task, mode: str) -> Told:
    """All steps of the task."""
    model = open_model(Path(task.model))
    wanted = targets(model)
    find_footing(task.threads)
    told = imported()
    plan = planned(task, model, wanted, mode)
    setup = Setup(wanted, task.rank, task.alpha, task.seed, task.threads)
    with tempfile.TemporaryDirectory(dir=task.work) as folder:
        path = Path(folder, "state.safetensors")
        opened = open_trainer(build_net(model), plan, setup, recipe(task), corpus(task), path, {})
        with opened as (trainer, _, reader), told.training():
            trainer.run(Recorder(told))
    told.more = {
        "ram_bytes": plan.ram_budget_bytes,
        "predicted_bytes": plan.predicted_peak_bytes,
        "read_bytes_per_step": plan.read_bytes,
        "bytes_read": reader.counters.bytes_read,
        "waited_s": reader.counters.waited_s,
    }
    return told


def planned(task: Task, model: ModelFile, wanted: tuple[Target, ...], mode: str) -> TuningPlan:
    """For this process as it is."""
    held, found = process_memory(), anatomy(model)
    process = ProcessBytes(held.anonymous_bytes + held.shared_bytes, held.file_bytes)
    n_weights = sum(target.n_weights(task.rank) for target in wanted)
    batch = Batch(task.documents * task.context, max(task.context, MICRO_TOKENS), n_weights)

    def plan(ram_bytes: int) -> TuningPlan:
        return plan_tuning(found, batch, process, ram_bytes)

    available = available_bytes()
    if mode == "resident":
        return plan(available)
    least = plan(smallest(plan, available))
    read = sum(piece.size_bytes for piece in least.stays)
    return replace(least, stays=frozenset(), read_bytes=least.read_bytes + 2 * read)


def smallest(plan: Callable[[int], TuningPlan], most_bytes: int) -> int:
    """The smallest budget, in whole MiB, that `plan` does not refuse; BudgetError when none is."""

    def works(mib: int) -> bool:
        try:
            plan(mib * MIB)
        except BudgetError:
            return False
        return True

    return (bisect_left(range(1, most_bytes // MIB), True, key=works) + 1) * MIB


def recipe(task: Task) -> Recipe:
    """The task's; judged before and after only, never saved."""
    return Recipe("adamw", task.rate, 0.0, task.steps, WARMUP_STEPS, CLIP, task.steps, task.steps, inf)


def corpus(task: Task) -> Corpus:
    """The task's tokens, packed as `sixgig tune` does; some are judged too, for the trainer asks for it."""
    tokens = task.tokens

    def batch_of(step: int) -> MicroBatches:
        per = max(1, MICRO_TOKENS // task.context)
        return [micro_batch(tokens[step, at : at + per]) for at in range(0, task.documents, per)]

    return Corpus(batch_of, [batch_of(0)[:1]])


def micro_batch(documents: np.ndarray[tuple[int, int], np.dtype[np.int32]]) -> MicroBatch:
    """Documents of one length, of which all but the first tokens are learnt."""
    learn = np.ones(documents.shape, np.bool_)
    learn[:, 0] = False
    return MicroBatch(documents.ravel(), learn.ravel(), (documents.shape[1],) * len(documents))


def main() -> None:
    """Train and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("task", type=Path)
    parser.add_argument("mode", choices=("resident", "streamed"))
    given = parser.parse_args()
    train(load_task(given.task), given.mode).print()


if __name__ == "__main__":
    main()
