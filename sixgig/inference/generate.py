"""Generate text, piece by piece, and measure it."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from sixgig.inference.engine import Engine
from sixgig.inference.sampling import Sampler
from sixgig.inference.tokens import TextStream


@dataclass
class Generation:
    """What was generated and how fast; grows while the text streams.

    prompt_tokens: length of the prompt; prefill_tokens: those evaluated, the rest was in the KV cache.
    decode_steps: evaluations of one token each, one fewer than tokens (the first comes from the prompt's).
    finish: "end" (the model ended), "stop" (a stop string), "length" (max_tokens), "context" (it is full),
        or "" while running or interrupted.
    """

    prompt_tokens: int = 0
    prefill_tokens: int = 0
    prefill_s: float = 0.0
    decode_steps: int = 0
    decode_s: float = 0.0
    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    finish: str = ""

    @property
    def prefill_tokens_per_s(self) -> float:
        """Prompt tokens evaluated per second, 0.0 when none were."""
        return self.prefill_tokens / self.prefill_s if self.prefill_s > 0 else 0.0

    @property
    def decode_tokens_per_s(self) -> float:
        """Tokens decoded per second, 0.0 when none were."""
        return self.decode_steps / self.decode_s if self.decode_s > 0 else 0.0


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


def generate(
    engine: Engine,
    prompt: Sequence[int],
    max_tokens: int | None,
    sampler: Sampler,
    stop: Sequence[str] = (),
    *,
    progress: Callable[[float], object] | None = None,
    ignore_end: bool = False,
) -> TextRun:
    """Continue `prompt` by at most `max_tokens` (None: until the context is full).

    A stop string is not part of the text; the token that ends a generation is not part of token_ids.
    `progress` gets the fraction of the prompt done. `ignore_end` goes on past the end, for measuring.
    Work happens as the result is iterated; errors as Engine.prefill and Engine.feed raise them.
    """
    result = Generation(prompt_tokens=len(prompt))
    tokens = _tokens(engine, prompt, max_tokens, sampler, result, progress, ignore_end)
    return TextRun(_pieces(engine, tokens, StopStrings(stop), result), result)


def _tokens(
    engine: Engine,
    prompt: Sequence[int],
    max_tokens: int | None,
    sampler: Sampler,
    result: Generation,
    progress: Callable[[float], object] | None,
    ignore_end: bool,
) -> Iterator[int]:
    """Prefill, then sample and decode in turn."""
    started = time.perf_counter()
    result.prefill_tokens = engine.prefill(prompt, progress)
    result.prefill_s = time.perf_counter() - started
    while not result.finish and len(result.token_ids) != max_tokens:
        token = sampler.sample(engine)
        if engine.vocabulary.is_end(token) and not ignore_end:
            result.finish = "end"
            return
        result.token_ids.append(token)
        yield token
        if len(result.token_ids) != max_tokens:
            _decode(engine, token, result)
    result.finish = result.finish or "length"


def _decode(engine: Engine, token: int, result: Generation) -> None:
    if engine.room == 0:
        result.finish = "context"
        return
    started = time.perf_counter()
    engine.feed([token])
    result.decode_s += time.perf_counter() - started
    result.decode_steps += 1


def _pieces(engine: Engine, tokens: Iterator[int], stop: "StopStrings", result: Generation) -> Iterator[str]:
    stream = TextStream(engine.vocabulary)
    for token in tokens:
        piece = stop.feed(stream.feed(token))
        if piece:
            result.text += piece
            yield piece
        if stop.found:
            result.finish = "stop"
            return
    rest = stop.feed(stream.finish()) + stop.finish()
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
