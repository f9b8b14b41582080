"""Turns over one KV cache: a chat, or a text that is continued."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from sixgig.inference.answer import AnswerReader
from sixgig.inference.chat import Message
from sixgig.inference.chat_format import ChatFormat
from sixgig.inference.engine import Engine
from sixgig.inference.generate import TextRun, generate
from sixgig.inference.sampling import Sampler
from sixgig.inference.tokens import Vocabulary

Progress = Callable[[float], object]


class Asking(Protocol):
    """What answers: a Conversation or a Continuation."""

    def ask(
        self,
        content: str,
        max_tokens: int | None,
        sampler: Sampler,
        stop: Sequence[str] = (),
        progress: Progress | None = None,
        thinking: Callable[[str], object] = lambda piece: None,
    ) -> TextRun:
        """The answer, streaming; `thinking` gets the reasoning meanwhile."""


class Conversation:
    """Turns of a chat; each prompt continues the tokens of the last, so only what is new is evaluated.

    Matters most for models with recurrent layers, whose memory cannot be cut back: tokenizing the whole text
    anew may split the reply differently than the model wrote it, and everything would be evaluated again.
    Answers join the history as content and reasoning_content: the template decides what it keeps of them.
    """

    def __init__(self, engine: Engine, form: ChatFormat, system: str | None = None) -> None:
        self._engine, self._format = engine, form
        self.messages: list[Message] = [{"role": "system", "content": system}] if system else []
        self._written = Written(engine.vocabulary)

    def ask(
        self,
        content: str,
        max_tokens: int | None,
        sampler: Sampler,
        stop: Sequence[str] = (),
        progress: Progress | None = None,
        thinking: Callable[[str], object] = lambda piece: None,
    ) -> TextRun:
        """The reply to `content`, streaming; both join the chat once the reply ends or is abandoned."""
        messages = [*self.messages, {"role": "user", "content": content}]
        turn = self._format.begin(messages)
        tokens = self._written.tokenize(turn.prompt)
        reader = AnswerReader(turn, self._engine.vocabulary, thinking, stop)
        run = generate(self._engine, tokens, max_tokens, sampler, reader=reader, progress=progress)
        return TextRun(self._remembering(run, messages, turn.prompt, tokens, reader), run.result)

    def _remembering(
        self, run: TextRun, messages: list[Message], prompt: str, tokens: list[int], reader: AnswerReader
    ) -> Iterator[str]:
        result = run.result
        try:
            for piece in run:
                result.reasoning = reader.reasoning
                yield piece
        finally:
            result.reasoning = reader.reasoning
            answer = {"role": "assistant", "content": result.text, "reasoning_content": result.reasoning}
            self.messages = [*messages, answer]
            self._written.note(prompt, tokens, reader.raw, result.token_ids, whole=result.finish != "stop")


class Continuation:
    """A text that goes on as it stands, without a template; what is asked next is written behind it."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._written = engine, Written(engine.vocabulary)

    def ask(
        self,
        content: str,
        max_tokens: int | None,
        sampler: Sampler,
        stop: Sequence[str] = (),
        progress: Progress | None = None,
        thinking: Callable[[str], object] = lambda piece: None,
    ) -> TextRun:
        """What follows; nothing of it is thinking."""
        text = self._written.text + content
        tokens = self._written.tokenize(text)
        run = generate(self._engine, tokens, max_tokens, sampler, stop, progress=progress)
        return TextRun(self._remembering(run, text, tokens), run.result)

    def _remembering(self, run: TextRun, text: str, tokens: list[int]) -> Iterator[str]:
        try:
            yield from run
        finally:
            self._written.note(text, tokens, run.result.text, run.result.token_ids, whole=True)


class Written:
    """What the context holds: a text and its tokens, those of the model's own as it chose them."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self.text = ""
        self._tokens: list[int] = []

    def note(
        self, prompt: str, tokens: list[int], answer: str, answer_tokens: list[int], *, whole: bool
    ) -> None:
        """A prompt was answered. Not `whole`: the tokens reach past the text, and count for nothing then."""
        self.text, self._tokens = (prompt + answer, tokens + answer_tokens) if whole else ("", [])

    def tokenize(self, text: str) -> list[int]:
        """The tokens of a prompt: the tokenizer's own, as the engine's server has them; where the prompt
        continues what is written, the tokens of that instead, if the tokenizer too sees a border there."""
        tokens, (_, end) = self._vocabulary.prompt(text), self._vocabulary.frame
        if not self.text or not text.startswith(self.text) or end:
            return tokens
        before = self._vocabulary.prompt(self.text)
        return self._tokens + tokens[len(before) :] if tokens[: len(before)] == before else tokens
