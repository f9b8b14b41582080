"""Generate text, piece by piece, and measure it."""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from sixgig.inference.engine import Engine
from sixgig.inference.sampling import Sampler
from sixgig.inference.tokens import TextStream, Vocabulary


@dataclass
class Generation:
    """What was generated and how fast; grows while the text streams.

    prompt_tokens: length of the prompt; prefill_tokens: those evaluated, the rest was in the KV cache.
    prefill_s: until the first token was chosen. decode_steps: evaluations of one token each, each followed by
        the choice of the next. decode_s: from the first choice to the last, with all that is done for a token
        (evaluated, chosen, made text), less what whoever reads the text takes. So decode_tokens_per_s is
        what a stopwatch beside the loop shows.
    text: what is said; reasoning: the thinking before it, where the reader tells them apart.
    dropped_turns: of the chat, for which the context had no room.
    finish: "end" (the model ended), "stop" (a stop string), "length" (max_tokens), "context" (it is full),
        "stopped" (Model.stop), or "" while running or interrupted.
    """

    prompt_tokens: int = 0
    prefill_tokens: int = 0
    prefill_s: float = 0.0
    decode_steps: int = 0
    decode_s: float = 0.0
    text: str = ""
    reasoning: str = ""
    token_ids: list[int] = field(default_factory=list)
    finish: str = ""
    dropped_turns: int = 0

    @property
    def prefill_tokens_per_s(self) -> float:
        """Prompt tokens evaluated per second, 0.0 when none were."""
        return self.prefill_tokens / self.prefill_s if self.prefill_s > 0 else 0.0

    @property
    def decode_tokens_per_s(self) -> float:
        """Tokens decoded per second, 0.0 when none were."""
        return self.decode_steps / self.decode_s if self.decode_s > 0 else 0.0


class Reader(Protocol):
    """Makes text of tokens."""

    @property
    def ended(self) -> bool:
        """Was a stop string found?"""

    @property
    def reasoning(self) -> str:
        """The thinking so far."""

    def feed(self, token: int) -> str:
        """The text that became certain with `token`; may be empty."""

    def finish(self) -> str:
        """What was held back, the answer being over."""


class TextReader:
    """All tokens but control tokens as text, up to the first stop string. Nothing is thinking."""

    reasoning = ""

    def __init__(self, vocabulary: Vocabulary, stop: Sequence[str] = ()) -> None:
        self._stream, self._stop = TextStream(vocabulary), StopStrings(stop)

    @property
    def ended(self) -> bool:
        """As Reader."""
        return self._stop.found

    def feed(self, token: int) -> str:
        """As Reader."""
        return self._stop.feed(self._stream.feed(token))

    def finish(self) -> str:
        """As Reader."""
        return "" if self.ended else self._stop.feed(self._stream.finish()) + self._stop.finish()


class TextRun:
    """An iterator over the text of one generation; `result` may be read at any time."""

    def __init__(self, pieces: Iterator[str], result: Generation) -> None:
        self._pieces = pieces
        self.result = result

    def __iter__(self) -> Iterator[str]:
        """Itself."""
        return self

    def __next__(self) -> str:
        """The next piece of text, never empty."""
        return next(self._pieces)

    def close(self) -> None:
        """Leave the rest; safe to call twice."""
        if isinstance(self._pieces, Generator):
            self._pieces.close()


def generate(
    engine: Engine,
    prompt: Sequence[int],
    max_tokens: int | None,
    sampler: Sampler,
    stop: Sequence[str] = (),
    *,
    reader: Reader | None = None,
    progress: Callable[[float], object] | None = None,
    ignore_end: bool = False,
) -> TextRun:
    """Continue `prompt` by at most `max_tokens` (None: until the context is full).

    A stop string is not part of the text; the token that ends a generation is not part of token_ids. `reader`
    makes the text, instead of a TextReader with `stop`.
    `progress` gets the fraction of the prompt done. `ignore_end` goes on past the end, for measuring.
    Work happens as the result is iterated; errors as Engine.prefill and Engine.feed raise them.
    """
    result, clock = Generation(prompt_tokens=len(prompt)), _Clock()
    tokens = _tokens(engine, prompt, max_tokens, sampler, result, clock, progress, ignore_end)
    reader = reader or TextReader(engine.vocabulary, stop)
    return TextRun(_pieces(tokens, reader, result, clock), result)


class _Clock:
    """Seconds since start(), less those that whoever reads the text took."""

    def __init__(self) -> None:
        self._started = self._away_s = 0.0

    def start(self) -> None:
        self._started, self._away_s = time.perf_counter(), 0.0

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._started - self._away_s

    @contextmanager
    def away(self) -> Iterator[None]:
        left = time.perf_counter()
        try:
            yield
        finally:
            self._away_s += time.perf_counter() - left


def _tokens(
    engine: Engine,
    prompt: Sequence[int],
    max_tokens: int | None,
    sampler: Sampler,
    result: Generation,
    clock: _Clock,
    progress: Callable[[float], object] | None,
    ignore_end: bool,
) -> Iterator[int]:
    """Prefill, then sample and decode in turn."""
    sampler.heed(prompt)
    clock.start()
    result.prefill_tokens = engine.prefill(prompt, progress)
    result.prefill_s = clock.seconds
    while len(result.token_ids) != max_tokens:
        token = sampler.sample(engine)
        if result.decode_steps:
            result.decode_s = clock.seconds
        else:
            result.prefill_s = clock.seconds
            clock.start()
        if engine.vocabulary.is_end(token) and not ignore_end:
            result.finish = "end"
            return
        result.token_ids.append(token)
        yield token
        if len(result.token_ids) == max_tokens:
            break
        if engine.room == 0:
            result.finish = "context"
            return
        engine.feed([token])
        result.decode_steps += 1
        result.decode_s = clock.seconds
    result.finish = "length"


def _pieces(tokens: Iterator[int], reader: Reader, result: Generation, clock: _Clock) -> Iterator[str]:
    for token in tokens:
        piece = reader.feed(token)
        result.reasoning = reader.reasoning
        if piece:
            result.text += piece
            with clock.away():
                yield piece
        if reader.ended:
            result.finish = "stop"
            return
    rest = reader.finish()
    result.reasoning = reader.reasoning
    if rest:
        result.text += rest
        yield rest


class StopStrings:
    """Lets text through up to the first stop string, holding back what might become one."""

    def __init__(self, strings: Sequence[str]) -> None:
        self._strings = tuple(string for string in strings if string)
        self._held = ""
        self.found = False

    def feed(self, text: str) -> str:
        """The part of the text so far that is certain not to belong to a stop string."""
        self._held += text
        cuts = [at for string in self._strings if (at := self._held.find(string)) >= 0]
        self.found = self.found or bool(cuts)
        keep = min(cuts) if cuts else len(self._held) - self._undecided()
        passed, self._held = self._held[:keep], "" if cuts else self._held[keep:]
        return passed

    def finish(self) -> str:
        """What was held back and never became a stop string."""
        rest, self._held = self._held, ""
        return rest

    def _undecided(self) -> int:
        """Length of the longest tail that begins a stop string."""
        return max((_overlap(self._held, string) for string in self._strings), default=0)


def _overlap(text: str, string: str) -> int:
    """Length of the longest tail of `text` that `string` begins with, short of all of it."""
    sizes = range(min(len(string) - 1, len(text)), 0, -1)
    return next((size for size in sizes if text.endswith(string[:size])), 0)
