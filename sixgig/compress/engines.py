"""What shrinking needs of whoever runs models: the one door to the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from sixgig.evaluate.log_probabilities import Logits
from sixgig.llamacpp.disturb import Watcher
from sixgig.modelfile import ModelFile


class OpenModel(Protocol):
    """A model that is open."""

    def feed(self, tokens: Sequence[int]) -> None:
        """Evaluate a window from an empty context."""

    def logits_of(self, tokens: Sequence[int], first: int) -> Iterable[Logits]:
        """As evaluate.LogitsOf."""

    def tokenize(self, text: str) -> list[int]:
        """The text's tokens, special ones added as the vocabulary wants them."""

    @property
    def bos(self) -> int | None:
        """The token that begins a text, None when the vocabulary adds none."""


class Engines(Protocol):
    """Opens models within the memory of the run, one at a time."""

    def open(
        self,
        model: ModelFile,
        context: int,
        observe: Watcher | None = None,
        beside_bytes: int = 0,
    ) -> AbstractContextManager[OpenModel]:
        """The model while the block runs. beside_bytes: what the caller holds meanwhile."""

    def fits(self, model: ModelFile) -> bool:
        """Whether the model would be held whole, so that many passes are cheap."""

    def progress(self, label: str) -> AbstractContextManager[Callable[[float], object]]:
        """A bar that takes the fraction done."""

    def say(self, line: str) -> None:
        """A line for whoever waits."""
