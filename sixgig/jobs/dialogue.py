"""Turns with an open model that remember each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import NoneType

from sixgig.errors import UsageError
from sixgig.inference import Asking, Sampler, TextRun
from sixgig.inference.conversation import Progress
from sixgig.inference.file_sampling import FileSampling
from sixgig.jobs.answers import Answer, OneAtATime
from sixgig.typed import at_least, require

Thinking = Callable[[str], object]


class Dialogue:
    """Turns of one chat, or of a text that goes on, on an open model; made by Model.converse().

    sampling: how tokens are chosen, and what of that the file asked for. seed: of all draws of all turns.
    """

    def __init__(
        self,
        asking: Asking,
        sampling: FileSampling,
        sampler: Sampler,
        turns: OneAtATime,
        begin: Callable[[Callable[[Progress], TextRun]], Answer],
    ) -> None:
        self.sampling, self.seed = sampling, sampler.seed
        self._asking, self._sampler, self._turns, self._begin = asking, sampler, turns, begin

    def ask(
        self,
        text: str,
        max_tokens: int | None = None,
        *,
        stop: str | Sequence[str] | None = None,
        thinking: Thinking | None = None,
    ) -> Answer:
        """The next answer, piece by piece. Where the context has room for `text` alone, not for all that was
        said, the earlier turns are forgotten; result.dropped_turns says how many. stop: a string or several
        that end the answer and are no part of it.

        A turn is kept once its answer has ended, or was left after it had said something. Of one that failed
        nothing stays.
        """
        require_count(max_tokens)
        require("a text", text, str)
        ends, thought = stop_strings(stop), thinking or unheard
        return self._begin(
            lambda progress: self._asking.ask(text, max_tokens, self._sampler, ends, progress, thought)
        )

    @property
    def kept(self) -> bool:
        """Was the last turn kept?"""
        return self._asking.kept

    def take_back(self) -> None:
        """Forget the last turn, if it was kept; of no effect twice."""
        self._turns.alone(self._asking.take_back)

    def clear(self) -> None:
        """Forget all turns."""
        self._turns.alone(self._asking.clear)


def require_count(max_tokens: int | None) -> None:
    """UsageError for a length that cannot be."""
    require("--max-tokens", max_tokens, int, NoneType)
    at_least(1, "--max-tokens", max_tokens)


def unheard(piece: str) -> None:
    """Thinking that nobody asked to hear."""


def stop_strings(stop: str | Sequence[str] | None) -> tuple[str, ...]:
    """Those given: a string alone is one, as with OpenAI's API, not one for each letter. UsageError for
    what ends no text.
    """
    strings = (stop,) if isinstance(stop, str) else () if stop is None else stop
    require("stop", strings, Sequence)
    for string in strings:
        require("a stop string", string, str)
        if not string:
            raise UsageError("a stop string is empty", cure="give one of a character or more")
    return tuple(strings)
