"""One `sixgig score`: the reference first, then the model, never both open at once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from math import ceil
from pathlib import Path

from sixgig.cli.console import PromptBar
from sixgig.cli.parameters import budget_bytes, size_bytes
from sixgig.cli.reporter import TerminalReporter
from sixgig.cli.terminal import say, warn
from sixgig.compress.types import quantised_types
from sixgig.errors import ModelFileError, UsageError
from sixgig.evaluate import (
    SCRATCH_BYTES,
    BaseFile,
    BaseShape,
    BaseWriter,
    Score,
    Windows,
    cut,
    evaluate,
    few_tokens,
    is_base_file,
)
from sixgig.evaluate.intervals import TOKENS_WANTED, WINDOWS_WANTED
from sixgig.evaluate.log_probabilities import Logits
from sixgig.evaluate.windows import SHORTEST
from sixgig.inference import Adapter, Engine, Vocabulary, abort_on_interrupt
from sixgig.inference.memory import allowed
from sixgig.jobs.opening import Opened, Opening, at_least, find_model
from sixgig.jobs.references import reference_cache, require_disk, require_place
from sixgig.jobs.texts import read_text
from sixgig.modelfile import ModelFile
from sixgig.pager.pager import Counters
from sixgig.units import format_bytes, parse_memory

DEFAULT_CONTEXT = 512
MOST_UBATCH, FEWEST_UBATCH = 512, 16
LOGITS_SHARE = 8  # of the budget, one part may go to logits


@dataclass(frozen=True)
class Request:
    """The options as typed; None means the default. Raises UsageError for what cannot be together."""

    reference: str | None = None
    text: str | None = None
    save_reference: str | None = None
    windows: int | None = None
    context: int | None = None
    ram: str | None = None
    vram: str | None = None
    threads: int | None = None
    ubatch: int | None = None

    def __post_init__(self) -> None:
        """Refuse before anything is opened."""
        if self.windows is not None:
            at_least(1, "--windows", self.windows)
        if self.context is not None:
            at_least(SHORTEST, "--context", self.context)
        if self.ubatch is not None:
            at_least(1, "--ubatch", self.ubatch)
        if self.text is None and self.stored is None:
            cure = "name a text file with --text, or a stored base file with --reference"
            raise UsageError("there is no text to score on", cure=cure)
        if self.save_reference is not None:
            if self.stored is not None:
                cure = "leave --save-reference out"
                raise UsageError("the reference is stored already", str(self.stored), cure)
            require_place(Path(self.save_reference))

    @property
    def stored(self) -> Path | None:
        """The stored base file that is the reference, None when it is a model or absent."""
        path = None if self.reference is None else Path(self.reference)
        return path if path is not None and is_base_file(path) else None


class Scoring:
    """Scores once with run(); afterwards `opened`, `score`, `windows`, `counters`, `base_path` and
    `reference` tell how it went, `notices` what to be careful about.

    reference: the reference as it was opened, None when there is none or its log-probabilities were stored;
    the adapter is the model's alone.
    """

    opened: Opened
    score: Score
    windows: Windows
    notices: list[str]
    base_path: Path | None = None
    reference: Opened | None = None
    counters: Counters | None = None

    def __init__(self, model: ModelFile, request: Request, adapter: Adapter | None = None) -> None:
        self.model, self._request, self._adapter, self.notices = model, request, adapter, []
        self._text = None if request.text is None else read_text(Path(request.text), TerminalReporter())

    def run(self) -> None:
        """The reference's log-probabilities, then the model's score against them.

        Threads that wait sleep at once: on a busy machine spinning made scoring 18 times slower, and these
        are long products, where waking up costs little. OpenMP looks once, when the engine is loaded.
        """
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        if self._request.reference is None:
            self._run_alone()
        else:
            self._run_against(self._request.reference)
        score = self.score
        if words := few_tokens("scored", score.n_tokens, score.n_windows):
            n_wanted = max(WINDOWS_WANTED, ceil(TOKENS_WANTED / self.windows.n_scored))
            self._note(f"{words}: {n_wanted} windows of {self.windows.context} tokens of text")

    def _note(self, words: str) -> None:
        """What the user should be careful about."""
        self.notices.append(words)
        warn(words)

    def _run_against(self, reference: str) -> None:
        request = self._request
        self.base_path = request.stored or self._reference_file(reference)
        with BaseFile(self.base_path) as base:
            self._require_context(base)
            base.check_vocabulary(self.model.n_vocab)
            opening = self._opening(self.model, base.shape.context, self._adapter)
            with opening.open(TerminalReporter()) as self.opened:
                vocabulary = self.opened.engine.vocabulary
                self.windows = self._windows(vocabulary, base)
                self.score = _evaluate(self.opened, self.windows, base=base)
                self.counters = self.opened.engine.counters()

    def _run_alone(self) -> None:
        save = self._request.save_reference
        context = self._request.context or DEFAULT_CONTEXT
        with self._opening(self.model, context, self._adapter).open(TerminalReporter()) as self.opened:
            self.windows = self._windows(self.opened.engine.vocabulary)
            self.score = self._kept(self.opened, self.windows, Path(save) if save else None)
            self.counters = self.opened.engine.counters()

    def _reference_file(self, name: str) -> Path:
        """The reference model's base file: from the cache, or made now."""
        model, request, cache = find_model(name, TerminalReporter()), self._request, reference_cache()
        if words := quantised_words(f"the reference {model.name}", quantised_types(model)):
            self._note(words)
        if model.n_vocab != self.model.n_vocab:
            numbers = f"{model.n_vocab} tokens in the reference's, {self.model.n_vocab} in the model's"
            raise ModelFileError("the vocabularies differ", numbers, "compare models of one family")
        context, text = request.context or DEFAULT_CONTEXT, self._text or ""
        if request.save_reference is not None:
            return self._made(model, context, Path(request.save_reference))
        if (found := cache.find(model, text, context, request.windows)) is not None:
            size = format_bytes(found.stat().st_size)
            say(f"{model.name}: log-probabilities of an earlier run, {size}: {found}")
            return found
        cache.folder.mkdir(parents=True, exist_ok=True)
        made = self._made(model, context, cache.path(model, text, context, request.windows))
        cache.evict()
        return made

    def _made(self, model: ModelFile, context: int, path: Path) -> Path:
        with self._opening(model, context).open(TerminalReporter()) as self.reference:
            self._kept(self.reference, self._windows(self.reference.engine.vocabulary), path)
        return path

    def _kept(self, opened: Opened, windows: Windows, path: Path | None) -> Score:
        """The score, and the log-probabilities in a file where one is named."""
        n_vocab = opened.engine.vocabulary.size
        if path is not None:
            shape = BaseShape(windows.context, n_vocab, len(windows))
            require_disk(path.resolve(), shape)
            say(f"{opened.model.name}: keeps its log-probabilities, {format_bytes(shape.size_bytes)}: {path}")
        with BaseWriter(path, windows, n_vocab) if path is not None else nullcontext() as writer:
            return _evaluate(opened, windows, writer=writer)

    def _windows(self, vocabulary: Vocabulary, base: BaseFile | None = None) -> Windows:
        """Of the text, else of the base file, whose tokens must be the text's where there are both."""
        bos, limit = text_begin(vocabulary), self._request.windows
        if self._text is None:
            assert base is not None, "the request has a text or a stored reference"
            return Windows(base.tokens, bos).leading(limit)
        tokens = vocabulary.tokenize(self._text, add_special=True, parse_special=False)
        if base is None:
            return cut(tokens, self._request.context or DEFAULT_CONTEXT, bos, limit)
        windows = cut(tokens, base.shape.context, bos, limit).leading(len(base.tokens))
        base.check_text(windows.tokens)
        return windows

    def _require_context(self, base: BaseFile) -> None:
        asked, stored = self._request.context, base.shape.context
        if asked not in (None, stored):
            what = f"--context of {asked} does not suit the reference"
            raise UsageError(what, f"its windows have {stored} tokens", "leave --context out")

    def _opening(self, model: ModelFile, context: int, adapter: Adapter | None = None) -> Opening:
        """With extra buffer types off: the figures do not depend on whether the model had to be paged."""
        request = self._request
        budget = allowed(None if request.ram is None else parse_memory(request.ram)).ram_bytes
        ubatch = min(request.ubatch or fitting_ubatch(context, model.n_vocab, budget), context)
        return Opening(
            model,
            budget_bytes(request.ram),
            size_bytes(request.vram) or 0,
            context,
            request.threads,
            ubatch,
            extra_buffers=False,
            all_logits=True,
            beside_bytes=2 * 4 * ubatch * model.n_vocab + SCRATCH_BYTES,
            adapter=adapter,
        )


def quantised_words(name: str, types: Sequence[str]) -> str:
    """A warning where what others are compared with is quantised itself, "" where it is not."""
    if not types:
        return ""
    return (
        f"warning: {name} is quantised already ({', '.join(types)}): divergences are measured from it, not "
        "from the weights it was made of, and what those lost is not counted"
    )


def fitting_ubatch(context: int, n_vocab: int, ram_bytes: int) -> int:
    """Tokens evaluated together: half a window, or fewer where logits would take too much of the budget.

    Three copies of a ubatch's logits are held: the engine's compute buffer, its output buffer, and ours.
    """
    ubatch = min(MOST_UBATCH, context // 2)
    while ubatch > FEWEST_UBATCH and 3 * 4 * ubatch * n_vocab * LOGITS_SHARE > ram_bytes:
        ubatch //= 2
    return ubatch


def _evaluate(
    opened: Opened, windows: Windows, base: BaseFile | None = None, writer: BaseWriter | None = None
) -> Score:
    """With a bar, and stopped by Ctrl-C at once."""
    with (
        abort_on_interrupt(opened.engine),
        PromptBar(f"{opened.model.name} reads the text", begins=True) as bar,
    ):
        return evaluate(windows, partial(logits_of, opened.engine), base, writer, bar)


def logits_of(engine: Engine, tokens: Sequence[int], first: int) -> Iterator[Logits]:
    """A window's logits from position `first` on, a ubatch at a time; those before it are not computed."""
    engine.clear()
    for start in range(0, first, engine.ubatch):
        engine.feed(tokens[start : min(start + engine.ubatch, first)])
    for start in range(first, len(tokens), engine.ubatch):
        yield engine.all_logits(tokens[start : start + engine.ubatch])


def text_begin(vocabulary: Vocabulary) -> int | None:
    """The token that the vocabulary puts before a text, None when it puts none."""
    begin, _ = vocabulary.frame
    return begin[0] if begin else None
