"""One `sixgig tune`: the options made sense of, data to batches, the run, and what comes out of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from sixgig.cli.console import PromptBar
from sixgig.cli.reporter import TerminalReporter
from sixgig.cli.terminal import say, say_plan, warn
from sixgig.cli.tune_bar import TuningBar
from sixgig.cli.tune_documents import Documents, read_documents
from sixgig.cli.tune_extent import extent_of
from sixgig.cli.tune_output import OutputFolder, merged_into
from sixgig.cli.tune_request import Request
from sixgig.errors import BudgetError, DivergedError, ReadError, TrainingError, UsageError
from sixgig.finetune.adapter import Adapter, Target, targets
from sixgig.finetune.footing import find_footing
from sixgig.finetune.net import Net, build_net
from sixgig.finetune.packing import Steps, digest, pack
from sixgig.finetune.rendering import Document
from sixgig.finetune.room import Room
from sixgig.finetune.schedule import epochs_for
from sixgig.finetune.session import Setup, device_of, open_trainer
from sixgig.finetune.state import Progress, State, require_same
from sixgig.finetune.train import Corpus, Recipe, Trainer, batches
from sixgig.finetune.verdict import Outcome, Verdict, judge
from sixgig.hardware import Peak, PeakSampler, process_memory, usable_cores
from sixgig.hardware.memory import give_back
from sixgig.inference.memory import LIBRARY_BYTES, LIBRARY_FILE_BYTES, allowed
from sixgig.jobs.opening import fetched
from sixgig.modelfile import ModelFile, open_model
from sixgig.modelfile.content import model_digest
from sixgig.modelfile.lora import merged_adapters
from sixgig.plan import Allowance, ProcessBytes, Refusal, anatomy
from sixgig.plan.budget import PROCESS_SPREAD_BYTES
from sixgig.plan.tuning import STATE_BYTES, Batch, TuningPlan, plan_tuning
from sixgig.units import counted, format_bytes, parse_memory
from sixgig.weights.stored import StoredWeights, not_finite

WARMUP_SHARE, CLIP, PATIENCE, EVALUATIONS = 0.05, 1.0, 3, 10

NOTHING = ProcessBytes(0, 0)


class Tuning:
    """Tunes once with run(); afterwards its attributes tell how it went."""

    model: ModelFile
    plan: TuningPlan
    recipe: Recipe
    n_epochs: float  # of all steps together, where nothing ends the run earlier
    progress: Progress
    bar: TuningBar
    adapter: Adapter
    notices: tuple[str, ...]
    findings: tuple[str, ...]
    verdict: Verdict
    merged: Path | None = None  # the file that was written
    peak: Peak
    bytes_read: int

    def __init__(self, request: Request) -> None:
        self.request = request
        self.folder = OutputFolder(request.output)
        self.threads = usable_cores().performance if request.threads is None else request.threads

    def run(self) -> None:
        """Everything, from the options to the files."""
        device_of(self.request.vram_bytes)
        self.model = open_model(fetched(self.request.model, TerminalReporter()))
        net = build_net(self.model, self.request.context)
        wanted = targets(self.model, self.request.parts)
        self._require_trained_length()
        state = self.folder.earlier(self.request.resume)
        with PeakSampler() as sampler, self.folder.held():
            self._run(net, wanted, state)
        self.peak = sampler.peak

    def _run(self, net: Net, wanted: tuple[Target, ...], state: State | None) -> None:
        n_weights = sum(target.n_weights(self.request.rank) for target in wanted)
        self._refuse_early(n_weights)
        documents = self._read(state)
        corpus = self._corpus(documents)
        batch = Batch(self.request.step_tokens, self.request.micro_tokens, n_weights)
        self.plan = self._plan(batch).with_peak(process_memory().peak_bytes)
        self.folder.require_room(2 * STATE_BYTES * n_weights, self.request.merge, self.model.size_bytes)
        job = self._job(documents)
        if state is not None:
            require_same(state, job, self.folder.state_path)
        self._announce(wanted, n_weights, documents)
        path = self.folder.state_path
        opened = open_trainer(net, self.plan, self._setup(wanted), self.recipe, corpus, path, job, state)
        with opened as (trainer, self.adapter, reader), TuningBar(self.recipe.steps) as self.bar:
            self.progress = trainer.progress
            self.bar.began(trainer.progress)
            self._train(trainer)
            self.bytes_read = reader.counters.bytes_read
        self._write(trainer)

    @cached_property
    def _allowance(self) -> Allowance:
        found = allowed(None if self.request.ram is None else parse_memory(self.request.ram))
        if found.remark:
            warn(found.remark)
        return found

    @property
    def _budget_bytes(self) -> int:
        return self._allowance.ram_bytes

    def _setup(self, wanted: tuple[Target, ...]) -> Setup:
        request = self.request
        return Setup(wanted, request.rank, request.scaling, request.seed, self.threads, request.vram_bytes)

    def _read(self, state: State | None) -> Documents:
        """A run that goes on goes on in its own day."""
        now = datetime.now().replace(microsecond=0)
        self._today = now if state is None else datetime.fromisoformat(state.job["date"])
        with PromptBar(f"reading {self.request.data.name}"):
            documents = read_documents(self.model, self.request, self._today, Room(self._budget_bytes))
        self.notices = documents.notices
        if (peak := process_memory().peak_bytes) > self._budget_bytes:
            numbers = f"{format_bytes(peak)} taken, {format_bytes(self._budget_bytes)} allowed"
            raise BudgetError("reading DATA takes too much memory", numbers, "raise --ram or divide DATA")
        give_back()
        return documents

    def _corpus(self, documents: Documents) -> Corpus:
        """Of steps that suit the data; the recipe too."""
        longest = max(map(len, documents.judged))
        request = self.request.fitted_to([len(document) for document in documents.learnt])
        self.request = request = replace(request, longest=max(longest, request.longest or 0))
        steps = Steps(documents.learnt, request.micro_tokens, request.micro_batches, request.seed)
        judged = pack(documents.judged, request.micro_tokens, request.seed, 0)
        held_out = batches(judged, request.micro_batches)
        n_steps = request.steps or steps.n_steps(request.epochs or epochs_for(steps.n_steps))
        self.recipe, self.n_epochs = self._recipe(n_steps), n_steps / steps.n_steps(1)
        return Corpus(steps.__getitem__, held_out)

    def _recipe(self, n_steps: int) -> Recipe:
        request = self.request
        return Recipe(
            optimiser=request.optimizer,
            learning_rate=request.peak_rate,
            weight_decay=0.0,
            steps=n_steps,
            warmup_steps=round(WARMUP_SHARE * n_steps),
            clip=CLIP,
            evaluate_every=max(1, n_steps // EVALUATIONS),
            patience=PATIENCE,
            save_every_s=request.save_every_s,
        )

    def _refuse_early(self, n_weights: int) -> None:
        """What cannot fit, however little DATA may be, is refused before it is read, with a budget that
        holds the most it may be."""
        extents = [extent_of(path) for path in (self.request.data, self.request.held_out) if path]
        try:
            least = extents[0].least_batch(self.request, n_weights)
            self._plan(least, ProcessBytes(sum(e.least_bytes for e in extents), 0))
        except Refusal:
            taken = LIBRARY_BYTES + sum(e.most_bytes for e in extents)
            most = extents[0].most_batch(self.request, n_weights)
            self._plan(most, ProcessBytes(taken, LIBRARY_FILE_BYTES))

    def _plan(self, batch: Batch, more: ProcessBytes = NOTHING) -> TuningPlan:
        """With this process as it is now, everything imported and the data in tokens, and `more`."""
        request = self.request
        find_footing(self.threads, device_of(request.vram_bytes))
        held = process_memory()
        owned = held.anonymous_bytes + held.shared_bytes + more.anonymous_bytes
        process = ProcessBytes(owned, held.file_bytes + more.file_bytes)
        parts, spread = anatomy(self.model), PROCESS_SPREAD_BYTES
        with self._allowance.explaining():
            return plan_tuning(parts, batch, process, self._budget_bytes, request.vram_bytes, spread)

    def _require_trained_length(self) -> None:
        asked, trained = self.request.context, self.model.context_length
        if trained and asked > trained:
            what = f"--context of {asked} is longer than the model was trained for"
            raise UsageError(what, f"{trained} tokens", "shorten it")

    def _job(self, documents: Documents) -> dict[str, Any]:
        """All that decides the bits of the result."""
        request = self.request
        return {
            "model": model_digest(self.model),
            "data": digest(documents.learnt),
            "held-out data": digest(documents.judged),
            "targets": [part.value for part in request.parts],
            "rank": request.rank,
            "alpha": request.scaling,
            "seed": request.seed,
            "batch": request.step_tokens,
            "context": request.context,
            "recipe": {name: value for name, value in vars(self.recipe).items() if name != "save_every_s"},
            "threads": self.threads,
            "date": self._today.isoformat(),
            "device": "cpu" if request.vram_bytes is None else "cuda",
            "torch": torch.__version__,
        }

    def _announce(self, wanted: Sequence[Target], n_weights: int, documents: Documents) -> None:
        request, recipe = self.request, self.recipe
        n_tokens, n_learnt = (sum(counts) for counts in zip(*map(_counts, documents.learnt), strict=True))
        say_plan(f"{self.model.name}: {self.plan.explain()}")
        matrices = "1 matrix" if len(wanted) == 1 else f"{len(wanted)} matrices"
        say(
            f"adapter of rank {request.rank}, alpha {request.scaling:g}, on {matrices}: "
            f"{n_weights / 1e6:.2f} million weights"
        )
        rows = len(documents.learnt)
        say(
            f"{counted(rows, 'document')} with {counted(n_tokens, 'token')}, {n_learnt} of them learnt; "
            f"{len(documents.judged)} held out: {counted(recipe.steps, 'step')} of about "
            f"{rows * self.n_epochs / recipe.steps:.3g} documents, at most {request.step_tokens} tokens; "
            f"{self.n_epochs:.3g} epochs"
        )
        say(
            f"{recipe.optimiser}, learning rate {recipe.learning_rate:g} after "
            f"{counted(recipe.warmup_steps, 'step')}, then a cosine; gradient clipped at {recipe.clip:g}; "
            f"stops after {recipe.patience} held-out losses that are not the lowest"
        )
        for _, name in merged_adapters(self.model.metadata):
            say(f"{self.model.name} has an adapter merged in already: {name}")
        for notice in self.notices:
            warn(notice)

    def _train(self, trainer: Trainer) -> None:
        """A run that diverges still leaves the best adapter it came past, or else nothing: what it was would
        diverge again. Any other can go on.
        """
        try:
            trainer.run(self.bar)
        except DivergedError as error:
            raise self._diverged(trainer, error) from error
        except (KeyboardInterrupt, OSError, ReadError):
            warn("stopped; the state is saved: give the same command with --resume to go on")
            raise

    def _diverged(self, trainer: Trainer, error: DivergedError) -> TrainingError:
        """Why, and what is left of it."""
        run = trainer.progress
        if has_best := bool(run.held_out) and run.best[0] > 0:
            self._write(trainer)
        else:
            self.folder.finish()
        if (name := not_finite(StoredWeights(self.model))) is not None:
            what, cure = f"{self.model.name} cannot be tuned", "get or convert the model again"
            return TrainingError(what, f"{name} holds values that are no finite numbers", cure)
        if not run.held_out:
            what = (
                "the loss is no number before any step: the model's own values overflow on the held-out text"
            )
            return TrainingError(what, error.numbers, "tune another model or on another text")
        rate = f"{error.numbers}, learning rate {self.recipe.learning_rate:g}"
        cure = f"lower --learning-rate to a tenth or less and begin again, in {self.folder.path} if you like"
        if has_best:
            step, loss = run.best
            rate += f"; as after {counted(step, 'step')} (held-out loss {loss:.4f}) "
            rate += f"the adapter is in {self.folder.path}"
            cure = "for another --learning-rate name another folder with -o"
        return DivergedError(error.what, rate, cure)

    def _write(self, trainer: Trainer) -> None:
        """The best adapter in all forms. The state goes last: until then --resume writes them again."""
        lora = self.adapter.to_lora(self.model.architecture, trainer.best_tensors())
        found = self.folder.write(self.model, lora, trainer.progress)
        self.verdict = judge(trainer.progress, "--epochs" if self.request.steps is None else "--steps")
        if self.request.merge is not None and self.verdict.outcome is not Outcome.NOTHING:
            found.append(merged_into(self.request.merge, self.model, lora, self.threads, self.folder.path))
            self.merged = self.request.merge
        elif self.request.merge is not None:
            found.append(f"{self.request.merge} was not written: there is nothing to merge")
        self.findings = tuple(filter(None, (*found, self.verdict.advice)))
        self.folder.finish()


def _counts(document: Document) -> tuple[int, int]:
    """Tokens, and those that are learnt."""
    return len(document), int(document.learn.sum())
