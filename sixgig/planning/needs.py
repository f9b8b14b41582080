"""What one model takes, use by use: from the engine's own figures, or estimated from the header alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from sixgig.planning import footprint
from sixgig.planning.anatomy import Anatomy
from sixgig.planning.budget import PROCESS_SPREAD_BYTES, Mode, Needs, PagedExperts
from sixgig.planning.buffers import compute_bytes
from sixgig.planning.context import cells, context_bytes, growth_bytes
from sixgig.planning.placement import Placement
from sixgig.planning.task import Task
from sixgig.planning.uses import Need, Tier, Use

MIB = 1 << 20
# Interpreter, libraries and command line; what the engine keeps of a token (text, score, merge) and of a
# layer's graph, larger for a recurrent one. Measured: LOG.md.
PROCESS_BYTES, PROGRAM_BYTES = 38 * MIB, 29 * MIB
VOCABULARY_ENTRY_BYTES, LAYER_GRAPH_BYTES, RECURRENT_GRAPH_BYTES = 460, 200 << 10, 1400 << 10
POSITION_BYTES = 56
# Of a graph of an evaluation: a node's place (ggml's overheads), and how many llama.cpp's context foresees;
# of some recurrent architectures as many as stand behind.
NODE_BYTES, FEWEST_NODES, NODES_PER_TENSOR = 424, 1024, 8
RECURRENT_NODES_PER_TENSOR, RECURRENT_NODES_PER_TOKEN = 32, 40
# A driver's context and kernels, before anything of ours: as published, not measured here.
GPU_CONTEXT_BYTES = 320 * MIB
_IN_MAIN_MEMORY = Placement()


@dataclass(frozen=True)
class Source:
    """How the engine's bytes are known. error: the most that compute buffers were off; the rest is exact."""

    words: str
    error: float


MEASURED = Source("confirmed by the engine", 0.0)
ESTIMATED = Source("estimated from the header", 0.25)  # LOG.md


@dataclass(frozen=True)
class EngineBytes:
    """What the engine holds in one memory. weights_bytes leaves routed experts out where they are paged.

    process: this program beside it, where that was measured with it.
    """

    weights_bytes: int
    context_bytes: int
    compute_bytes: int
    source: Source = ESTIMATED
    process: ProcessBytes | None = None

    @property
    def spread_bytes(self) -> int:
        """How much more it may turn out to be."""
        return int(self.source.error * self.compute_bytes)


@dataclass(frozen=True)
class AdapterBytes:
    """What a LoRA takes in main memory: while it is used, and besides while it is read."""

    held_bytes: int
    loading_bytes: int


@dataclass(frozen=True)
class ProcessBytes:
    """This program itself with a model open and nothing of it allocated."""

    anonymous_bytes: int
    file_bytes: int

    @property
    def total_bytes(self) -> int:
        """Both."""
        return self.anonymous_bytes + self.file_bytes


def estimated_process(model: Anatomy, task: Task, known: tuple[int, int] | None = None) -> ProcessBytes:
    """From `known` (anonymous, file) bytes without any model's bookkeeping, else from constants."""
    anonymous, file = known or (PROCESS_BYTES, PROGRAM_BYTES)
    return ProcessBytes(anonymous + bookkeeping_bytes(model, task), file)


def table_bytes(task: Task) -> int:
    """What the engine notes of each position of a context, used or not, besides what it remembers there."""
    return POSITION_BYTES * task.sequences * cells(task)


def _evaluation_bytes(model: Anatomy, task: Task) -> int:
    """What the two graphs of an evaluation have room for. An estimate."""
    n_tensors = len(model.model.tensors)
    n_nodes = max(FEWEST_NODES, NODES_PER_TENSOR * n_tensors)
    if any(layer.recurrent for layer in model.layers):
        n_nodes = max(
            n_nodes, RECURRENT_NODES_PER_TENSOR * n_tensors, RECURRENT_NODES_PER_TOKEN * task.ubatch
        )
    return 2 * NODE_BYTES * n_nodes


def bookkeeping_bytes(model: Anatomy, task: Task) -> int:
    """What the engine keeps of a model besides weights: vocabulary and graphs. An estimate."""
    n_recurrent = sum(layer.recurrent for layer in model.layers)
    graphs = LAYER_GRAPH_BYTES * len(model.layers) + RECURRENT_GRAPH_BYTES * n_recurrent
    return VOCABULARY_ENTRY_BYTES * model.model.n_vocab + graphs + _evaluation_bytes(model, task)


def header_engine(model: Anatomy, task: Task, placement: Placement, paged: bool) -> EngineBytes:
    """As estimated_engine(); without a declaration the weights alone, which any engine holds."""
    if model.model.family.declared:
        return estimated_engine(model, task, placement, paged)
    return EngineBytes(model.dense_bytes + (0 if paged else model.routed_bytes), 0, 0)


def estimated_engine(model: Anatomy, task: Task, placement: Placement, paged: bool) -> EngineBytes:
    """What lies in main memory: all that the placement leaves there.

    ModelFileError for an architecture without a declaration.
    """
    remembered = context_bytes(model, task)
    weights = model.dense_bytes + (0 if paged else placement.host_routed_bytes(model))
    moved = placement.moved_layers(model)
    return EngineBytes(
        weights - sum(layer.dense_bytes for layer in moved) - placement.head_bytes(model),
        sum(remembered) - sum(remembered[layer.number] for layer in moved),
        compute_bytes(model, task),
    )


def estimated_device(model: Anatomy, task: Task, placement: Placement) -> tuple[Need, ...]:
    """What lies in the GPU's memory; nothing where nothing is placed there."""
    moved = placement.moved_layers(model)
    if not moved:
        return ()
    remembered = context_bytes(model, task)
    dense = sum(layer.dense_bytes for layer in moved) + placement.head_bytes(model)
    return (
        *device_needs(
            EngineBytes(dense, sum(remembered[layer.number] for layer in moved), compute_bytes(model, task)),
            Use.DENSE_WEIGHTS,
        ),
        Need(Use.ROUTED_EXPERTS, placement.device_routed_bytes(model), tier=Tier.VRAM),
        Need(Use.EXPERT_CACHE, placement.expert_cache_bytes, tier=Tier.VRAM),
    )


def device_needs(engine: EngineBytes, weights: Use = Use.WEIGHTS) -> tuple[Need, ...]:
    """What a GPU holds for the engine, and its driver."""
    sizes = {
        Use.DRIVER: GPU_CONTEXT_BYTES,
        weights: engine.weights_bytes,
        Use.KV_CACHE: engine.context_bytes,
        Use.COMPUTE_BUFFERS: engine.compute_bytes,
    }
    return tuple(Need(use, size, tier=Tier.VRAM) for use, size in sizes.items())


@dataclass(frozen=True)
class ModelNeeds:
    """What a model takes for a task, whichever way it is held. adapter, beside: held as well.

    An adapter is counted in both memories, for the engine puts it where the layers are.
    """

    model: Anatomy
    task: Task
    adapter: AdapterBytes | None = None
    beside: tuple[Need, ...] = ()

    def by_header(self, mode: Mode, process: ProcessBytes, placement: Placement = _IN_MAIN_MEMORY) -> Needs:
        """As estimated; without a declaration it is the least there can be."""
        engine = header_engine(self.model, self.task, placement, mode == "paged")
        device = estimated_device(self.model, self.task, placement)
        needs = self.of(mode, engine, process, placement, device)
        return replace(needs, spread_bytes=PROCESS_SPREAD_BYTES + engine.spread_bytes)

    def of(
        self,
        mode: Mode,
        engine: EngineBytes,
        process: ProcessBytes | None = None,
        placement: Placement = _IN_MAIN_MEMORY,
        device: tuple[Need, ...] = (),
    ) -> Needs:
        """engine: in main memory; device: in a GPU's, by that placement. process: as `engine` says unless
        that is None; what was measured may turn out to be more.
        """
        told = engine.process
        process = process or told
        assert process is not None, "measured or estimated"
        paged = self._paged if mode == "paged" else None
        if paged is not None:
            share = placement.host_routed_bytes(self.model) / max(self.model.routed_bytes, 1)
            paged = replace(paged, size_bytes=int(paged.size_bytes * share))
        reading = self._reading() if paged is not None else ()
        held = (
            *self._held(engine, process),
            *self._adapter(bool(device)),
            *(() if paged else (self._loader(),)),
            *self.beside,
            *reading,
            *device,
        )
        growth = growth_bytes(self.model, self.task, len(self.model.layers) - placement.n_layers)
        spread = PROCESS_SPREAD_BYTES + max(0, told.total_bytes - process.total_bytes) if told else 0
        return Needs(held, paged, self.task.context, growth, spread)

    @cached_property
    def _paged(self) -> PagedExperts:
        file, groups = self.model.model, footprint.group_scratch_bytes(self.model.model, self.task.ubatch)
        return PagedExperts(
            footprint.resident_bytes(file),
            footprint.smallest_cache_bytes(file),
            (Need(Use.EXPERT_GROUPS, groups, phase="running"),),
            footprint.whole_visit_bytes(file),
        )

    def _held(self, engine: EngineBytes, process: ProcessBytes) -> tuple[Need, ...]:
        """Whether experts are paged or not."""
        file = self.model.model
        scratch = footprint.kernel_scratch_bytes(file, self.task.ubatch)
        return (
            Need(Use.PROCESS, process.anonymous_bytes),
            Need(Use.PROGRAM_FILES, process.file_bytes + footprint.KERNEL_FILE_BYTES, kind="file"),
            Need(Use.DENSE_WEIGHTS if file.routed_bytes else Use.WEIGHTS, engine.weights_bytes),
            Need(Use.KV_CACHE, engine.context_bytes, phase="running"),
            Need(Use.COMPUTE_BUFFERS, engine.compute_bytes, phase="running"),
            Need(Use.KERNEL_SCRATCH, scratch, phase="running"),
        )

    def _adapter(self, on_device: bool) -> tuple[Need, ...]:
        if self.adapter is None:
            return ()
        held = self.adapter.held_bytes
        there = (Need(Use.ADAPTER, held, tier=Tier.VRAM),) if on_device else ()
        reading = Need(Use.ADAPTER_LOADER, self.adapter.loading_bytes, phase="loading")
        return Need(Use.ADAPTER, held), reading, *there

    def _loader(self) -> Need:
        """The stream's buffer and the largest tensor, on top of everything while it is loaded."""
        largest = max(tensor.size_bytes for tensor in self.model.model.tensors)
        kept = largest <= footprint.HEAP_KEEPS_BYTES
        return Need(Use.LOADER, footprint.STREAM_BYTES + largest, phase="always" if kept else "loading")

    def _reading(self) -> tuple[Need, ...]:
        """Where experts are paged."""
        routers = footprint.router_bytes(self.model.model) if self.task.read_ahead else 0
        loader = footprint.STREAM_BYTES + footprint.UPLOAD_BYTES
        return Need(Use.LOADER, loader, phase="loading"), Need(Use.READ_AHEAD, routers)
