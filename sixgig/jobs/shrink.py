"""`shrink`: a smaller file of a model, with the loss measured."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from hashlib import sha256
from importlib import metadata
from pathlib import Path

from sixgig import __version__
from sixgig.compress.curve import LossPoint
from sixgig.compress.outcome import Outcome, measured_so_far, require_possible, shrink_to
from sixgig.compress.output import OutputFile
from sixgig.compress.shrinker import Shrinker
from sixgig.compress.texts import Texts, divide
from sixgig.compress.types import quantised_types
from sixgig.compress.workfolder import WorkFolder, WorkPlaces, taken_bytes
from sixgig.errors import ModelFileError, SixgigError, UsageError
from sixgig.inference.dry_load import engine_figures
from sixgig.inference.purpose import require_text, require_vocabulary
from sixgig.jobs.door import door
from sixgig.jobs.machines import WHEEL
from sixgig.jobs.opening import require_resources, usual_context
from sixgig.jobs.pictures import draw, require_drawable
from sixgig.jobs.reporter import Request
from sixgig.jobs.shrink_engines import BudgetedEngines
from sixgig.jobs.shrink_source import FINDINGS, open_source, require_same
from sixgig.jobs.texts import read_text
from sixgig.jobs.window_logits import quantised_words
from sixgig.modelfile import ModelFile
from sixgig.modelfile.imatrix import write_imatrix
from sixgig.planning import Budgets, Placement, Task
from sixgig.planning.sizing import room_for_weights
from sixgig.pruning.structure import can_be_cut
from sixgig.typed import at_least
from sixgig.units import format_bytes

# How many changes of the recipe are tried, by the source's size: each writes and measures a file.
_ROUNDS = ((1 << 30, 24), (8 << 30, 8))


@dataclass(frozen=True, kw_only=True)
class ShrinkRequest(Request):
    """model: a GGUF file (best in BF16 or F16), hf:OWNER/REPO[:QUANT|:FILE], or a Hugging Face folder.
    output: the file to write.
    text: the file to calibrate on: 200 KB or more, with some of everything the model is to be used for.
    size: most bytes of the file, by default what runs whole within ram and vram; size or ram is needed.
    ram: bytes for the whole process, by default what is free, less a margin; without size also what the
    result is to run in.
    vram: bytes of a GPU that the result is to run in; the run itself uses none.
    prune: try cuts too, and keep one where it measures better.
    held_out: the file to judge the result on, by default an eighth of the text, set apart.
    context: tokens that the result is to see at once, by default the model's own, at most 4096.
    work: a folder to keep findings in, to shrink to other sizes sooner; by default OUTPUT.work, removed at
    the end.
    imatrix: also write the importance matrix to this file, in llama.cpp's format.
    plot: draw loss against size of all files measured into this file, .png or .svg.
    threads: that compute, by default the performance cores that others leave free.
    reporter: who hears of progress and may cancel.

    Raises UsageError for what cannot be.
    """

    model: str | Path = field(kw_only=False)
    output: str | Path = field(kw_only=False)
    text: str | Path
    size: int | None = None
    ram: int | None = None
    vram: int = 0
    prune: bool = True
    held_out: str | Path | None = None
    context: int | None = None
    work: str | Path | None = None
    imatrix: str | Path | None = None
    plot: str | Path | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        """Refuse before anything is opened."""
        super().__post_init__()
        if self.size is None and self.ram is None:
            raise UsageError("no size was named", cure="give --size, or --ram and --vram to run in")
        at_least(0, "--size", self.size, most=sys.maxsize)
        at_least(1, "--context", self.context)
        require_resources(self.ram, self.vram, self.threads)


@dataclass(frozen=True)
class ShrinkResult(Outcome):
    """An Outcome with what it was asked for. path: of the file made. budget_bytes: what it might take.

    source_bytes, source_quantised: the source's size, and its types where it is quantised itself. curve: loss
    against size of all files measured, with a work folder that was kept those of earlier runs too. notices:
    what to be careful about.
    """

    path: Path
    budget_bytes: int
    source_bytes: int
    source_quantised: tuple[str, ...]
    curve: tuple[LossPoint, ...]
    notices: tuple[str, ...]


def _shrink(request: ShrinkRequest) -> ShrinkResult:
    """Make a smaller file of a model and say what it cost; `size` or `ram` is needed.

    Reads the model within `ram` whatever its size, measures on the text which weights matter, gives each
    tensor the storage type that loses least for its bytes, and measures the result on text it has not seen,
    beside a plain file of the nearest size below. A run that was ended (Ctrl-C, Reporter.cancel()) or killed
    resumes when it is asked for again. From any thread; two runs need work folders of their own.

    Raises UsageError for what is asked wrongly (a file that exists, a text too short), BudgetError for a size
    or a budget too small and for a full disk, ModelFileError for what is no sound model or generates no text,
    Cancelled.
    """
    return shrink_with(request, BudgetedEngines(request.ram, request.threads, request.listener))


shrink = door(ShrinkRequest, _shrink)
"""Make a smaller file of a model; arguments: ShrinkRequest."""


def shrink_with(request: ShrinkRequest, engines: BudgetedEngines) -> ShrinkResult:
    """As shrink(), with engines that are opened otherwise: to watch them."""
    reporter = request.listener
    _require_places(request)
    text = read_text(Path(request.text), reporter)
    held_out = read_text(Path(request.held_out), reporter) if request.held_out else None
    with reporter.progress("looking for passages that recur"):
        texts = divide(text, held_out)
    places = WorkPlaces(_work_folder(request))
    with places.held():
        try:
            made = _made(request, engines, texts, places)
        except BaseException:
            if kept := taken_bytes(places.folder):
                what = f"what was found so far, {format_bytes(kept)}, is kept in {places.folder}"
                reporter.warn(f"{what}: the same command goes on from there")
            raise
        if request.work is None:
            places.remove()
    return made


def _made(request: ShrinkRequest, engines: BudgetedEngines, texts: Texts, places: WorkPlaces) -> ShrinkResult:
    """Everything from the source to the judged file."""
    reporter, notices = request.listener, list[str]()

    def note(*words: str) -> None:
        """What to be careful about: said now, since the run takes long."""
        for notice in filter(None, words):
            notices.append(notice)
            reporter.warn(notice)

    note(*texts.notices)
    source = open_source(request.model, places, is_kept=request.work is not None, reporter=reporter)
    model = source.model
    require_text(model)
    require_vocabulary(model)
    quantised = tuple(quantised_types(model))
    note(quantised_words(model.name, quantised))
    budget_bytes = _room(request, model, engines.threads) if request.size is None else request.size
    folder = source.place / FINDINGS
    is_new = not folder.exists()
    text = sha256(repr(texts).encode()).hexdigest()
    programs = {"sixgig": __version__, "engine": metadata.version(WHEEL)}
    work = WorkFolder(folder, {"source": source.digest, "text": text, **programs})
    out = OutputFile(Path(request.output).absolute(), work)
    shrinker = Shrinker(model, texts, engines, work, engines.threads, source.digest)
    try:
        out.require_new()
        require_possible(shrinker, budget_bytes, out.path)
    except SixgigError:
        if is_new:
            work.remove()
        raise
    note(*shrinker.notices)
    prune = request.prune and can_be_cut(model)
    if request.prune and not prune:
        known = f"what may be cut out of {model.architecture} is not declared"
        reporter.say(f"{model.name} is not cut: {known}; types are chosen, as with --no-prune")
    rounds = next((n for size, n in _ROUNDS if model.size_bytes < size), 2)
    outcome = shrink_to(shrinker, budget_bytes, out, prune, rounds)
    try:
        require_same(source)
    except ModelFileError:  # what was found may be of two models
        out.path.unlink()
        work.remove()
        raise
    curve = measured_so_far(work)
    if request.imatrix is not None:
        write_imatrix(Path(request.imatrix), shrinker.calibration.to_imatrix())
    if request.plot is not None:
        draw(Path(request.plot), curve, model.name)
    return ShrinkResult(
        **vars(outcome),
        path=Path(request.output),
        budget_bytes=budget_bytes,
        source_bytes=model.size_bytes,
        source_quantised=quantised,
        curve=curve,
        notices=tuple(notices),
    )


def _room(request: ShrinkRequest, model: ModelFile, threads: int) -> int:
    """Bytes of weights that run whole in the memory named."""
    assert request.ram is not None, "the request saw to it"
    context = request.context or usual_context(model)
    budgets, task = Budgets(request.ram, request.vram), Task(context=context)
    measured = engine_figures(model, task, threads)(Placement(), "unpaged")
    room = room_for_weights(model, task, budgets, measured)
    request.listener.say(f"{format_bytes(room)} are left for weights at a context of {context}")
    return room


def _work_folder(request: ShrinkRequest) -> Path:
    out = Path(request.output).absolute()
    return Path(request.work or out.with_name(out.name + ".work"))


def _require_places(request: ShrinkRequest) -> None:
    """UsageError for files that could not be written after hours of work."""
    for place in [Path(path).absolute() for path in (request.output, request.imatrix, request.plot) if path]:
        if not place.parent.is_dir():
            raise UsageError(f"cannot write {place}", f"no folder {place.parent}", "make it first")
        if place.is_dir():
            raise UsageError(f"cannot write {place}", "it is a folder", "name a file")
    out = Path(request.output).absolute()
    if out.exists() and not _work_folder(request).exists():  # else this job may have written it
        raise UsageError(f"{out} exists", cure="remove it, or name another file with -o")
    if request.plot is not None:
        require_drawable(Path(request.plot))
