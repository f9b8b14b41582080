"""Turns over one KV cache: a chat, or a text that is continued."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from sixgig.inference.answer import AnswerReader
from sixgig.inference.chat import Message
from sixgig.inference.chat_format import ChatFormat, Turn
from sixgig.inference.engine import Engine, Stopped
from sixgig.inference.generate import Reader, TextReader, TextRun, generate
from sixgig.inference.sampling import Sampler
from sixgig.inference.tokens import Vocabulary

Progress = Callable[[float], object]


class Asking(Protocol):
    """What answers: a Conversation or a Continuation.

    A turn is kept once its answer has ended, or was left after it had said something. Of one that failed, or
    was left before, nothing stays: the next prompt is as if it had never been asked.
    """

    kept: bool
    """Was the last turn kept?"""

    def ask(
        self,
        content: str,
        max_tokens: int | None,
        sampler: Sampler,
        stop: Sequence[str] = (),
        progress: Progress | None = None,
        thinking: Callable[[str], object] = lambda piece: None,
    ) -> TextRun:
        """The answer, streaming; `thinking` gets the reasoning meanwhile.

        Where the context has no room for all that was said and `content`, but for `content` alone, the
        earlier turns are dropped; result.dropped_turns says how many.
        """

    def take_back(self) -> None:
        """Forget the last turn, if it was kept; of no effect twice."""

    def clear(self) -> None:
        """Forget all turns, in the KV cache too."""


class Conversation:
    """Turns of a chat; each prompt continues the tokens of the last, so only what is new is evaluated.

    Matters most for models with recurrent layers, whose memory cannot be cut back: tokenizing the whole text
    anew may split the reply differently than the model wrote it, and everything would be evaluated again.
    Answers join the history as content and reasoning_content: the template decides what it keeps of them.
    """

    def __init__(self, engine: Engine, form: ChatFormat, system: str | None = None) -> None:
        self._engine, self._format = engine, form
        self._opening: list[Message] = [{"role": "system", "content": system}] if system else []
        self.messages = self._opening
        self._written = Written(engine.vocabulary)
        self.kept = False

    def ask(
        self,
        content: str,
        max_tokens: int | None,
        sampler: Sampler,
        stop: Sequence[str] = (),
        progress: Progress | None = None,
        thinking: Callable[[str], object] = lambda piece: None,
    ) -> TextRun:
        """As Asking."""
        self.kept, self._before = False, (self.messages, self._written)
        messages, dropped = [*self.messages, _user(content)], 0
        turn = self._format.begin(messages)
        tokens = self._written.tokenize(turn.prompt)
        if len(tokens) > self._engine.context and len(self.messages) > len(self._opening):
            messages, earlier = [*self._opening, _user(content)], self.messages
            turn = self._format.begin(messages)
            tokens = self._engine.vocabulary.prompt(turn.prompt)
            if len(tokens) <= self._engine.context:
                dropped = sum(message["role"] == "user" for message in earlier)
        run = self._begin(messages, turn, tokens, max_tokens, sampler, stop, progress, thinking)
        run.result.dropped_turns = dropped
        return run

    def answer(
        self,
        messages: Sequence[Message],
        max_tokens: int | None,
        sampler: Sampler,
        stop: Sequence[str] = (),
        progress: Progress | None = None,
        thinking: Callable[[str], object] = lambda piece: None,
    ) -> TextRun:
        """As ask(), to a whole chat, which takes the place of what was said; no turn of it is dropped."""
        self.kept, self._before = False, (self.messages, self._written)
        turn = self._format.begin(messages)
        tokens = self._written.tokenize(turn.prompt)
        return self._begin(list(messages), turn, tokens, max_tokens, sampler, stop, progress, thinking)

    def _begin(
        self,
        messages: list[Message],
        turn: Turn,
        tokens: list[int],
        max_tokens: int | None,
        sampler: Sampler,
        stop: Sequence[str],
        progress: Progress | None,
        thinking: Callable[[str], object],
    ) -> TextRun:
        reader = AnswerReader(turn, self._engine.vocabulary, thinking, stop)
        run = generate(self._engine, tokens, max_tokens, sampler, reader=reader, progress=progress)
        result = run.result

        def keep() -> None:
            answer = {"role": "assistant", "content": result.text, "reasoning_content": result.reasoning}
            self.messages, self.kept = [*messages, answer], True
            whole = result.finish != "stop"
            self._written = self._written.noted(
                turn.prompt, tokens, reader.raw, result.token_ids, whole=whole
            )

        return TextRun(_keeping(run, reader, keep), result)

    def take_back(self) -> None:
        """As Asking."""
        if self.kept:
            self.messages, self._written = self._before
            self.kept = False

    def clear(self) -> None:
        """As Asking; a system prompt stays."""
        self.messages, self._written, self.kept = self._opening, Written(self._engine.vocabulary), False
        self._engine.clear()


class Continuation:
    """A text that goes on as it stands, without a template; what is asked next is written behind it."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._written = engine, Written(engine.vocabulary)
        self._n_turns, self.kept = 0, False

    def ask(
        self,
        content: str,
        max_tokens: int | None,
        sampler: Sampler,
        stop: Sequence[str] = (),
        progress: Progress | None = None,
        thinking: Callable[[str], object] = lambda piece: None,
    ) -> TextRun:
        """As Asking; nothing of what follows is thinking."""
        self.kept, self._before = False, (self._written, self._n_turns)
        text, dropped = self._written.text + content, 0
        tokens = self._written.tokenize(text)
        if len(tokens) > self._engine.context and self._n_turns:
            text, tokens = content, self._engine.vocabulary.prompt(content)
            dropped = self._n_turns if len(tokens) <= self._engine.context else 0
        reader = TextReader(self._engine.vocabulary, stop)
        run = generate(self._engine, tokens, max_tokens, sampler, reader=reader, progress=progress)
        result = run.result
        result.dropped_turns = dropped

        def keep() -> None:
            self._written = self._written.noted(text, tokens, result.text, result.token_ids, whole=True)
            self._n_turns, self.kept = self._n_turns + 1 - dropped, True

        return TextRun(_keeping(run, reader, keep), result)

    def take_back(self) -> None:
        """As Asking."""
        if self.kept:
            self._written, self._n_turns = self._before
            self.kept = False

    def clear(self) -> None:
        """As Asking."""
        self._written, self._n_turns, self.kept = Written(self._engine.vocabulary), 0, False
        self._engine.clear()


def _user(content: str) -> Message:
    return {"role": "user", "content": content}


def _keeping(run: TextRun, reader: Reader, keep: Callable[[], None]) -> Iterator[str]:
    """The pieces of an answer; `keep` is called when it is to be kept (Asking)."""
    result = run.result
    try:
        yield from run
    except (KeyboardInterrupt, GeneratorExit, Stopped):
        if not result.finish:
            result.text += reader.finish()
            result.reasoning = reader.reasoning
        if result.text or result.reasoning:
            keep()
        raise
    keep()


class Written:
    """What the context holds: a text and its tokens, those of the model's own as it chose them."""

    def __init__(self, vocabulary: Vocabulary, text: str = "", tokens: Sequence[int] = ()) -> None:
        self._vocabulary = vocabulary
        self.text, self._tokens = text, list(tokens)

    def noted(
        self, prompt: str, tokens: list[int], answer: str, answer_tokens: list[int], *, whole: bool
    ) -> Written:
        """After an answer to a prompt. Not `whole`: the tokens reach past the text, and count for nothing
        then."""
        if not whole:
            return Written(self._vocabulary)
        return Written(self._vocabulary, prompt + answer, tokens + answer_tokens)

    def tokenize(self, text: str) -> list[int]:
        """The tokens of a prompt: the tokenizer's own, as the engine's server has them; where the prompt
        continues what is written, the tokens of that instead, if the tokenizer too sees a border there."""
        tokens, (_, end) = self._vocabulary.prompt(text), self._vocabulary.frame
        if not self.text or not text.startswith(self.text) or end:
            return tokens
        before = self._vocabulary.prompt(self.text)
        return self._tokens + tokens[len(before) :] if tokens[: len(before)] == before else tokens
