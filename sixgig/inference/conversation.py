"""A chat of several turns over one KV cache."""

from collections.abc import Callable, Iterator, Sequence

from sixgig.inference.chat import ChatTemplate, Message
from sixgig.inference.engine import Engine
from sixgig.inference.generate import Generation, TextRun, generate
from sixgig.inference.sampling import Sampler


class Conversation:
    """Turns of a chat; each prompt continues the tokens of the last, so only what is new is evaluated.

    Matters most for models with recurrent layers, whose memory cannot be cut back: tokenizing the whole text
    anew may split the reply differently than the model wrote it, and everything would be evaluated again.
    """

    def __init__(self, engine: Engine, template: ChatTemplate, system: str | None = None) -> None:
        self._engine = engine
        self._template = template
        self.messages: list[Message] = [{"role": "system", "content": system}] if system else []
        self._text = ""
        self._tokens: list[int] = []

    def ask(
        self,
        content: str,
        max_tokens: int | None,
        sampler: Sampler,
        stop: Sequence[str] = (),
        progress: Callable[[float], object] | None = None,
    ) -> TextRun:
        """The reply to `content`, streaming; both join the chat once the reply ends or is abandoned."""
        messages = [*self.messages, {"role": "user", "content": content}]
        text = self._template.render(messages)
        tokens = self._tokenize(text)
        run = generate(self._engine, tokens, max_tokens, sampler, stop, progress=progress)
        return TextRun(self._remembering(run, messages, text, tokens), run.result)

    def _remembering(
        self, run: TextRun, messages: list[Message], text: str, tokens: list[int]
    ) -> Iterator[str]:
        try:
            yield from run
        finally:
            self._remember(run.result, messages, text, tokens)

    def _remember(self, result: Generation, messages: list[Message], text: str, tokens: list[int]) -> None:
        self.messages = [*messages, {"role": "assistant", "content": result.text}]
        self._text = "" if result.finish == "stop" else text + result.text  # tokens reach past a stop string
        self._tokens = tokens + result.token_ids

    def _tokenize(self, text: str) -> list[int]:
        """The tokens so far and those of the new text, where the new text continues the old."""
        tokenize = self._engine.vocabulary.tokenize
        if self._text and text.startswith(self._text):
            return self._tokens + tokenize(text[len(self._text) :])
        return tokenize(text)
