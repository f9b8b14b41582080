"""What one model takes, use by use: from the engine's own figures, or estimated from the header alone."""

from __future__ import annotations

from dataclasses import dataclass

from sixgig.modelfile import ModelFile
from sixgig.plan import footprint
from sixgig.plan.anatomy import Anatomy, anatomy
from sixgig.plan.budget import Needs, Tier
from sixgig.plan.buffers import compute_bytes
from sixgig.plan.context import cells, context_bytes, growth_bytes
from sixgig.plan.placement import Placement
from sixgig.plan.task import Task

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


@dataclass(frozen=True)
class EngineBytes:
    """What the engine holds in one memory. confirmed: its own figures, from a load without allocation.

    weights_bytes leaves routed experts out where they are paged.
    """

    weights_bytes: int
    context_bytes: int
    compute_bytes: int
    confirmed: bool = False


@dataclass(frozen=True)
class AdapterBytes:
    """What a LoRA takes in main memory: while it is used, and besides while it is read."""

    held_bytes: int
    loading_bytes: int


@dataclass(frozen=True)
class ProcessBytes:
    """This program itself with a model open and nothing of it allocated; source: how that is known."""

    anonymous_bytes: int
    file_bytes: int
    source: str


def estimated_process(model: Anatomy, task: Task, known: tuple[int, int] | None = None) -> ProcessBytes:
    """From `known` (anonymous, file) bytes without any model's bookkeeping, else from constants."""
    anonymous, file = known or (PROCESS_BYTES, PROGRAM_BYTES)
    source = "as in the latest run here" if known else "estimated"
    return ProcessBytes(anonymous + bookkeeping_bytes(model, task), file, source)


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


def least_engine(model: Anatomy, paged: bool) -> EngineBytes:
    """What any engine holds in main memory: the weights. No context, no buffers."""
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


def estimated_device(model: Anatomy, task: Task, placement: Placement) -> tuple[Tier, ...]:
    """The tiers of the GPU's memory; none where nothing is placed there."""
    moved = placement.moved_layers(model)
    if not moved:
        return ()
    remembered = context_bytes(model, task)
    dense = sum(layer.dense_bytes for layer in moved) + placement.head_bytes(model)
    return (
        Tier("driver", GPU_CONTEXT_BYTES),
        Tier("dense weights", dense),
        Tier("KV cache", sum(remembered[layer.number] for layer in moved)),
        Tier("compute buffers", compute_bytes(model, task)),
        Tier("routed experts", placement.device_routed_bytes(model)),
        Tier("expert cache", placement.expert_cache_bytes),
    )


def unpaged_needs(
    model: ModelFile,
    task: Task,
    engine: EngineBytes,
    process: ProcessBytes,
    adapter: AdapterBytes | None = None,
) -> Needs:
    """Everything loaded; while loading, the stream's buffer and the largest tensor come on top."""
    largest = max(tensor.size_bytes for tensor in model.tensors)
    kept = largest <= footprint.HEAP_KEEPS_BYTES
    loader = Tier("loader", footprint.STREAM_BYTES + largest, phase="always" if kept else "loading")
    return Needs(
        (*held_tiers(model, task, engine, process), *adapter_tiers(adapter), loader),
        routed_bytes=0,
        context_tokens=task.context,
        kv_bytes_per_token=growth_bytes(anatomy(model), task),
    )


def paged_needs(
    model: ModelFile,
    task: Task,
    engine: EngineBytes,
    process: ProcessBytes,
    adapter: AdapterBytes | None = None,
) -> Needs:
    """Routed experts in a cache."""
    return Needs(
        (*held_tiers(model, task, engine, process), *adapter_tiers(adapter)),
        footprint.resident_bytes(model),
        smallest_cache_bytes=footprint.smallest_cache_bytes(model),
        paged_tiers=(
            Tier("loader", footprint.STREAM_BYTES + footprint.UPLOAD_BYTES, phase="loading"),
            Tier("read-ahead", footprint.router_bytes(model) if task.read_ahead else 0),
        ),
        grouping=(Tier("expert groups", footprint.group_scratch_bytes(model, task.ubatch), phase="running"),),
        whole_visit_bytes=footprint.whole_visit_bytes(model),
        context_tokens=task.context,
        kv_bytes_per_token=growth_bytes(anatomy(model), task),
    )


def held_tiers(model: ModelFile, task: Task, engine: EngineBytes, process: ProcessBytes) -> tuple[Tier, ...]:
    """What is held in either mode."""
    return (
        Tier("process", process.anonymous_bytes),
        Tier("program files", process.file_bytes + footprint.KERNEL_FILE_BYTES, kind="file"),
        Tier("dense weights" if model.routed_bytes else "weights", engine.weights_bytes),
        Tier("KV cache", engine.context_bytes, phase="running"),
        Tier("compute buffers", engine.compute_bytes, phase="running"),
        Tier("kernel scratch", footprint.kernel_scratch_bytes(model, task.ubatch), phase="running"),
    )


def adapter_tiers(adapter: AdapterBytes | None) -> tuple[Tier, ...]:
    """A LoRA's, in either mode; none without one."""
    if adapter is None:
        return ()
    reading = Tier("adapter loader", adapter.loading_bytes, phase="loading")
    return Tier("adapter", adapter.held_bytes), reading
