"""The loop: steps until there are enough or the held-out loss has stopped falling, saved on the way."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from sixgig.errors import Cancelled, DivergedError, ReadError
from sixgig.finetune.adapter import Adapter
from sixgig.finetune.optimisers import clip, make_optimiser, state_tensors
from sixgig.finetune.optimisers import load_state as load_optimiser
from sixgig.finetune.packing import MicroBatch
from sixgig.finetune.schedule import learning_rate
from sixgig.finetune.state import Progress, State, save_state
from sixgig.finetune.step import Loss, Stepper
from sixgig.interrupts import InterruptShield

Batch = Sequence[MicroBatch]
CUT_SHORT = (KeyboardInterrupt, Cancelled, OSError, ReadError)
"""What may end a run that can go on."""


@dataclass(frozen=True)
class Recipe:
    """How to train. learning_rate: its peak, after warmup_steps. clip: of the gradient's global norm.

    evaluate_every: steps between two held-out losses; patience: how many in a row may fail to be the lowest.
    save_every_s: seconds between two saved states.
    """

    optimiser: str
    learning_rate: float
    weight_decay: float
    steps: int
    warmup_steps: int
    clip: float
    evaluate_every: int
    patience: int
    save_every_s: float


@dataclass(frozen=True)
class Corpus:
    """What is learnt and judged. batch_of: the micro-batches of a step by its number, from 0."""

    batch_of: Callable[[int], Batch]
    held_out: Sequence[Batch]


@dataclass(frozen=True)
class Stepped:
    """One step. norm: of the gradient before clipping. rate: the learning rate. seconds: it took."""

    loss: Loss
    norm: float
    rate: float
    seconds: float


class Listener(Protocol):
    """Told how a run goes."""

    def stepped(self, progress: Progress, step: Stepped) -> object:
        """After each step."""

    def evaluated(self, progress: Progress) -> object:
        """After each held-out loss."""


class Trainer:
    """One run.

    job: identifies the run in its saved state. state: an earlier sitting's, to go on from. run() may be
    called once; afterwards `progress` and `best_tensors()` tell what came of it. Raises DivergedError when
    the loss is no number, TrainingError when the state cannot be saved; what was saved before stays.
    """

    def __init__(
        self,
        stepper: Stepper,
        adapter: Adapter,
        recipe: Recipe,
        corpus: Corpus,
        path: Path,
        job: Mapping[str, Any],
        state: State | None = None,
    ) -> None:
        self._stepper, self._adapter, self._recipe = stepper, adapter, recipe
        self._corpus = corpus
        self._path, self._job = path, job
        self._optimiser = make_optimiser(
            recipe.optimiser, adapter.parameters, recipe.learning_rate, recipe.weight_decay
        )
        for parameter in adapter.parameters:
            parameter.grad = torch.zeros_like(parameter)  # once, or each step's would lie scattered
        self.progress = Progress()
        self._best = {name: tensor.clone() for name, tensor in adapter.tensors().items()}
        if state is not None:
            self._restore(state)

    def run(self, listener: Listener) -> None:
        """To the end, from wherever the state was. Whatever ends it earlier, the state is saved first."""
        self._saved_s = self._began_s = time.monotonic()
        self.save()  # a folder that cannot be written is known before hours of work
        try:
            self._go_on(listener)
        except CUT_SHORT:
            self.save()
            raise
        self.save()

    def _go_on(self, listener: Listener) -> None:
        while True:
            if self._owes_evaluation():
                self._evaluate(listener)
            if self._is_over():
                return
            self._step(listener)
            if time.monotonic() - self._saved_s >= self._recipe.save_every_s:
                self.save()

    def best_tensors(self) -> dict[str, Tensor]:
        """The factors of the lowest held-out loss."""
        return self._best

    def save(self) -> None:
        """The state as of the last whole step. Ctrl-C waits until it is whole."""
        self._count_time()
        named = {
            "factor": self._adapter.tensors(),
            "best": self._best,
            "optimiser": state_tensors(self._optimiser),
        }
        tensors = {f"{kind}.{name}": tensor for kind, part in named.items() for name, tensor in part.items()}
        with InterruptShield():
            save_state(self._path, self._job, self.progress, tensors)
        self._saved_s = time.monotonic()

    def _restore(self, state: State) -> None:
        self.progress = state.progress
        self._adapter.load(state.tensors("factor."))
        for name, tensor in state.tensors("best."):
            self._best[name].copy_(tensor)
        load_optimiser(self._optimiser, dict(state.tensors("optimiser.")))

    def _is_over(self) -> bool:
        """All steps done, or the last `patience` evaluations were none the lowest."""
        best_step, _ = self.progress.best
        since = sum(step > best_step for step, _ in self.progress.held_out)
        return self.progress.step >= self._recipe.steps or since >= self._recipe.patience

    def _owes_evaluation(self) -> bool:
        seen = self.progress.held_out
        return self._is_due(self.progress.step) and (not seen or seen[-1][0] != self.progress.step)

    def _is_due(self, step: int) -> bool:
        return step % self._recipe.evaluate_every == 0 or step == self._recipe.steps

    def _step(self, listener: Listener) -> None:
        recipe, number, began_s = self._recipe, self.progress.step, time.monotonic()
        rate = learning_rate(number, recipe.steps, recipe.warmup_steps, recipe.learning_rate)
        loss = self._stepper.gradients(self._corpus.batch_of(number))
        norm = clip(self._adapter.parameters, recipe.clip)
        self._require_finite(loss.mean, norm)
        self._read_ahead(number + 1)
        with InterruptShield():
            self._update(rate, loss)
        listener.stepped(self.progress, Stepped(loss, norm, rate, time.monotonic() - began_s))

    def _update(self, rate: float, loss: Loss) -> None:
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=False)
        self.progress.step += 1
        self.progress.tokens += loss.n_tokens
        self.progress.losses.append(loss.mean)
        self._count_time()

    def _read_ahead(self, done: int) -> None:
        """What comes after this step, where that is certain."""
        if self._is_due(done):
            self._stepper.expect("forward")
        elif done < self._recipe.steps:
            self._stepper.expect("step")

    def _evaluate(self, listener: Listener) -> None:
        losses = [self._stepper.loss(batch) for batch in self._corpus.held_out]
        mean = sum(loss.sum_nll for loss in losses) / sum(loss.n_tokens for loss in losses)
        self._require_finite(mean, 0.0)
        documents = [document for loss in losses for document in loss.documents]
        with InterruptShield():
            self._note_judged(mean, [nll for nll, _ in documents], [count for _, count in documents])
            if self.progress.best[0] == self.progress.step:
                for name, tensor in self._adapter.tensors().items():
                    self._best[name].copy_(tensor)
        self._count_time()
        listener.evaluated(self.progress)

    def _note_judged(self, mean: float, nll: list[float], counts: list[int]) -> None:
        run = self.progress
        run.held_out.append((run.step, mean))
        if len(run.held_out) == 1:
            run.judged, run.nll_before = counts, nll
        if run.best[0] == run.step:
            run.nll_best = nll

    def _require_finite(self, loss: float, norm: float) -> None:
        if math.isfinite(loss) and math.isfinite(norm):
            return
        numbers = f"loss {loss:.4g}, gradient norm {norm:.4g} at step {self.progress.step + 1}"
        raise DivergedError("training has diverged", numbers, "lower --learning-rate")

    def _count_time(self) -> None:
        now_s = time.monotonic()
        self.progress.seconds += now_s - self._began_s
        self._began_s = now_s


def batches(micro_batches: Sequence[MicroBatch], per_batch: int) -> list[Batch]:
    """Several micro-batches go through each block together."""
    return [micro_batches[first : first + per_batch] for first in range(0, len(micro_batches), per_batch)]
