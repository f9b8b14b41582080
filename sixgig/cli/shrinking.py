"""One `sixgig shrink`: the options made sense of, and the engine as the shrinker needs it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from importlib import metadata
from pathlib import Path

from sixgig import __version__
from sixgig.cli.console import PromptBar
from sixgig.cli.parameters import budget_bytes
from sixgig.cli.picture import draw, require_drawable
from sixgig.cli.reporter import TerminalReporter
from sixgig.cli.scoring import fitting_ubatch, logits_of, quantised_words, text_begin
from sixgig.cli.shrink_source import FINDINGS, open_source, require_same
from sixgig.cli.terminal import say, warn
from sixgig.compress.engines import OpenModel
from sixgig.compress.outcome import Outcome, require_new, require_possible, shrink_to
from sixgig.compress.shrinker import Shrinker
from sixgig.compress.texts import Texts, divide
from sixgig.compress.types import quantised_types
from sixgig.compress.workfolder import WorkFolder, WorkPlaces, taken_bytes
from sixgig.errors import ModelFileError, SixgigError, UsageError
from sixgig.evaluate.log_probabilities import Logits
from sixgig.hardware import usable_cores
from sixgig.inference import Engine, Watcher, abort_on_interrupt
from sixgig.inference.dry_load import engine_figures
from sixgig.inference.memory import allowed
from sixgig.inference.purpose import require_text, require_vocabulary
from sixgig.jobs.machines import WHEEL
from sixgig.jobs.opening import DEFAULT_CONTEXT, Opened, Opening
from sixgig.jobs.texts import read_text
from sixgig.modelfile import ModelFile
from sixgig.modelfile.imatrix import write_imatrix
from sixgig.plan import Budgets, Placement, Task
from sixgig.plan.sizing import room_for_weights
from sixgig.pruning.structure import can_be_cut
from sixgig.units import format_bytes, parse_memory, parse_size

# How many changes of the recipe are tried, by the source's size: each writes and measures a file.
_ROUNDS = ((1 << 30, 24), (8 << 30, 8))


@dataclass(frozen=True)
class Request:
    """The options as typed; None means the default."""

    model: str
    output: Path
    text: Path
    size: str | None
    ram: str | None
    vram: str | None
    prune: bool
    held_out: Path | None
    context: int | None
    work: Path | None
    imatrix: Path | None
    plot: Path | None
    threads: int | None


class Shrinking:
    """Shrinks once with run(); afterwards `outcome`, `source` and `budget_bytes` tell how it went, `notices`
    what to be careful about."""

    outcome: Outcome
    source: ModelFile
    budget_bytes: int
    notices: list[str]

    def __init__(self, request: Request) -> None:
        self.request, self.notices = request, []
        self.engines = BudgetedEngines(request.ram, request.threads)

    def run(self) -> None:
        """Everything, from the options to the judged file."""
        request = self.request
        out = request.output.absolute()
        _require_sense(request)
        text = read_text(request.text, TerminalReporter())
        held_out = None if request.held_out is None else read_text(request.held_out, TerminalReporter())
        with PromptBar("looking for passages that recur"):
            texts = divide(text, held_out)
        self._note(texts.notices)
        places = WorkPlaces(request.work or out.with_name(out.name + ".work"))
        with places.held():
            try:
                self._run(texts, places, out)
            except BaseException:
                if kept := taken_bytes(places.folder):
                    what = f"what was found so far, {format_bytes(kept)}, is kept in {places.folder}"
                    warn(f"{what}: the same command goes on from there")
                raise
            if request.work is None:
                places.remove()

    def _run(self, texts: Texts, places: WorkPlaces, out: Path) -> None:
        request = self.request
        source = open_source(request.model, places, is_kept=request.work is not None)
        self.source = model = source.model
        require_text(model)
        require_vocabulary(model)
        self._note(filter(None, [quantised_words(model.name, quantised_types(model))]))
        self.budget_bytes = self._budget(model)
        folder = source.place / FINDINGS
        job = {"source": source.digest, "text": _digest(repr(texts)), **_programs()}
        is_new = not folder.exists()
        work = WorkFolder(folder, job)
        shrinker = Shrinker(model, texts, self.engines, work, self.engines.threads, source.digest)
        try:
            require_new(out, work)
            require_possible(shrinker, self.budget_bytes, out)
        except SixgigError:
            if is_new:
                work.remove()
            raise
        self._note(shrinker.notices)
        rounds = next((n for size, n in _ROUNDS if model.size_bytes < size), 2)
        prune = request.prune and can_be_cut(model)
        if request.prune and not prune:
            known = f"what may be cut out of {model.architecture} is not declared"
            say(f"{model.name} is not cut: {known}; types are chosen, as with --no-prune")
        self.outcome = shrink_to(shrinker, self.budget_bytes, out, prune, rounds, say)
        try:
            require_same(source)
        except ModelFileError:  # what was found may be of two models
            out.unlink()
            work.remove()
            raise
        if request.imatrix is not None:
            write_imatrix(request.imatrix, shrinker.calibration.to_imatrix())
        if request.plot is not None:
            draw(request.plot, work.load("results"), model.name)

    def _note(self, words: Iterable[str]) -> None:
        """Keep what the user should be careful about, and say it now: the run takes long."""
        for notice in words:
            self.notices.append(notice)
            warn(notice)

    def _budget(self, model: ModelFile) -> int:
        """Bytes the file may take: as said, or what runs whole in the memory named."""
        request = self.request
        if request.size is not None:
            return parse_size(request.size)
        assert request.ram is not None, "_require_sense saw to it"
        context = request.context or min(model.context_length or DEFAULT_CONTEXT, DEFAULT_CONTEXT)
        vram_bytes = 0 if request.vram is None else parse_size(request.vram)
        budgets, task = Budgets(parse_memory(request.ram), vram_bytes), Task(context=context)
        measured = engine_figures(model, task, self.engines.threads)(Placement(), "unpaged")
        room = room_for_weights(model, task, budgets, measured)
        say(f"{format_bytes(room)} are left for weights at a context of {context}")
        return room


class BudgetedEngines:
    """Opens models within --ram, one at a time."""

    def __init__(self, ram: str | None, threads: int | None) -> None:
        self._ram, self._threads = ram, threads

    @property
    def threads(self) -> int:
        """Threads that compute."""
        return self._threads or usable_cores().performance

    @property
    def ram_bytes(self) -> int:
        """The budget."""
        return allowed(None if self._ram is None else parse_memory(self._ram)).ram_bytes

    @contextmanager
    def open(
        self,
        model: ModelFile,
        context: int,
        observe: Watcher | None = None,
        beside_bytes: int = 0,
    ) -> Iterator[OpenModel]:
        """As compress.Engines."""
        ubatch = fitting_ubatch(context, model.n_vocab, self.ram_bytes)
        opening = Opening(
            model,
            budget_bytes(self._ram),
            0,
            context,
            self._threads,
            ubatch,
            extra_buffers=False,
            all_logits=True,
            beside_bytes=beside_bytes + 2 * 4 * ubatch * model.n_vocab,
            observe=observe,
        )
        with opening.open() as opened, abort_on_interrupt(opened.engine):
            yield _Open(opened)

    def fits(self, model: ModelFile) -> bool:
        """Whether it would be held whole: a fifth of the budget is for the rest."""
        return model.size_bytes < self.ram_bytes * 4 // 5

    @contextmanager
    def progress(self, label: str) -> Iterator[Callable[[float], object]]:
        """A bar once it takes longer; into a log, lines."""
        with PromptBar(label, begins=True) as bar:
            yield bar

    def say(self, line: str) -> None:
        """On stderr."""
        say(line)


class _Open:
    """compress.OpenModel on an engine."""

    def __init__(self, opened: Opened) -> None:
        self._engine: Engine = opened.engine

    def feed(self, tokens: Sequence[int]) -> None:
        """In ubatches, from an empty context."""
        engine = self._engine
        engine.clear()
        for start in range(0, len(tokens), engine.ubatch):
            engine.feed(tokens[start : start + engine.ubatch])

    def logits_of(self, tokens: Sequence[int], first: int) -> Iterable[Logits]:
        """As evaluate.LogitsOf."""
        return logits_of(self._engine, tokens, first)

    def tokenize(self, text: str) -> list[int]:
        """Special tokens of the text are plain text."""
        return self._engine.vocabulary.tokenize(text, add_special=True, parse_special=False)

    @property
    def bos(self) -> int | None:
        """What begins a text."""
        return text_begin(self._engine.vocabulary)


def _require_sense(request: Request) -> None:
    """UsageError for options that would fail after hours of work."""
    if request.size is None and request.ram is None:
        raise UsageError("no size was named", cure="give --size, or --ram and --vram to run in")
    for size in filter(None, (request.size, request.ram, request.vram)):
        parse_size(size)
    for path in filter(None, (request.output, request.imatrix, request.plot)):
        _require_place(path.absolute())
    if request.plot is not None:
        require_drawable(request.plot)


def _require_place(out: Path) -> None:
    if not out.parent.is_dir():
        raise UsageError(f"cannot write {out}", f"no folder {out.parent}", "make it first")
    if out.is_dir():
        raise UsageError(f"cannot write {out}", "it is a folder", "name a file")


def _programs() -> dict[str, str]:
    """What else decides the findings to the last bit."""
    return {"sixgig": __version__, "engine": metadata.version(WHEEL)}


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()
