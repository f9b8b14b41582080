"""What was asked of `sixgig tune`, checked before anything is read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from sixgig.errors import UsageError
from sixgig.finetune.adapter import Part
from sixgig.finetune.optimisers import LEARNING_RATES, LEAST_RATE, MOST_RATE
from sixgig.finetune.schedule import BATCH_TOKENS, EPOCHS, batch_tokens
from sixgig.units import format_number, parse_memory, parse_size

MICRO_TOKENS = 1024
MOST, MOST_EPOCHS, MOST_THREADS = 1 << 30, 1000, 512


@dataclass(frozen=True)
class Request:
    """The options as typed; None means the default. Raises UsageError for what cannot be.

    longest: of the documents, in tokens, once they were read.
    """

    model: str
    data: Path
    output: Path
    ram: str | None
    vram: str | None
    held_out: Path | None
    epochs: int | None
    steps: int | None
    targets: str
    rank: int
    alpha: float | None
    optimizer: str
    learning_rate: float | None
    batch: int | None
    context: int
    train_on_all: bool
    seed: int
    save_every_s: float
    resume: bool
    merge: Path | None
    threads: int | None
    longest: int | None = None

    def __post_init__(self) -> None:
        """Refuse before anything is read."""
        if self.ram is not None:
            parse_memory(self.ram)
        if self.vram is not None:
            parse_size(self.vram)
        self._check_numbers()
        if self.output.exists() and not self.output.is_dir():
            raise UsageError(f"cannot write into {self.output}", "it is no folder", "name another with -o")
        if self.merge is not None:
            _require_new(self.merge, self.output)
        _ = self.parts

    def _check_numbers(self) -> None:
        _within("--rank", self.rank, 1, MOST)
        _within("--batch", self.most_tokens, 1, MOST)
        _within("--steps", 1 if self.steps is None else self.steps, 1, MOST)
        _within("--epochs", self.least_epochs, 1, MOST_EPOCHS)
        _within("--context", self.context, 2, MOST)
        _within("--threads", 1 if self.threads is None else self.threads, 1, MOST_THREADS)
        _within("--learning-rate", self.peak_rate, LEAST_RATE, MOST_RATE)
        _within("--alpha", self.scaling, 1e-6, 1e9)
        _within("--save-every", self.save_every_s / 60, 0, 1e6)

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
    def vram_bytes(self) -> int | None:
        """Of the GPU that computes; None where the processor does."""
        return (parse_size(self.vram) or None) if self.vram else None

    @property
    def most_tokens(self) -> int:
        """Of a step, as asked."""
        return BATCH_TOKENS if self.batch is None else self.batch

    @property
    def least_epochs(self) -> int:
        """As asked; by default more where DATA is small."""
        return EPOCHS if self.epochs is None else self.epochs

    def fitted_to(self, lengths: Sequence[int]) -> Request:
        """For documents of these lengths: with a batch that suits them, where none was asked for."""
        batch = batch_tokens(lengths, self.least_epochs) if self.batch is None else self.batch
        return replace(self, batch=batch, longest=max(lengths))

    @property
    def micro_tokens(self) -> int:
        """Tokens that go through attention together: memory does not decide it, so nor does it the bits."""
        longest = self.context if self.longest is None else self.longest
        return max(longest, min(self.most_tokens, MICRO_TOKENS))

    @property
    def micro_batches(self) -> int:
        """Micro-batches in a step: one at least, even if the longest document is longer than the batch."""
        return max(1, self.most_tokens // self.micro_tokens)

    @property
    def step_tokens(self) -> int:
        """Tokens in a step at most."""
        return self.micro_batches * self.micro_tokens


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise UsageError(f"{name} of {format_number(value)} is not possible", f"from {low:g} to {high:g}")


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
