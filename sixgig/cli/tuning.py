"""One `sixgig tune`: the options made sense of, data to batches, the run, and what comes out of it."""

from __future__ import annotations

import json
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from sixgig.atomic import replace_file
from sixgig.checkpoint.peft import write_peft
from sixgig.cli.console import PromptBar
from sixgig.cli.loss_picture import draw_losses
from sixgig.cli.terminal import say
from sixgig.cli.tune_bar import TuningBar
from sixgig.cli.tune_documents import Documents, read_documents
from sixgig.cli.tune_request import Request
from sixgig.compress.merge import merge
from sixgig.errors import TrainingError, UsageError
from sixgig.finetune.adapter import Adapter, Target, targets
from sixgig.finetune.footing import find_footing
from sixgig.finetune.net import build_net
from sixgig.finetune.packing import Steps, digest, pack
from sixgig.finetune.session import Setup, device_of, open_trainer
from sixgig.finetune.state import Progress, State, load_state, require_same
from sixgig.finetune.train import Corpus, Recipe, Trainer, batches
from sixgig.hardware import Peak, PeakSampler, available_bytes, process_memory, this_processor
from sixgig.modelfile import ModelFile, open_model, resolve
from sixgig.modelfile.lora import Lora, write_lora
from sixgig.plan import ProcessBytes, anatomy, default_budget
from sixgig.plan.tuning import STATE_BYTES, Batch, TuningPlan, plan_tuning
from sixgig.units import format_bytes, parse_size

WARMUP_SHARE, CLIP, PATIENCE, EVALUATIONS = 0.05, 1.0, 3, 10
STATE = "state.safetensors"
DONE = "adapter.gguf"


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
        device_of(self._vram_bytes)
        self.model = open_model(resolve(self.request.model))
        net, wanted = build_net(self.model), targets(self.model, self.request.parts)
        self._require_trained_length()
        state = self._earlier()
        with PeakSampler() as sampler:
            documents = self._read(state)
            corpus = self._corpus(documents)
            self.plan = self._plan(n_weights := sum(t.n_weights(self.request.rank) for t in wanted))
            self._require_disk(n_weights)
            job = self._job(documents, state)
            self._announce(n_weights, documents)
            setup = self._setup(wanted)
            opened = open_trainer(net, self.plan, setup, self.recipe, corpus, self._state_path, job, state)
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

    @property
    def _state_path(self) -> Path:
        return self.output / STATE

    def _setup(self, wanted: tuple[Target, ...]) -> Setup:
        request = self.request
        return Setup(wanted, request.rank, request.scaling, request.seed, self.threads, self._vram_bytes)

    def _read(self, state: State | None) -> Documents:
        """A run that goes on goes on in its own day."""
        now = datetime.now().replace(microsecond=0)
        self._today = now if state is None else datetime.fromisoformat(state.job["date"])
        documents = read_documents(self.model, self.request, self._today)
        self.notices = list(documents.notices)
        return documents

    def _corpus(self, documents: Documents) -> Corpus:
        request = self.request
        steps = Steps(documents.learnt, request.micro_tokens, request.micro_batches, request.seed)
        judged = pack(documents.judged, request.micro_tokens, request.seed, 0)
        held_out = batches(judged, request.micro_batches)
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
        batch = Batch(request.micro_batches * request.micro_tokens, request.micro_tokens, n_weights)
        return plan_tuning(anatomy(self.model), batch, process, budget, self._vram_bytes)

    def _require_trained_length(self) -> None:
        asked, trained = self.request.context, self.model.context_length
        if asked > trained:
            what = f"--context of {asked} is longer than the model was trained for"
            raise UsageError(what, f"{trained} tokens", "shorten it")

    def _require_disk(self, n_weights: int) -> None:
        """Room for two states of the run, for both adapters, and for a merged file."""
        merged = 0 if self.request.merge is None else self.model.size_bytes
        needed = 2 * STATE_BYTES * n_weights + merged
        there = next(folder for folder in (self.output, *self.output.absolute().parents) if folder.is_dir())
        free = shutil.disk_usage(there).free
        if needed > free:
            numbers = f"about {format_bytes(needed)} needed, {format_bytes(free)} free"
            raise UsageError(f"the disk under {there} has no room for the result", numbers, "make room")

    def _job(self, documents: Documents, state: State | None) -> dict[str, Any]:
        """What decides the bits of the result, as in an earlier sitting; afterwards there is a folder."""
        job = self._identity(documents)
        if state is not None:
            require_same(state, job, self._state_path)
        self.output.mkdir(parents=True, exist_ok=True)
        return job

    def _identity(self, documents: Documents) -> dict[str, Any]:
        request = self.request
        return {
            "model": [[found.size_bytes, found.modified_ns] for found in self.model.fingerprints],
            "data": digest(documents.learnt),
            "held-out data": digest(documents.judged),
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
        folder, path = self.output, self._state_path
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

    def _announce(self, n_weights: int, documents: Documents) -> None:
        request, recipe = self.request, self.recipe
        n_tokens = sum(len(document) for document in documents.learnt)
        say(f"{self.model.name}: {self.plan.explain()}")
        say(
            f"adapter of rank {request.rank}, alpha {request.scaling:g}, on {', '.join(request.parts)}: "
            f"{n_weights / 1e6:.2f} million weights"
        )
        say(
            f"{len(documents.learnt)} documents with {n_tokens} tokens, {len(documents.judged)} held out; "
            f"{recipe.steps} steps of at most {request.micro_batches * request.micro_tokens} tokens"
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
        write_lora(folder / DONE, lora, f"{self.model.name} tuned")
        self._state_path.unlink(missing_ok=True)

    def _write_peft(self, folder: Path, lora: Lora) -> None:
        if notice := write_peft(folder, self.model, lora):
            self.notices.append(notice)

    def _merge(self, lora: Lora, path: Path) -> None:
        with PromptBar(f"merging into {path.name}") as bar:
            grown = merge(self.model, lora, path, self.threads, bar)
        if grown:
            types = ", ".join(sorted({kind.name for kind in grown.values()}))
            self.notices.append(
                f"{path}: {format_bytes(path.stat().st_size)}; {len(grown)} tensors are in {types} now, "
                "since their own types would round the change away"
            )
