"""What may be asked for of a run of tuning, and what comes of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sixgig.errors import UsageError
from sixgig.finetune.choices import DEFAULT_PARTS, LEARNING_RATES, LEAST_RATE, MOST_RATE, Part
from sixgig.jobs.opening import require_resources
from sixgig.jobs.reporter import Request
from sixgig.typed import within

if TYPE_CHECKING:  # these import PyTorch, which takes seconds
    from sixgig.finetune.train import Recipe
    from sixgig.finetune.verdict import Verdict
    from sixgig.hardware import Absent
    from sixgig.planning.tuning import TuningPlan

DEFAULT_CONTEXT = 1024
DEFAULT_TARGETS = tuple(part.value for part in DEFAULT_PARTS)
MOST, MOST_EPOCHS, MOST_THREADS = 1 << 30, 1000, 512


@dataclass(frozen=True)
class TuneRequest(Request):
    """model: a GGUF file of any type, or hf:OWNER/REPO[:QUANT|:FILE].
    data: the file to learn: plain text, or rows as sixgig.finetune.examples lists them.
    output: the folder to make.
    ram: bytes for the whole process, by default what is free, less a margin.
    vram: compute on an NVIDIA GPU, with this much of its memory; by default, and with 0, on the processor.
    held_out: the file to judge on, by default a part of data set apart.
    epochs: times to go through data at most, by default 2, up to 12 where it is small.
    steps: at most, instead of epochs.
    targets: names of the parts to adapt, of attention, dense, shared and experts.
    rank: of the adapter.
    alpha: its scale times its rank, by default twice the rank.
    optimizer: adamw or muon.
    learning_rate: its peak, by default 0.0002 for adamw, 0.001 for muon.
    batch: tokens in a step, by default 4096, fewer where data is small.
    context: tokens of the longest document, longer ones are cut; by default 1024, or what the model was
    trained for where that is less.
    train_on_all: learn prompts too, not only answers.
    seed: decides the order of data and the start.
    save_every_s: seconds between two saved states.
    resume: go on with the run that output holds.
    merge: also write this GGUF file, the model with the adapter merged in.
    threads: that compute, by default one for each performance core.
    reporter: who hears of steps and progress, and may cancel.

    Raises UsageError for what cannot be.
    """

    model: str | Path
    data: str | Path
    output: str | Path
    _: KW_ONLY
    ram: int | None = None
    vram: int | None = None
    held_out: str | Path | None = None
    epochs: int | None = None
    steps: int | None = None
    targets: str | Sequence[str] = DEFAULT_TARGETS
    rank: int = 16
    alpha: float | None = None
    optimizer: str = "adamw"
    learning_rate: float | None = None
    batch: int | None = None
    context: int | None = None
    train_on_all: bool = False
    seed: int = 0
    save_every_s: float = 600.0
    resume: bool = False
    merge: str | Path | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        """Refuse before anything is read."""
        super().__post_init__()
        if self.optimizer not in LEARNING_RATES:
            known = f"known: {', '.join(LEARNING_RATES)}"
            raise UsageError(f"there is no optimiser {self.optimizer!r}", cure=known)
        self._check_numbers()
        if (output := Path(self.output)).exists() and not output.is_dir():
            raise UsageError(f"cannot write into {output}", "it is no folder", "name another with -o")
        if self.merge is not None:
            _require_new(Path(self.merge), output)
        _ = self.parts

    def _check_numbers(self) -> None:
        require_resources(self.ram, self.vram, None)
        within("--rank", self.rank, 1, MOST)
        within("--batch", self.batch, 1, MOST)
        within("--steps", self.steps, 1, MOST)
        within("--epochs", self.epochs, 1, MOST_EPOCHS)
        within("--context", self.context, 2, MOST)
        within("--threads", self.threads, 1, MOST_THREADS)
        within("--learning-rate", self.peak_rate, LEAST_RATE, MOST_RATE)
        within("--alpha", self.scaling, 1e-6, 1e9)
        within("--save-every, in seconds,", self.save_every_s, 0, 6e7)

    @property
    def parts(self) -> tuple[Part, ...]:
        """Which parts are adapted; a string is the name of one."""
        names = (self.targets,) if isinstance(self.targets, str) else tuple(self.targets)
        try:
            return tuple(map(Part, names or ("",)))
        except ValueError as error:
            what = f"--targets of {','.join(map(str, names))!r} names no part"
            raise UsageError(what, cure=f"known: {', '.join(Part)}") from error

    @property
    def peak_rate(self) -> float:
        """The learning rate's peak."""
        return LEARNING_RATES[self.optimizer] if self.learning_rate is None else self.learning_rate

    @property
    def scaling(self) -> float:
        """Alpha."""
        return 2.0 * self.rank if self.alpha is None else self.alpha

    def context_of(self, trained: int | None) -> int:
        """Tokens of a document at most, for a model trained on so many. UsageError for more than those."""
        if self.context is None:
            return min(DEFAULT_CONTEXT, trained or DEFAULT_CONTEXT)
        if trained and self.context > trained:
            what = f"--context of {self.context} is longer than the model was trained for"
            raise UsageError(what, f"{trained} tokens", "shorten it")
        return self.context


@dataclass(frozen=True)
class TuneResult:
    """What came of a run; losses are nats a token.

    adapter: the GGUF file, for llama.cpp and sixgig. folder: it, PEFT's files and the losses. merged: the
    file with the adapter merged in, where one was asked for and there was something to merge.

    losses: of each step's batch. held_out: (after how many steps, loss), of n_judged documents. The adapter
    is the one after best_step steps, with loss_after. steps: taken in all sittings, of recipe.steps; epochs:
    how often they went through data. tokens: learnt from. verdict: what the run came to.

    seconds: of all sittings. seconds_per_step: the median of this sitting's, 0.0 where it had none. joules:
    of the processor in this sitting, its idle share included. bytes_read: of the model file in this sitting.
    notices: what to know of data. findings: what to know of the result.
    """

    adapter: Path
    folder: Path
    merged: Path | None
    verdict: Verdict
    losses: tuple[float, ...]
    held_out: tuple[tuple[int, float], ...]
    best_step: int
    loss_before: float
    loss_after: float
    n_judged: int
    steps: int
    epochs: float
    tokens: int
    tokens_per_step: int
    seconds: float
    seconds_per_step: float
    joules: float | Absent
    bytes_read: int
    peak_memory_bytes: int
    plan: TuningPlan
    recipe: Recipe
    rank: int
    alpha: float
    targets: tuple[str, ...]
    n_weights: int
    notices: tuple[str, ...]
    findings: tuple[str, ...]


def _require_new(path: Path, output: Path) -> None:
    """A file can be made there, none is replaced, and it is none of the adapter's own."""
    folder = path.absolute().parent
    if folder.resolve() == output.absolute().resolve():
        raise UsageError(
            f"{path} is among the adapter's own files", cure="name a file outside OUT with --merge"
        )
    if not folder.is_dir():
        raise UsageError(f"cannot write {path}", f"no folder {path.parent}", "make it first")
    if os.path.lexists(path):
        raise UsageError(f"{path} exists", cure="name another file with --merge")
