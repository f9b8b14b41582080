"""What was asked of `sixgig tune`, checked before anything is read."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sixgig.cli.opening import at_least
from sixgig.errors import UsageError
from sixgig.finetune.adapter import Part
from sixgig.finetune.optimisers import LEARNING_RATES
from sixgig.units import parse_size

MICRO_TOKENS = 1024


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
            _require_new(self.merge)
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
        return max(self.context, min(self.batch, MICRO_TOKENS))

    @property
    def micro_batches(self) -> int:
        """Micro-batches in a step: one at least, even if the longest document is longer than --batch."""
        return max(1, self.batch // self.micro_tokens)


def _require_new(path: Path) -> None:
    """A file can be made there, and none is replaced."""
    if not path.absolute().parent.is_dir():
        raise UsageError(f"cannot write {path}", f"no folder {path.parent}", "make it first")
    if path.exists():
        raise UsageError(f"{path} exists", cure="name another file with --merge")
