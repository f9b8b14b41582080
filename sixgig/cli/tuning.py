"""One `sixgig tune`: the options made sense of, data to batches, the run, and what comes out of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from sixgig.atomic import replace_file
from sixgig.checkpoint.peft import write_peft
from sixgig.cli.console import PromptBar
from sixgig.cli.loss_picture import draw_losses
from sixgig.cli.opening import at_least
from sixgig.cli.references import require_place
from sixgig.cli.terminal import say
from sixgig.cli.tune_bar import TuningBar
from sixgig.compress.merge import merge
from sixgig.errors import TrainingError, UsageError
from sixgig.finetune.adapter import Adapter, Part, targets
from sixgig.finetune.examples import read_examples
from sixgig.finetune.footing import find_footing
from sixgig.finetune.net import build_net
from sixgig.finetune.optimisers import LEARNING_RATES
from sixgig.finetune.packing import Steps, cut, digest, pack, require_apart, sample, split_held_out
from sixgig.finetune.rendering import Document, render
from sixgig.finetune.session import Setup, open_trainer
from sixgig.finetune.state import Progress, State, load_state, require_same
from sixgig.finetune.train import Corpus, Recipe, Trainer, batches
from sixgig.hardware import Peak, PeakSampler, available_bytes, process_memory, this_processor
from sixgig.inference.chat import ChatTemplate
from sixgig.inference.tokenizer import open_tokenizer
from sixgig.modelfile import ModelFile, open_model, resolve
from sixgig.modelfile.lora import Lora, write_lora
from sixgig.plan import ProcessBytes, anatomy, default_budget
from sixgig.plan.tuning import Batch, TuningPlan, plan_tuning
from sixgig.units import format_bytes, parse_size

HELD_OUT_SHARE, WARMUP_SHARE, CLIP, PATIENCE, EVALUATIONS = 0.05, 0.05, 1.0, 3, 10
STATE = "state.safetensors"
DONE = "adapter.gguf"


@dataclass(frozen=True)
class Request:
    """The options as typed; None means the default. Raises UsageError for what cannot be."""

    model: str
    data: Path
    output: Path
    ram: str | None
    vram: str | None
    held_out: Path | None
    epochs: int
    steps: int | None
    targets: str
    rank: int
    alpha: float | None
    optimizer: str
    learning_rate: float | None
    batch: int
    context: int
    train_on_all: bool
    seed: int
    save_every_s: float
    resume: bool
    merge: Path | None
    threads: int | None

    def __post_init__(self) -> None:
        """Refuse before anything is read."""
        for size in filter(None, (self.ram, self.vram)):
            parse_size(size)
        if self.merge is not None:
            require_place(self.merge)
        for name, count in (("--rank", self.rank), ("--batch", self.batch), ("--epochs", self.epochs)):
            at_least(1, name, count)
        at_least(1, "--steps", 1 if self.steps is None else self.steps)
        at_least(2, "--context", self.context)
        for name, value in (("--learning-rate", self.peak_rate), ("--alpha", self.scaling)):
            if not value > 0:
                raise UsageError(f"{name} of {value:g} is not possible", "above 0")
        _ = self.parts

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """Which parts are adapted."""
        try:
            return tuple(Part(name.strip()) for name in self.targets.split(","))
        except ValueError as error:
            known = ", ".join(Part)
            raise UsageError(
                f"--targets of {self.targets!r} names no part", cure=f"known: {known}"
            ) from error

    @property
    def peak_rate(self) -> float:
        """The learning rate's peak."""
        return LEARNING_RATES[self.optimizer] if self.learning_rate is None else self.learning_rate

    @property
    def scaling(self) -> float:
        """Alpha."""
        return 2.0 * self.rank if self.alpha is None else self.alpha

    @property
    def micro_tokens(self) -> int:
        """Tokens that go through attention together: memory does not decide it, so nor does it the bits."""
        return max(self.context, min(self.batch, 1024))


@dataclass(frozen=True)
class DatedTemplate:
    """A chat template on a certain day: some write the date, and a run may be resumed on another day."""

    template: ChatTemplate
    day: datetime

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        add_generation_prompt: bool,
        tools: Sequence[Mapping[str, Any]] | None,
    ) -> str:
        """As rendering.Template."""
        return self.template.render(
            messages,
            add_generation_prompt=add_generation_prompt,
            tools=tools,
            strftime_now=self.day.strftime,
        )


class Tuning:
    """Tunes once with run(); afterwards its attributes tell how it went."""

    model: ModelFile
    plan: TuningPlan
    recipe: Recipe
    progress: Progress
    bar: TuningBar
    adapter: Adapter
    notices: list[str]
    peak: Peak
    bytes_read: int

    def __init__(self, request: Request) -> None:
        self.request = request
        self.threads = this_processor().cores if request.threads is None else request.threads

    def run(self) -> None:
        """Everything, from the options to the files."""
        request, folder = self.request, self.request.output
        self.notices = []
        self.model = open_model(resolve(request.model))
        net, wanted = build_net(self.model), targets(self.model, request.parts)
        state = self._earlier()
        self._today = (
            datetime.now().replace(microsecond=0)
            if state is None
            else datetime.fromisoformat(state.job["date"])
        )
        with PeakSampler() as sampler:
            learnt, judged = self._documents()
            corpus = self._corpus(learnt, judged)
            n_weights = sum(target.n_weights(request.rank) for target in wanted)
            self.plan = self._plan(n_weights)
            job = self._job(learnt, judged)
            if state is not None:
                require_same(state, job, folder / STATE)
            folder.mkdir(parents=True, exist_ok=True)
            self._announce(n_weights, learnt, judged)
            setup = Setup(wanted, request.rank, request.scaling, request.seed, self.threads, self._vram_bytes)
            opened = open_trainer(net, self.plan, setup, self.recipe, corpus, folder / STATE, job, state)
            with opened as (trainer, self.adapter, reader), TuningBar(self.recipe.steps) as self.bar:
                self.progress = trainer.progress
                self.bar.began(trainer.progress)
                self._train(trainer)
                self.bytes_read = reader.counters.bytes_read
        self.peak = sampler.peak
        self._write(trainer)

    @property
    def output(self) -> Path:
        """The folder that was made."""
        return self.request.output

    @property
    def _vram_bytes(self) -> int | None:
        return None if self.request.vram is None else parse_size(self.request.vram)

    def _documents(self) -> tuple[Sequence[Document], Sequence[Document]]:
        """What is learnt and what is judged, in tokens."""
        request = self.request
        documents = self._rendered(request.data)
        if request.held_out is None:
            return split_held_out(documents, HELD_OUT_SHARE, request.seed)
        judged = sample(self._rendered(request.held_out), request.seed)
        require_apart(documents, judged)
        return documents, judged

    def _rendered(self, path: Path) -> Sequence[Document]:
        with open_tokenizer(self.model) as tokenizer:
            if tokenizer.template.notice:
                self.notices.append(tokenizer.template.notice)
            template = DatedTemplate(tokenizer.template, self._today)
            documents = [
                document
                for example in read_examples(path)
                for document in render(example, template, tokenizer.vocabulary, self.request.train_on_all)
            ]
        fitting = cut(documents, self.request.context)
        if fitting.notice:
            self.notices.append(fitting.notice)
        return fitting.documents

    def _corpus(self, learnt: Sequence[Document], judged: Sequence[Document]) -> Corpus:
        request = self.request
        per_step = max(1, request.batch // request.micro_tokens)
        steps = Steps(learnt, request.micro_tokens, per_step, request.seed)
        held_out = batches(pack(judged, request.micro_tokens, request.seed, 0), per_step)
        self.recipe = self._recipe(request.steps or steps.n_steps(request.epochs))
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

    def _plan(self, n_weights: int) -> TuningPlan:
        """With this process as it is now, everything imported and the data in tokens."""
        request = self.request
        find_footing(self.threads)
        held = process_memory()
        process = ProcessBytes(held.anonymous_bytes + held.shared_bytes, held.file_bytes, "measured")
        budget = (
            default_budget(available_bytes(), held.resident_bytes)
            if request.ram is None
            else parse_size(request.ram)
        )
        tokens = max(request.batch, request.micro_tokens)
        batch = Batch(tokens, request.micro_tokens, n_weights)
        return plan_tuning(anatomy(self.model), batch, process, budget, self._vram_bytes)

    def _job(self, learnt: Iterable[Document], judged: Iterable[Document]) -> dict[str, Any]:
        """All that decides the bits of the result."""
        request = self.request
        return {
            "model": [[found.size_bytes, found.modified_ns] for found in self.model.fingerprints],
            "data": digest(learnt),
            "held-out data": digest(judged),
            "targets": [part.value for part in request.parts],
            "rank": request.rank,
            "alpha": request.scaling,
            "seed": request.seed,
            "batch": request.batch,
            "context": request.context,
            "recipe": {name: value for name, value in vars(self.recipe).items() if name != "save_every_s"},
            "threads": self.threads,
            "date": self._today.isoformat(),
            "device": "cpu" if request.vram is None else "cuda",
            "torch": torch.__version__,
        }

    def _earlier(self) -> State | None:
        """Where an earlier sitting left off. Raises UsageError, TrainingError."""
        folder, path = self.output, self.output / STATE
        if (folder / DONE).exists():
            raise UsageError(f"{folder} holds a finished adapter", cure="name another folder with -o")
        if self.request.resume:
            if not path.exists():
                raise UsageError(f"{folder} holds no run to go on with", cure="leave --resume out")
            return load_state(path)
        if path.exists():
            cure = "go on with --resume, or name another folder with -o"
            raise UsageError(f"{folder} holds a run that is not finished", cure=cure)
        return None

    def _announce(self, n_weights: int, learnt: Sequence[Document], judged: Sequence[Document]) -> None:
        request, recipe = self.request, self.recipe
        n_tokens = sum(len(document) for document in learnt)
        say(f"{self.model.name}: {self.plan.explain()}")
        say(
            f"adapter of rank {request.rank}, alpha {request.scaling:g}, on {', '.join(request.parts)}: "
            f"{n_weights / 1e6:.2f} million weights"
        )
        say(
            f"{len(learnt)} documents with {n_tokens} tokens, {len(judged)} held out; "
            f"{recipe.steps} steps of {request.batch} tokens"
        )
        say(
            f"{recipe.optimiser}, learning rate {recipe.learning_rate:g} after {recipe.warmup_steps} steps, "
            f"then a cosine; gradient clipped at {recipe.clip:g}; stops after {recipe.patience} held-out "
            "losses that are not the lowest"
        )
        for notice in self.notices:
            say(notice)

    def _train(self, trainer: Trainer) -> None:
        """A run that diverges still leaves the best adapter it came past."""
        try:
            trainer.run(self.bar)
        except TrainingError as error:
            if not trainer.progress.held_out or trainer.progress.best[0] == 0:
                raise
            self._write(trainer)
            step, loss = trainer.progress.best
            kept = f"the adapter as it was after {step} steps (held-out loss {loss:.4f}) is in {self.output}"
            raise TrainingError(error.what, f"{error.numbers}; {kept}", error.cure) from error

    def _write(self, trainer: Trainer) -> None:
        """The adapter in both formats, the losses, the picture; then the state is no longer needed."""
        folder, run = self.output, trainer.progress
        lora = self.adapter.to_lora(self.model.architecture, trainer.best_tensors())
        self._write_peft(folder, lora)
        losses = {"losses": run.losses, "held_out": run.held_out}
        replace_file(folder / "loss.json", json.dumps(losses))
        if run.losses and not draw_losses(folder / "loss.svg", run.losses, run.held_out, self.model.name):
            self.notices.append('no picture of the losses: pip install "sixgig[plot]"')
        if self.request.merge is not None:
            self._merge(lora, self.request.merge)
        write_lora(folder / DONE, lora, f"{self.model.name} {folder.name}")
        (folder / STATE).unlink(missing_ok=True)

    def _write_peft(self, folder: Path, lora: Lora) -> None:
        if notice := write_peft(folder, self.model, lora):
            self.notices.append(notice)

    def _merge(self, lora: Lora, path: Path) -> None:
        with PromptBar(f"merging into {path.name}") as bar:
            grown = merge(self.model, lora, path, self.threads, bar)
        if grown:
            types = ", ".join(sorted({kind.name for kind in grown.values()}))
            self.notices.append(
                f"{path}: {format_bytes(path.stat().st_size)}; {len(grown)} tensors are in {types} now, since "
                "their own types would round the change away"
            )
