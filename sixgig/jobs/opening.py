"""From a model's name to an open engine: fetched, planned, loaded within the budget."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from sixgig.errors import ModelFileError
from sixgig.hardware import Peak, PeakSampler
from sixgig.hardware.conditions import Watch
from sixgig.inference import Adapter, EngineOptions, Watcher
from sixgig.inference.dry_load import checkpoint_bytes
from sixgig.inference.engine import observing
from sixgig.inference.load import BudgetedEngine, load
from sixgig.inference.memory import allowed, arrange
from sixgig.inference.purpose import placeholder, require_text, require_vocabulary
from sixgig.inference.request import MemoryRequest, PagingOptions
from sixgig.jobs.machines import gpu_machine
from sixgig.jobs.reporter import SILENT, Reporter
from sixgig.modelfile import ModelFile, open_model, resolve
from sixgig.pager.pager import Counters
from sixgig.planning import MemoryPlan, Need, Use
from sixgig.typed import MOST_BYTES, at_least
from sixgig.units import format_bytes

DEMO_MODEL = "pep-moe-31m.gguf"
ADAPTER = "adapter.gguf"  # in the folder that `tune` writes
DEFAULT_CONTEXT = 4096
DEFAULT_UBATCH = 512
_DEMO_NOTICE = (
    "No MODEL named: this is the demo model inside the package. It is tiny and knows nothing but Python's\n"
    "enhancement proposals: it continues your text with some that looks like a PEP. It cannot answer."
)


@dataclass(frozen=True)
class RunStats:
    """What a model took while it was open.

    plan: how memory was planned; peak: most that was held; load_s: seconds until the model was open.

    counters: of the pager, None where nothing was paged. options: context, threads and so on, as used.
    """

    model: ModelFile = field(repr=False)
    options: EngineOptions
    plan: MemoryPlan
    peak: Peak
    load_s: float
    counters: Counters | None

    @property
    def peak_memory_bytes(self) -> int:
        """Of the whole process, program files included."""
        return self.peak.total_bytes

    @property
    def hit_rate(self) -> float | None:
        """Share of experts found in memory, from 0 to 1; None where nothing was paged."""
        return self.counters.hit_rate if self.counters else None

    @property
    def bytes_read(self) -> int:
        """Of experts, from disk."""
        return self.counters.bytes_read if self.counters else 0


@dataclass
class Opened:
    """An open engine with what is known about it. `peak` is final once the block that opened it has ended.

    watch: of the machine, since the engine was open.
    """

    engine: BudgetedEngine
    model: ModelFile
    load_s: float
    sampler: PeakSampler
    watch: Watch | None = None

    @property
    def plan(self) -> MemoryPlan:
        """How memory was planned."""
        return self.engine.plan

    @property
    def peak(self) -> Peak:
        """Most memory held so far."""
        return self.sampler.peak

    @property
    def stats(self) -> RunStats:
        """What it took so far; final once the block that opened it has ended."""
        engine = self.engine
        return RunStats(self.model, engine.options, self.plan, self.peak, self.load_s, engine.counters())


@dataclass(frozen=True)
class Opening:
    """What to open and how; None means the default, sizes in bytes. Raises UsageError, and as loading does.

    ram_bytes: for the whole process, by default what is free. vram_bytes: of a GPU; 0 uses none.
    all_logits: for Engine.all_logits. checkpoint: as EngineOptions', counted in the plan. beside_bytes: what
    the caller will allocate once the engine is open, which the plan counts. adapter: opened for this model.
    observe: as Engine's.
    """

    model: ModelFile
    ram_bytes: int | None = None
    vram_bytes: int = 0
    context: int | None = None
    threads: int | None = None
    ubatch: int | None = None
    paging: PagingOptions | None = None
    extra_buffers: bool = True
    all_logits: bool = False
    checkpoint: bool = False
    beside_bytes: int = 0
    adapter: Adapter | None = None
    observe: Watcher | None = None

    @contextmanager
    def open(
        self, reporter: Reporter = SILENT, announce: Callable[[MemoryPlan], object] = lambda plan: None
    ) -> Iterator[Opened]:
        """The engine, while the block runs; the plan is told before anything large is loaded.

        announce: may refuse the plan, by raising.
        """
        request = self._request()
        if remark := allowed(self.ram_bytes).remark:
            reporter.warn(remark)
        started = time.perf_counter()
        for words in (placeholder(self.model), self._beyond_training(request.options.context)):
            if words:
                reporter.warn(words)
        with PeakSampler() as sampler, closing(arrange(request)) as arrangement:
            plan = arrangement.plan
            announce(plan)
            reporter.plan(f"{self.model.name}: {format_bytes(self.model.size_bytes)}, {plan.explain()}")
            read = self.model.dense_bytes + (self.model.routed_bytes if plan.mode == "unpaged" else 0)
            with reporter.progress("loading", size_bytes=read) as progress:
                engine = load(arrangement, progress, self.observe)
            with engine:
                seconds = time.perf_counter() - started
                yield Opened(engine, self.model, seconds, sampler, Watch())

    def _request(self) -> MemoryRequest:
        options = self._options()
        kept = checkpoint_bytes(self.model, options) if self.checkpoint else 0
        beside = ((Use.LOGITS, self.beside_bytes), (Use.CHECKPOINT, kept))
        return MemoryRequest(
            self.model,
            self.ram_bytes,
            observing(options, self.observe),
            self.paging or PagingOptions(),
            self.vram_bytes,
            gpu_machine(self.model.parts[0].parent) if self.vram_bytes else None,
            self.adapter,
            tuple(Need(use, size, phase="running") for use, size in beside if size),
        )

    @property
    def budget_bytes(self) -> int:
        """The budget as it would be planned with now."""
        return allowed(self.ram_bytes).ram_bytes

    @property
    def thread_count(self) -> int:
        """Threads that compute, as EngineOptions takes them: 0 unless said."""
        at_least(1, "--threads", self.threads)
        return self.threads or 0

    def _beyond_training(self, context: int) -> str:
        """What to expect of positions that the model was not trained for, "" where there are none."""
        trained = self.model.context_length
        if not trained or context <= trained:
            return ""
        return (
            f"{self.model.name}: a context of {context} tokens is more than the {trained} "
            "the model was trained for: llama.cpp evaluates them all, "
            "but what comes after those may be nonsense"
        )

    def _options(self) -> EngineOptions:
        context = self.context
        if context is None:
            context = usual_context(self.model)
        return EngineOptions(
            context=context,
            ubatch=min(self.ubatch or DEFAULT_UBATCH, context),  # more are never evaluated together
            threads=self.thread_count,
            extra_buffers=self.extra_buffers,
            all_logits=self.all_logits,
            checkpoint=self.checkpoint,
        )


def find_model(name: str | Path | ModelFile | None, reporter: Reporter = SILENT) -> ModelFile:
    """The model named, or the demo model with a word about it. ModelFileError for one that gives no text.

    name: a GGUF file, or hf:OWNER/REPO[:QUANT|:FILE], fetched where it is not here.
    """
    if name is not None:
        model = name if isinstance(name, ModelFile) else open_model(fetched(name, reporter))
        require_text(model)
        require_vocabulary(model)
        return model
    reporter.say(_DEMO_NOTICE)
    return open_model(demo_path())


def fetched(name: str | Path, reporter: Reporter = SILENT) -> Path:
    """The path of the model named, fetched where it is not here."""
    return resolve(str(name), reporter.download_bar)


def find_adapter(name: str | Path | None, model: ModelFile) -> Adapter | None:
    """The adapter named, or that in a folder of `tune`, checked against the model; None where none was."""
    if name is None:
        return None
    path = Path(name)
    inside = path / ADAPTER
    if not os.path.lexists(path):
        cure = "name an adapter: a GGUF file, or the folder that tune wrote"
        raise ModelFileError(f"{path} does not exist", cure=cure)
    return Adapter.open(inside if os.path.isfile(inside) else path, model)


def usual_context(model: ModelFile) -> int:
    """Tokens that a model sees at once where nobody says how many: its own, at most DEFAULT_CONTEXT."""
    return min(model.context_length or DEFAULT_CONTEXT, DEFAULT_CONTEXT)


def demo_path() -> Path:
    """The demo model's file. The package is always unpacked: its native library is a file too."""
    return Path(str(resources.files("sixgig") / "demo" / DEMO_MODEL))


def require_resources(
    ram: int | None, vram: int | None, threads: int | None, ubatch: int | None = None
) -> None:
    """UsageError for bytes, threads or tokens evaluated together that cannot be."""
    at_least(1, "--ubatch", ubatch)
    at_least(1, "--ram", ram, MOST_BYTES)
    at_least(0, "--vram", vram, MOST_BYTES)
    at_least(1, "--threads", threads)
