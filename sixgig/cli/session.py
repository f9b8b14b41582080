"""One `sixgig run`: open, answer once or chat, report."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from sixgig.cli.chatting import chat
from sixgig.cli.console import PromptBar
from sixgig.cli.lessons import Pace, learn
from sixgig.cli.opening import Opened, Opening, at_least
from sixgig.cli.terminal import say, write
from sixgig.errors import UsageError
from sixgig.inference import (
    ChatTemplate,
    Conversation,
    Engine,
    Generation,
    Sampler,
    SamplingOptions,
    abort_on_interrupt,
    chat_template,
)
from sixgig.pager.trace import open_for_writing
from sixgig.plan import MemoryPlan

DEMO_MAX_TOKENS = 256  # the demo model has no reason to stop
CONTINUE = "{{ bos_token }}{% for message in messages %}{{ message.content }}{% endfor %}"
PLAIN_STOP = ("\nUser:",)  # where a model without a template begins to speak for the person


@dataclass(frozen=True)
class Asked:
    """What to generate. prompt None: chat. continues: no template, the text goes on as it stands."""

    prompt: str | None
    continues: bool
    max_tokens: int | None
    sampling: SamplingOptions

    @classmethod
    def of(
        cls,
        model: str | None,
        prompt: str | None,
        raw: bool,
        max_tokens: int | None,
        sampling: SamplingOptions,
    ) -> Asked:
        """From the options as typed; the demo model (None) knows no chat. Raises UsageError."""
        if raw and prompt is None:
            raise UsageError("--raw continues one text and cannot chat", cure="give a prompt with -p")
        if prompt is not None and not prompt.strip():
            raise UsageError("the prompt is empty", "0 words", "give it some text")
        if max_tokens is None:
            max_tokens = DEMO_MAX_TOKENS if model is None else None
        else:
            at_least(1, "--max-tokens", max_tokens)
        return cls(prompt, raw or model is None, max_tokens, sampling)


class Session:
    """Runs once; afterwards `opened`, `generations` and `seed` tell how it went."""

    opened: Opened
    seed: int

    def __init__(self, opening: Opening, asked: Asked, trace: str | None = None) -> None:
        self.opening, self.asked = opening, asked
        self._trace = Path(trace) if trace else None
        self.generations: list[Generation] = []

    def run(self, stream: bool = True) -> None:
        """Open, then answer or chat; `stream` writes text to stdout as it comes."""
        with self.opening.open(self._check) as self.opened, self._tracing():
            conversation = self._conversation()
            sampler = Sampler(self.opened.engine, self.asked.sampling)
            self.seed = sampler.seed
            if self.asked.prompt is None:
                chat(lambda line: self._ask(conversation, sampler, line, write), self.generations)
            else:
                self._ask(conversation, sampler, self.asked.prompt, write if stream else _drop)
            self.counters = self.opened.engine.counters()
        if self.generations and self.opening.adapter is None:  # an adapter costs time that the model does not
            learn(self.opened, self._pace())

    def _pace(self) -> Pace:
        first, runs = self.generations[0], self.generations
        decoded, seconds = sum(run.decode_steps for run in runs), sum(run.decode_s for run in runs)
        return Pace(first.prefill_tokens, first.prefill_s, decoded, seconds)

    def _ask(
        self, conversation: Conversation, sampler: Sampler, text: str, sink: Callable[[str], object]
    ) -> None:
        """One answer. It ends its line, even when interrupted."""
        with abort_on_interrupt(self.opened.engine), PromptBar() as bar:
            stop = self._stop
            pieces = conversation.ask(text, self.asked.max_tokens, sampler, stop, progress=bar)
            self.generations.append(pieces.result)
            try:
                for piece in pieces:
                    sink(piece)
            finally:
                bar.stop()
                if pieces.result.text and not pieces.result.text.endswith("\n"):
                    sink("\n")

    def _conversation(self) -> Conversation:
        engine = self.opened.engine
        template = _continuing(engine) if self.asked.continues else chat_template(engine)
        if template.notice:
            say(template.notice)
        self._stop = PLAIN_STOP if template.notice else ()
        return Conversation(engine, template)

    def _check(self, plan: MemoryPlan) -> None:
        """Refuse a trace that cannot be, before anything is loaded."""
        if self._trace and plan.mode == "unpaged":
            raise UsageError("there is no routing to record", "the model runs unpaged", "add --always-page")
        if self._trace:
            open_for_writing(self._trace).close()

    def _tracing(self) -> AbstractContextManager[None]:
        pager = self.opened.engine.pager
        return pager.tracing(self._trace) if pager and self._trace else nullcontext()


def _continuing(engine: Engine) -> ChatTemplate:
    """No template: the text as it stands, begun as the tokenizer begins texts."""
    vocabulary = engine.vocabulary
    start = vocabulary.text(vocabulary.tokenize("", add_special=True), special=True)
    return ChatTemplate(CONTINUE, bos=start)


def _drop(_piece: str) -> None:
    """Nobody listens."""
