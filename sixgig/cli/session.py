"""One `sixgig run`: answer once or chat, at a terminal or in a pipe."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from sixgig.cli.chatting import Chat
from sixgig.cli.terminal import Thinking, write
from sixgig.errors import UsageError
from sixgig.inference import Generation, SamplingOptions
from sixgig.jobs.dialogue import Dialogue
from sixgig.jobs.model import Model
from sixgig.typed import at_least

DEMO_MAX_TOKENS = 256  # the demo model has no reason to stop


@dataclass(frozen=True)
class Asked:
    """What to generate. prompt None: chat. continues: no template, the text goes on as it stands.

    sampling: the SamplingOptions that were named; the file and llama.cpp's defaults decide the others.
    """

    prompt: str | None
    continues: bool
    max_tokens: int | None
    sampling: dict[str, Any]

    @classmethod
    def of(
        cls,
        model: str | None,
        prompt: str | None,
        raw: bool,
        max_tokens: int | None,
        **sampling: float | None,
    ) -> Asked:
        """From the options as typed; the demo model (None) knows no chat. Raises UsageError."""
        named = {name: value for name, value in sampling.items() if value is not None}
        SamplingOptions(**named)  # type: ignore[arg-type]  # refused before anything is opened
        if raw and prompt is None:
            raise UsageError("--raw continues one text and cannot chat", cure="give a prompt with -p")
        if prompt is not None and not prompt.strip():
            raise UsageError("the prompt is empty", "0 words", "give it some text")
        if max_tokens is None:
            max_tokens = DEMO_MAX_TOKENS if model is None else None
        else:
            at_least(1, "--max-tokens", max_tokens)
        return cls(prompt, raw or model is None, max_tokens, named)


class Session:
    """Runs once on an open model; afterwards `answer`, the last one, and `dialogue` tell how it went."""

    answer: Generation

    def __init__(self, model: Model, asked: Asked) -> None:
        self._asked = asked
        self.dialogue: Dialogue = model.converse(raw=asked.continues, **asked.sampling)

    def run(self, stream: bool = True) -> None:
        """Answer or chat; `stream` writes text to stdout as it comes."""
        if self._asked.prompt is None:
            Chat(lambda line: self._ask(line, write), self.dialogue).run()
        else:
            self._ask(self._asked.prompt, write if stream else _drop)

    def _ask(self, text: str, sink: Callable[[str], object]) -> Generation:
        """One answer. It ends its line, even when interrupted."""
        with Thinking(sink is not _drop) as aside:
            pieces = self.dialogue.ask(text, self._asked.max_tokens, thinking=aside)
            self.answer = pieces.result
            try:
                with closing(pieces):
                    for piece in pieces:
                        aside.end()
                        sink(piece)
            finally:
                aside.end()
                if self.answer.text and not self.answer.text.endswith("\n"):
                    sink("\n")
        return self.answer


def _drop(_piece: str) -> None:
    """Nobody listens."""
