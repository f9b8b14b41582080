"""How well a model predicts a text, alone or against a reference: one or the other is open, never both."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field, fields
from functools import partial
from math import ceil
from pathlib import Path

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
from sixgig.evaluate.windows import SHORTEST
from sixgig.inference import Adapter, Vocabulary, abort_on_interrupt
from sixgig.jobs.door import door
from sixgig.jobs.opening import Opened, RunStats, find_adapter, find_model, require_resources
from sixgig.jobs.references import reference_cache, require_disk, require_place
from sixgig.jobs.reporter import Request
from sixgig.jobs.texts import read_text
from sixgig.jobs.window_logits import logits_of, logits_opening, quantised_words
from sixgig.modelfile import ModelFile
from sixgig.typed import at_least
from sixgig.units import format_bytes

WINDOW_TOKENS = 512


@dataclass(frozen=True, kw_only=True)
class ScoreRequest(Request):
    """model: a GGUF file or hf:OWNER/REPO[:QUANT|:FILE]; None is the demo in the package.
    text: the file of the text; needed unless the reference is stored, whose text it then is.
    reference: compare with this: a model, named as `model` is, or a file of stored log-probabilities.
    save_reference: keep the reference's log-probabilities (without one: the model's own) in this file; by
    default those of a reference are kept in a cache, for the next time.
    windows: score at most so many, by default all. context: tokens in a window, by default 512.
    ram: bytes for the whole process, by default what is free, less a margin.
    vram: use a GPU, with this much of its memory; by default none.
    threads: that compute, by default the performance cores that others leave free.
    ubatch: tokens evaluated together, by default half a window, fewer where logits would fill the budget.
    adapter: a LoRA for the model, a GGUF file or the folder that tune() wrote; the reference goes without.
    reporter: who hears of progress and may cancel.

    Raises UsageError for what cannot be, or cannot be together.
    """

    model: str | Path | None = field(default=None, kw_only=False)
    text: str | Path | None = None
    reference: str | Path | None = None
    save_reference: str | Path | None = None
    windows: int | None = None
    context: int | None = None
    ram: int | None = None
    vram: int | None = None
    threads: int | None = None
    ubatch: int | None = None
    adapter: str | Path | None = None

    def __post_init__(self) -> None:
        """Refuse before anything is opened."""
        super().__post_init__()
        limits = ("windows", 1), ("context", SHORTEST), ("ubatch", 1)
        for name, lowest in limits:
            at_least(lowest, f"--{name}", getattr(self, name))
        require_resources(self.ram, self.vram, self.threads)
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


@dataclass(frozen=True, eq=False)
class ScoreResult(Score):
    """A Score, with how it came about.

    window_tokens: in each window. notices: what to be careful about, as it was said too. stats: of the model.
    base_path: the log-probabilities that it was compared with, None without a reference. reference_stats: of
    the reference, None where there was none or its log-probabilities were stored.
    """

    window_tokens: int
    notices: tuple[str, ...]
    stats: RunStats = field(repr=False)
    base_path: Path | None
    reference_stats: RunStats | None = field(repr=False)


def _score(request: ScoreRequest) -> ScoreResult:
    """Measure how well a model predicts: perplexity and, against a reference, divergence.

    Defined as by llama.cpp's perplexity tool: windows without overlap, of each the second half is scored.
    Intervals are 95%, of windows drawn anew. Reference and model are opened one after the other, each within
    `ram`. From any thread; Ctrl-C ends it at once in the main thread only, where a program that watches
    signals by signal.set_wakeup_fd() misses them meanwhile. Beside other work threads that wait had better
    sleep: set OMP_WAIT_POLICY=passive before a process first opens a model.

    Raises UsageError, ModelFileError, BudgetError, ReadError, EngineError, Cancelled; OSError where
    log-probabilities cannot be written. A file of them appears whole or not at all.
    """
    scoring = _Scoring(request)
    if request.reference is None:
        save = request.save_reference
        return scoring.scored(keep=None if save is None else Path(save))
    base_path, reference_stats = scoring.reference(request.reference)
    with BaseFile(base_path) as base:
        asked, stored = request.context, base.shape.context
        if asked not in (None, stored):
            what = f"--context of {asked} does not suit the reference"
            raise UsageError(what, f"its windows have {stored} tokens", "leave --context out")
        base.check_vocabulary(scoring.model.n_vocab)
        return scoring.scored(base, base_path, reference_stats)


score = door(ScoreRequest, _score)
"""Measure how well a model predicts a text; arguments: ScoreRequest."""


class _Scoring:
    """One run: what was asked for, found and read."""

    def __init__(self, request: ScoreRequest) -> None:
        self._request, self._reporter = request, request.listener
        self.model = find_model(request.model, self._reporter)
        self._adapter = find_adapter(request.adapter, self.model)
        self._text = None if request.text is None else read_text(Path(request.text), self._reporter)
        self._context = request.context or WINDOW_TOKENS
        self._notices = list[str]()

    def scored(
        self,
        base: BaseFile | None = None,
        base_path: Path | None = None,
        reference_stats: RunStats | None = None,
        keep: Path | None = None,
    ) -> ScoreResult:
        """The model's score, against `base` if given; its log-probabilities kept in `keep` if given."""
        score, windows, stats = self._run(self.model, self._adapter, base, keep)
        if words := few_tokens("scored", score.n_tokens, score.n_windows):
            n_wanted = max(WINDOWS_WANTED, ceil(TOKENS_WANTED / windows.n_scored))
            limit = self._request.windows
            cure = f"give a text of {n_wanted} windows ({n_wanted * windows.context} tokens) or more"
            if limit is not None and limit < n_wanted:
                cure = f"ask for {n_wanted} windows or more, of a text that has them"
            self._note(f"{words}; {cure}")
        return ScoreResult(
            **{figure.name: getattr(score, figure.name) for figure in fields(score)},
            window_tokens=windows.context,
            notices=tuple(self._notices),
            stats=stats,
            base_path=base_path,
            reference_stats=reference_stats,
        )

    def reference(self, name: str | Path) -> tuple[Path, RunStats | None]:
        """The reference's base file: stored, from the cache, or made now, which has stats."""
        request, cache = self._request, reference_cache()
        if request.stored is not None:
            return request.stored, None
        model = find_model(name, self._reporter)
        if words := quantised_words(f"the reference {model.name}", quantised_types(model)):
            self._note(words)
        if model.n_vocab != self.model.n_vocab:
            numbers = f"{model.n_vocab} tokens in the reference's, {self.model.n_vocab} in the model's"
            raise ModelFileError("the vocabularies differ", numbers, "compare models of one family")
        if request.save_reference is not None:
            path = Path(request.save_reference)
            return path, self._run(model, keep=path)[2]
        described = model, self._text or "", self._context, request.windows
        if (found := cache.find(*described)) is not None:
            size = format_bytes(found.stat().st_size)
            self._reporter.say(f"{model.name}: log-probabilities of an earlier run, {size}: {found}")
            return found, None
        cache.folder.mkdir(parents=True, exist_ok=True)
        path = cache.path(*described)
        stats = self._run(model, keep=path)[2]
        cache.evict()
        return path, stats

    def _run(
        self,
        model: ModelFile,
        adapter: Adapter | None = None,
        base: BaseFile | None = None,
        keep: Path | None = None,
    ) -> tuple[Score, Windows, RunStats]:
        """One model opened and scored."""
        request = self._request
        opening = logits_opening(
            model,
            self._context if base is None else base.shape.context,
            request.ram,
            request.vram or 0,
            request.threads,
            request.ubatch,
            scratch_bytes=SCRATCH_BYTES,
            adapter=adapter,
        )
        with opening.open(self._reporter) as opened:
            windows = self._windows(opened.engine.vocabulary, base)
            score = self._evaluated(opened, windows, base, keep)
        return score, windows, opened.stats

    def _windows(self, vocabulary: Vocabulary, base: BaseFile | None) -> Windows:
        """Of the text, else of the base file, whose tokens must be the text's where there are both."""
        begin, limit = vocabulary.begin, self._request.windows
        if self._text is None:
            assert base is not None, "the request has a text or a stored reference"
            return Windows(base.tokens, begin).leading(limit)
        tokens = vocabulary.tokenize(self._text, add_special=True, parse_special=False)
        if base is None:
            return cut(tokens, self._context, begin, limit)
        windows = cut(tokens, base.shape.context, begin, limit).leading(len(base.tokens))
        base.check_text(windows.tokens)
        return windows

    def _evaluated(self, opened: Opened, windows: Windows, base: BaseFile | None, keep: Path | None) -> Score:
        engine, name = opened.engine, opened.model.name
        n_vocab = engine.vocabulary.size
        if keep is not None:
            shape = BaseShape(windows.context, n_vocab, len(windows))
            require_disk(keep.resolve(), shape)
            size = format_bytes(shape.size_bytes)
            self._reporter.say(f"{name}: keeps its log-probabilities, {size}: {keep}")
        with (
            nullcontext() if keep is None else BaseWriter(keep, windows, n_vocab) as writer,
            abort_on_interrupt(engine),
            self._reporter.progress(f"{name} reads the text", begins=True) as progress,
        ):
            return evaluate(windows, partial(logits_of, engine), base, writer, progress)

    def _note(self, words: str) -> None:
        """What the user should be careful about."""
        self._notices.append(words)
        self._reporter.warn(words)
