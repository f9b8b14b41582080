"""One `sixgig run`: open, answer once or chat, report."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sixgig.cli.chatting import Chat
from sixgig.cli.console import PromptBar
from sixgig.cli.reporter import TerminalReporter
from sixgig.cli.terminal import Thinking, say, warn, write
from sixgig.errors import UsageError
from sixgig.inference import (
    Asking,
    Continuation,
    Conversation,
    Engine,
    Generation,
    Sampler,
    SamplingOptions,
    abort_on_interrupt,
)
from sixgig.inference.file_sampling import FileSampling, file_sampling
from sixgig.jobs.lessons import Pace, learn
from sixgig.jobs.opening import Opened, Opening, at_least
from sixgig.pager.trace import open_for_writing
from sixgig.plan import MemoryPlan

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
    """Runs once; afterwards `opened`, `generations`, `sampling` and `seed` tell how it went."""

    opened: Opened
    sampling: FileSampling
    seed: int

    def __init__(self, opening: Opening, asked: Asked, trace: str | None = None) -> None:
        self.opening, self.asked = opening, asked
        self._trace = Path(trace) if trace else None
        self.generations: list[Generation] = []

    def run(self, stream: bool = True) -> None:
        """Open, then answer or chat; `stream` writes text to stdout as it comes."""
        with self.opening.open(TerminalReporter(), self._check) as self.opened, self._tracing():
            answering = self._answering(self.opened.engine)
            self.sampling = self._sampling(self.opened.engine)
            sampler = Sampler(self.opened.engine, self.sampling.options)
            self.seed = sampler.seed
            if self.asked.prompt is None:
                Chat(lambda line: self._ask(answering, sampler, line, write), answering).run()
            else:
                self._ask(answering, sampler, self.asked.prompt, write if stream else _drop)
            self.counters = self.opened.engine.counters()
        if self.generations and self.opening.adapter is None:  # an adapter costs time that the model does not
            learn(self.opened, self._pace())

    def _pace(self) -> Pace:
        first, runs = self.generations[0], self.generations
        decoded, seconds = sum(run.decode_steps for run in runs), sum(run.decode_s for run in runs)
        return Pace(first.prefill_tokens, first.prefill_s, decoded, seconds)

    def _ask(
        self, answering: Asking, sampler: Sampler, text: str, sink: Callable[[str], object]
    ) -> Generation:
        """One answer. It ends its line, even when interrupted."""
        with abort_on_interrupt(self.opened.engine), PromptBar() as bar, Thinking(sink is not _drop) as aside:
            pieces = answering.ask(text, self.asked.max_tokens, sampler, progress=bar, thinking=aside)
            result = pieces.result
            if result.dropped_turns:
                say(_dropped(result.dropped_turns, self.opened.engine.context))
            try:
                with closing(pieces):
                    for piece in pieces:
                        aside.end()
                        sink(piece)
            finally:
                bar.stop()
                aside.end()
                if result.text and not result.text.endswith("\n"):
                    sink("\n")
                if result.prefill_tokens:  # a prompt given up has no pace
                    self.generations.append(result)
        return result

    def _answering(self, engine: Engine) -> Asking:
        if self.asked.continues:
            return Continuation(engine)
        form = engine.chat_format()
        if form.notice:
            warn(form.notice)
        return Conversation(engine, form)

    def _sampling(self, engine: Engine) -> FileSampling:
        found = file_sampling(engine.metadata, self.asked.sampling)
        if found.taken:
            values = (f"{name} {_shown(getattr(found.options, name))}" for name in found.taken)
            say(f"sampling as the model file asks: {', '.join(values)}")
        for key in found.ignored:
            warn(f"{key} of the model file cannot be obeyed: {engine.metadata(key)!r}; llama.cpp's default")
        return found

    def _check(self, plan: MemoryPlan) -> None:
        """Refuse a trace that cannot be, before anything is loaded."""
        if self._trace and plan.mode == "unpaged":
            raise UsageError("there is no routing to record", "the model runs unpaged", "add --always-page")
        if self._trace:
            open_for_writing(self._trace).close()

    def _tracing(self) -> AbstractContextManager[None]:
        pager = self.opened.engine.pager
        return pager.tracing(self._trace) if pager and self._trace else nullcontext()


def _dropped(n_turns: int, context: int) -> str:
    turns = "the earlier turn is" if n_turns == 1 else f"the {n_turns} earlier turns are"
    return f"(the context of {context} tokens is full: {turns} forgotten; a larger --context holds more)"


def _shown(value: float | tuple[str, ...]) -> str:
    return ";".join(value) if isinstance(value, tuple) else f"{value:g}"


def _drop(_piece: str) -> None:
    """Nobody listens."""
