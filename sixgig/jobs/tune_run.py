"""One run of tuning: from what was asked to batches, the steps, and what is written."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

import torch

from sixgig.errors import BudgetError, DivergedError, TrainingError
from sixgig.finetune.adapter import Adapter, targets
from sixgig.finetune.net import build_net
from sixgig.finetune.packing import digest
from sixgig.finetune.rendering import Document
from sixgig.finetune.room import Room
from sixgig.finetune.schedule import StepSize
from sixgig.finetune.session import Setup, device_of, open_trainer
from sixgig.finetune.state import Progress, require_same
from sixgig.finetune.train import CUT_SHORT, Stepped, Trainer
from sixgig.finetune.verdict import Outcome, Verdict, judge
from sixgig.hardware import Absent, PeakSampler, process_memory, usable_cores
from sixgig.hardware.energy import joules_between, read_energy
from sixgig.hardware.memory import give_back
from sixgig.inference.memory import allowed
from sixgig.jobs.opening import fetched
from sixgig.jobs.reporter import HeldOutLoss, TuneListener, TuneStep
from sixgig.jobs.tune_data import Course, Documents, Reading, course_of
from sixgig.jobs.tune_memory import Memory, extent_of
from sixgig.jobs.tune_output import OutputFolder, merged_into
from sixgig.jobs.tune_request import TuneRequest, TuneResult
from sixgig.modelfile import open_model
from sixgig.modelfile.content import model_digest
from sixgig.modelfile.lora import merged_adapters
from sixgig.planning.tuning import STATE_BYTES, TuningPlan
from sixgig.units import counted, format_bytes
from sixgig.weights.stored import StoredWeights, not_finite


def run(request: TuneRequest) -> TuneResult:
    """Everything, from what was asked to the files; as sixgig.jobs.tune.tune."""
    return _Tuning(request).run()


class _Meter:
    """A train.Listener that measures the steps and passes them on.

    joules: of the processor since the beginning, its idle share included; Absent with the reason.
    """

    def __init__(self, listener: TuneListener, planned: int) -> None:
        self._listener, self._planned = listener, planned
        self._last_reading = read_energy()
        self.joules: float | Absent = 0.0
        self.seconds_per_step: list[float] = []

    def stepped(self, progress: Progress, step: Stepped) -> None:
        """As train.Listener."""
        self._read_energy()
        self.seconds_per_step.append(step.seconds)
        loss = step.loss
        told = TuneStep(progress.step, self._planned, loss.mean, loss.n_tokens, step.seconds, self.joules)
        self._listener.step(told)

    def evaluated(self, progress: Progress) -> None:
        """As train.Listener."""
        step, loss = progress.held_out[-1]
        self._listener.held_out(HeldOutLoss(step, loss, progress.best[0] == step))

    def _read_energy(self) -> None:
        """Step by step: a counter may wrap once between two readings, not more often."""
        reading = read_energy()
        joules = joules_between(self._last_reading, reading)
        self._last_reading = reading
        if isinstance(joules, Absent) or isinstance(self.joules, Absent):
            self.joules = joules if isinstance(joules, Absent) else self.joules
        else:
            self.joules += joules


class _Tuning:
    """One run. What can be refused by the model's header and the folder is refused when it is made."""

    def __init__(self, request: TuneRequest) -> None:
        self._request, self._reporter = request, request.listener
        self._vram_bytes = request.vram or None
        device_of(self._vram_bytes)
        self._model = open_model(fetched(request.model, request.listener))
        context = request.context_of(self._model.context_length)
        self._size = StepSize(context, request.batch, request.epochs)
        self._net, self._targets = build_net(self._model, context), targets(self._model, request.parts)
        self._n_weights = sum(target.n_weights(request.rank) for target in self._targets)
        self._folder = OutputFolder(Path(request.output))
        self._merge = None if request.merge is None else Path(request.merge)
        self._state = self._folder.earlier(request.resume)
        self._threads = usable_cores().performance if request.threads is None else request.threads
        allowance = allowed(request.ram)
        if allowance.remark:
            self._reporter.warn(allowance.remark)
        self._memory = Memory(self._model, self._n_weights, self._threads, allowance, self._vram_bytes)

    def run(self) -> TuneResult:
        """To the files written."""
        with PeakSampler() as sampler, self._folder.held():
            course, job = self._prepared()
            plan = self._memory.plan(course.size)
            self._folder.require_room(2 * STATE_BYTES * self._n_weights, self._merge, self._model.size_bytes)
            path = self._folder.state_path
            if self._state is not None:
                require_same(self._state, job, path)
            self._announce(course, plan)
            setup, recipe, corpus = self._setup(), course.recipe, course.corpus
            opened = open_trainer(self._net, plan, setup, recipe, corpus, path, job, self._state)
            with opened as (trainer, adapter, reader):
                with self._reporter.tuning(trainer.progress.step, recipe.steps) as listener:
                    meter = _Meter(listener, recipe.steps)
                    self._train(trainer, adapter, meter)
                bytes_read = reader.counters.bytes_read
            verdict, merged, findings = self._write(trainer, adapter)
        run = trainer.progress
        best_step, best = run.best
        return TuneResult(
            adapter=self._folder.adapter_path,
            folder=self._folder.path,
            merged=merged,
            verdict=verdict,
            losses=tuple(run.losses),
            held_out=tuple(run.held_out),
            best_step=best_step,
            loss_before=run.held_out[0][1],
            loss_after=best,
            n_judged=len(run.judged),
            steps=run.step,
            epochs=course.epochs * run.step / recipe.steps,
            tokens=run.tokens,
            tokens_per_step=course.size.step_tokens,
            seconds=run.seconds,
            seconds_per_step=median(meter.seconds_per_step or [0.0]),
            joules=meter.joules,
            bytes_read=bytes_read,
            peak_memory_bytes=sampler.peak.total_bytes,
            plan=plan,
            recipe=recipe,
            rank=self._request.rank,
            alpha=self._request.scaling,
            targets=tuple(part.value for part in self._request.parts),
            n_weights=self._n_weights,
            notices=course.documents.notices,
            findings=findings,
        )

    def _prepared(self) -> tuple[Course, dict[str, Any]]:
        """What is learnt and how, and all that decides its bits. A run that goes on stays in its own day."""
        files = (self._request.data, self._request.held_out)
        self._memory.refuse_early([extent_of(Path(path)) for path in files if path is not None], self._size)
        now = datetime.now().replace(microsecond=0)
        today = now if self._state is None else datetime.fromisoformat(self._state.job["date"])
        course = course_of(self._request, self._read(today), self._size)
        return course, self._job(course, today)

    def _setup(self) -> Setup:
        request, check = self._request, self._reporter.check
        return Setup(
            self._targets, request.rank, request.scaling, request.seed, self._threads, self._vram_bytes, check
        )

    def _read(self, today: datetime) -> Documents:
        request, reporter, size = self._request, self._reporter, self._size
        budget = self._memory.allowance.ram_bytes
        data, room = Path(request.data), Room(budget)
        held_out = None if request.held_out is None else Path(request.held_out)
        reading = Reading(self._model, size.context, request.train_on_all, today, room, reporter.check)
        with reporter.progress(f"reading {data.name}"):
            documents = reading.documents(data, held_out, request.seed, size.step_tokens)
        if (peak := process_memory().peak_bytes) > budget:
            numbers = f"{format_bytes(peak)} taken, {format_bytes(budget)} allowed"
            raise BudgetError("reading DATA takes too much memory", numbers, "raise --ram or divide DATA")
        give_back()
        return documents

    def _job(self, course: Course, today: datetime) -> dict[str, Any]:
        """All that decides the bits of the result."""
        request, documents = self._request, course.documents
        return {
            "model": model_digest(self._model),
            "data": digest(documents.learnt),
            "held-out data": digest(documents.judged),
            "targets": [part.value for part in request.parts],
            "rank": request.rank,
            "alpha": request.scaling,
            "seed": request.seed,
            "batch": course.size.step_tokens,
            "context": course.size.context,
            "recipe": {name: value for name, value in vars(course.recipe).items() if name != "save_every_s"},
            "threads": self._threads,
            "date": today.isoformat(),
            "device": "cpu" if self._vram_bytes is None else "cuda",
            "torch": torch.__version__,
        }

    def _announce(self, course: Course, plan: TuningPlan) -> None:
        request, recipe, documents, say = self._request, course.recipe, course.documents, self._reporter.say
        n_tokens, n_learnt = (sum(counts) for counts in zip(*map(_counts, documents.learnt), strict=True))
        self._reporter.plan(f"{self._model.name}: {plan.explain()}")
        matrices = "1 matrix" if len(self._targets) == 1 else f"{len(self._targets)} matrices"
        say(
            f"adapter of rank {request.rank}, alpha {request.scaling:g}, on {matrices}: "
            f"{self._n_weights / 1e6:.2f} million weights"
        )
        rows = len(documents.learnt)
        say(
            f"{counted(rows, 'document')} with {counted(n_tokens, 'token')}, {n_learnt} of them learnt; "
            f"{len(documents.judged)} held out: {counted(recipe.steps, 'step')} of about "
            f"{rows * course.epochs / recipe.steps:.3g} documents, at most {course.size.step_tokens} tokens; "
            f"{course.epochs:.3g} epochs"
        )
        say(
            f"{recipe.optimiser}, learning rate {recipe.learning_rate:g} after "
            f"{counted(recipe.warmup_steps, 'step')}, then a cosine; gradient clipped at {recipe.clip:g}; "
            f"stops after {recipe.patience} held-out losses that are not the lowest"
        )
        for _, name in merged_adapters(self._model.metadata):
            say(f"{self._model.name} has an adapter merged in already: {name}")
        for notice in documents.notices:
            self._reporter.warn(notice)

    def _train(self, trainer: Trainer, adapter: Adapter, meter: _Meter) -> None:
        """A run that diverges still leaves the best adapter it came past, or else nothing: what it was would
        diverge again. Any other can go on.
        """
        try:
            trainer.run(meter)
        except DivergedError as error:
            raise self._diverged(trainer, adapter, error) from error
        except CUT_SHORT:
            self._reporter.warn("stopped; the state is saved: give the same command with --resume to go on")
            raise

    def _diverged(self, trainer: Trainer, adapter: Adapter, error: DivergedError) -> TrainingError:
        """Why, and what is left of it."""
        run, folder = trainer.progress, self._folder
        if has_best := bool(run.held_out) and run.best[0] > 0:
            self._write(trainer, adapter)
        else:
            folder.finish()
        if (name := not_finite(StoredWeights(self._model))) is not None:
            what, cure = f"{self._model.name} cannot be tuned", "get or convert the model again"
            return TrainingError(what, f"{name} holds values that are no finite numbers", cure)
        if not run.held_out:
            what = (
                "the loss is no number before any step: the model's own values overflow on the held-out text"
            )
            return TrainingError(what, error.numbers, "tune another model or on another text")
        rate = f"{error.numbers}, learning rate {self._request.peak_rate:g}"
        cure = f"lower --learning-rate to a tenth or less and begin again, in {folder.path} if you like"
        if has_best:
            step, loss = run.best
            rate += f"; as after {counted(step, 'step')} (held-out loss {loss:.4f}) "
            rate += f"the adapter is in {folder.path}"
            cure = "for another --learning-rate name another folder with -o"
        return DivergedError(error.what, rate, cure)

    def _write(self, trainer: Trainer, adapter: Adapter) -> tuple[Verdict, Path | None, tuple[str, ...]]:
        """The best adapter in all forms; the verdict, the file with it merged in, findings.

        The state goes last: until then --resume writes them again.
        """
        lora = adapter.to_lora(self._model.architecture, trainer.best_tensors())
        found = self._folder.write(self._model, lora, trainer.progress)
        verdict = judge(trainer.progress, "--epochs" if self._request.steps is None else "--steps")
        merged = self._merge if verdict.outcome is not Outcome.NOTHING else None
        if merged is not None:
            folder = self._folder.path
            found.append(merged_into(merged, self._model, lora, self._threads, folder, self._reporter))
        elif self._merge is not None:
            found.append(f"{self._merge} was not written: there is nothing to merge")
        self._folder.finish()
        return verdict, merged, tuple(filter(None, (*found, verdict.advice)))


def _counts(document: Document) -> tuple[int, int]:
    """Tokens, and those that are learnt."""
    return len(document), int(document.learn.sum())
