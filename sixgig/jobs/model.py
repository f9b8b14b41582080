"""A model that is open: it continues texts, answers chats, and tells what it took."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass
from functools import cached_property
from operator import index
from pathlib import Path
from types import TracebackType
from typing import Self, TypedDict, Unpack

from sixgig.errors import UsageError
from sixgig.inference import (
    ChatFormat,
    Continuation,
    Conversation,
    Generation,
    Sampler,
    TextRun,
    abort_on_interrupt,
    generate,
)
from sixgig.inference.conversation import Progress
from sixgig.inference.file_sampling import FileSampling, file_sampling
from sixgig.jobs.answers import Answer, OneAtATime
from sixgig.jobs.dialogue import Dialogue, Thinking, require_count, stop_strings, unheard
from sixgig.jobs.lessons import Pace, learn
from sixgig.jobs.opening import Opened, Opening
from sixgig.jobs.reporter import Reporter
from sixgig.jobs.work import ModelStats, Work
from sixgig.pager.trace import open_for_writing
from sixgig.planning import MemoryPlan
from sixgig.typed import require, shown

Message = Mapping[str, str]


class Sampling(TypedDict, total=False):
    """How tokens are chosen, by the names of SamplingOptions; what is left out or None the model file decides
    (its general.sampling keys), else llama.cpp's defaults."""

    temperature: float | None
    seed: int | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    xtc_probability: float | None
    xtc_threshold: float | None
    penalty_last_n: int | None
    penalty_repeat: float | None
    mirostat: int | None
    mirostat_tau: float | None
    mirostat_eta: float | None
    sequence: tuple[str, ...] | None


class Model:
    """An open model, made by sixgig.load(). A context manager; close() frees its memory.

    It generates one text at a time, for any thread: while one iterates on an answer, what another asks raises
    UsageError. stop(), close(), stats and tokenize() may come from any thread at any time.
    """

    def __init__(self, opening: Opening, reporter: Reporter, trace: Path | None, remember: bool) -> None:
        self._reporter, self._remembers, self._told = reporter, remember, set[str]()
        self._work, self._text = Work(), Generation()  # what is over, and what is not
        with ExitStack() as stack:
            self._opened: Opened = stack.enter_context(
                opening.open(reporter, lambda plan: _check(trace, plan))
            )
            self._engine = self._opened.engine
            pager = self._engine.pager
            stack.enter_context(pager.tracing(trace) if pager and trace else nullcontext())
            self._resources = stack.pop_all()
        self._looking = threading.Lock()  # at what goes when the model is closed
        self._turns = OneAtATime(self._engine.abort, _Release(self._looking, self._resources))
        # let go of without close(), it need not wait for the garbage collector; an answer keeps its model
        weakref.finalize(self, self._turns.close).atexit = False

    def generate(
        self,
        prompt: str,
        max_tokens: int | None = None,
        *,
        stop: str | Sequence[str] | None = None,
        **sampling: Unpack[Sampling],
    ) -> Answer:
        """Continue `prompt` as it stands, without a chat template, piece by piece.

        max_tokens: by default until the model ends or the context is full. stop: a string or several that
        end the text and are no part of it. What the prompt has in common with the last one and its text is
        not evaluated again.

        sampling: how tokens are chosen (sixgig.Sampling); what is left out the model file decides, else the
        value in brackets holds. temperature (0.8; 0: always the likeliest). seed: 0 to 4294967294 (drawn).
        top_k (40; 0: all). top_p (0.95), min_p (0.05), xtc_probability (0), xtc_threshold (0.1): 0 to 1.
        penalty_repeat (1: none), over the last penalty_last_n tokens (64). mirostat: 0, 1 or 2 (0), with
        mirostat_tau (5) and mirostat_eta (0.1). sequence: the steps in their order.
        """
        require_count(max_tokens)
        require("a prompt", prompt, str)
        ends = stop_strings(stop)

        def ask(progress: Progress) -> TextRun:
            tokens, sampler = self._engine.vocabulary.prompt(prompt), self._sampler(sampling)
            return generate(self._engine, tokens, max_tokens, sampler, ends, progress=progress)

        return self._begin(ask)

    def chat(
        self,
        messages: Sequence[Message],
        max_tokens: int | None = None,
        *,
        stop: str | Sequence[str] | None = None,
        thinking: Thinking | None = None,
        **sampling: Unpack[Sampling],
    ) -> Answer:
        """The answer to a chat, through the model's own template, piece by piece.

        messages: each with "role" and "content"; the whole chat, the last one to be answered. thinking: gets
        the reasoning before the answer, which is in `.result.reasoning` and never in the pieces. Else as
        generate().
        """
        require_count(max_tokens)
        ends, thought = stop_strings(stop), thinking or unheard
        _require_messages(messages)

        def ask(progress: Progress) -> TextRun:
            sampler = self._sampler(sampling)
            return self._chat.answer(messages, max_tokens, sampler, ends, progress, thought)

        return self._begin(ask)

    def converse(
        self, *, raw: bool = False, system: str | None = None, **sampling: Unpack[Sampling]
    ) -> Dialogue:
        """Turns that remember each other, of which one can be taken back; raw: one text that goes on."""
        require("a system message", "" if system is None else system, str)

        def make() -> Dialogue:
            chat = None if raw else Conversation(self._engine, self._format, system)
            found = self._sampling(sampling)
            sampler = Sampler(self._engine, found.options)
            return Dialogue(chat or Continuation(self._engine), found, sampler, self._turns, self._begin)

        return self._turns.use(make)

    def stop(self) -> None:
        """From any thread: end the text that is being generated; its iterator then ends, and result.finish is
        "stopped". Once this returns another may be begun."""
        self._turns.stop()

    def close(self) -> None:
        """Free the model, ending what it generates; safe to call twice. `stats` and `plan` stay."""
        self._turns.close()
        work = self._work
        if self._remembers and work.n_texts:
            pace = (work.first_prompt_tokens, work.first_prompt_s, work.decode_steps, work.decode_s)
            learn(self._opened, Pace(*pace))
        self._remembers = False

    def tokenize(self, text: str, *, special: bool = True) -> list[int]:
        """Token ids of a text as generate() reads it. special: BOS or EOS where the model wants them, and
        with names of control tokens read as those tokens."""
        require("a text", text, str)
        return self._turns.look(lambda: self._engine.vocabulary.tokenize(text, bool(special), bool(special)))

    def detokenize(self, tokens: Sequence[int], *, special: bool = False) -> str:
        """The text of tokens; control tokens are left out unless `special`, no UTF-8 becomes U+FFFD."""
        tokens = _plain(tokens)
        return self._turns.look(lambda: self._engine.vocabulary.text(tokens, bool(special)))

    @property
    def plan(self) -> MemoryPlan:
        """How memory was planned."""
        return self._opened.plan

    @property
    def context(self) -> int:
        """Tokens the model sees at once."""
        return self._engine.context

    @property
    def stats(self) -> ModelStats:
        """What was done so far; final once the model is closed."""
        with self._looking:
            stats = self._opened.stats
        return ModelStats(**vars(stats), work=self._work.plus(self._text))

    def __enter__(self) -> Self:
        """The model itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        """Close."""
        self._remembers = self._remembers and error is None
        self.close()

    def _begin(self, ask: Callable[[Progress], TextRun]) -> Answer:
        def make() -> Answer:
            run = ask(lambda fraction: show(fraction))
            if run.result.dropped_turns:
                self._reporter.say(_dropped(run.result.dropped_turns, self.context))
            return Answer(TextRun(pieces(run), run.result), self._turns, self)

        show: Progress = lambda fraction: None  # noqa: E731 (until the prompt is read)

        def pieces(run: TextRun) -> Iterator[str]:
            nonlocal show
            self._text = run.result
            try:
                with closing(run):
                    with (
                        abort_on_interrupt(self._engine),
                        self._reporter.progress("reading the prompt") as show,
                    ):
                        piece = next(run, None)
                    while piece is not None:
                        yield piece
                        self._reporter.check()
                        piece = next(run, None)
            finally:
                self._work = self._work.plus(run.result)
                self._text = Generation()

        return self._turns.begin(make)

    def _sampling(self, given: Sampling) -> FileSampling:
        found = file_sampling(self._engine.metadata, {name: v for name, v in given.items() if v is not None})
        if found.taken:
            values = (f"{name} {_shown(getattr(found.options, name))}" for name in found.taken)
            self._tell(self._reporter.say, f"sampling as the model file asks: {', '.join(values)}")
        for key in found.ignored:
            value = self._engine.metadata(key)
            self._tell(
                self._reporter.warn,
                f"{key} of the model file cannot be obeyed: {value!r}; llama.cpp's default",
            )
        return found

    def _sampler(self, given: Sampling) -> Sampler:
        return Sampler(self._engine, self._sampling(given).options)

    @cached_property
    def _chat(self) -> Conversation:
        return Conversation(self._engine, self._format)

    @cached_property
    def _format(self) -> ChatFormat:
        form = self._engine.chat_format()
        if form.notice:
            self._reporter.warn(form.notice)
        return form

    def _tell(self, how: Callable[[str], None], words: str) -> None:
        """Once."""
        if words not in self._told:
            self._told.add(words)
            how(words)


@dataclass(frozen=True)
class _Release:
    """Frees what a model holds; knows nothing of the model, which it would keep alive."""

    looking: threading.Lock
    resources: ExitStack

    def __call__(self) -> None:
        with self.looking:
            self.resources.close()


def _check(trace: Path | None, plan: MemoryPlan) -> None:
    """Refuse a trace that cannot be, before anything is loaded."""
    if trace and not plan.routed_bytes:
        raise UsageError("there is no routing to record", "the model has no routed experts", "leave it out")
    if trace and plan.mode == "unpaged":
        raise UsageError("there is no routing to record", "the model runs unpaged", "add --always-page")
    if trace:
        open_for_writing(trace).close()


def _plain(tokens: Sequence[int]) -> list[int]:
    """Token ids as Python's integers, whatever sequence they come in."""
    try:
        return [index(token) for token in tokens]
    except TypeError as error:
        raise UsageError(f"{shown(tokens)} are no token ids", "whole numbers are needed") from error


def _require_messages(messages: Sequence[Message]) -> None:
    require("messages", messages, Sequence)
    for number, message in enumerate(messages, 1):
        texts = isinstance(message, Mapping) and [message.get("role"), message.get("content")]
        if not texts or not all(isinstance(text, str) for text in texts):
            cure = '[{"role": "user", "content": "Why?"}]'
            raise UsageError(f"message {number} has no role and content that are texts", cure=f"as in {cure}")
    if not messages:
        raise UsageError("there is no message to answer", "0 messages", "give one of the role user")


def _dropped(n_turns: int, context: int) -> str:
    turns = "the earlier turn is" if n_turns == 1 else f"the {n_turns} earlier turns are"
    return f"(the context of {context} tokens is full: {turns} forgotten; a larger --context holds more)"


def _shown(value: float | tuple[str, ...]) -> str:
    return ";".join(value) if isinstance(value, tuple) else f"{value:g}"
