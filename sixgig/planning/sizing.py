"""How large a model may be to run whole within a budget: the planner's question turned round."""

from __future__ import annotations

from dataclasses import replace

from sixgig.errors import BudgetError
from sixgig.modelfile import ModelFile
from sixgig.planning.anatomy import anatomy
from sixgig.planning.budget import Budgets, margin_for
from sixgig.planning.buffers import compute_bytes
from sixgig.planning.needs import (
    GPU_CONTEXT_BYTES,
    EngineBytes,
    ModelNeeds,
    estimated_engine,
    estimated_process,
)
from sixgig.planning.placement import Placement
from sixgig.planning.task import Task
from sixgig.planning.uses import Tier
from sixgig.units import format_bytes

_ROUNDS = 4


def room_for_weights(
    model: ModelFile, task: Task, budgets: Budgets, measured: EngineBytes | None = None
) -> int:
    """Bytes that weights of `model`'s shape may take: the rest is KV cache, buffers, process and margin.

    A GPU holds its driver's context and compute buffers of its own; layers and head are taken to divide
    well. measured: what the engine takes for this model, unpaged in main memory; without, KV cache and
    buffers are estimated from the header. Raises BudgetError when nothing is left.
    """
    device = _device_room(model, task, budgets.vram_bytes)
    size = budgets.ram_bytes + device
    for _ in range(_ROUNDS):
        beside = _beside(model, task, size, measured)
        size = budgets.ram_bytes - margin_for(budgets.ram_bytes) - beside + device
        if size <= 0:
            raise _no_room(model, task, budgets, measured)
    return size


def _device_room(model: ModelFile, task: Task, vram_bytes: int) -> int:
    if not vram_bytes:
        return 0
    return max(0, vram_bytes - GPU_CONTEXT_BYTES - compute_bytes(anatomy(model), task))


def _beside(model: ModelFile, task: Task, size: int, measured: EngineBytes | None) -> int:
    """What a run needs besides weights of `size` bytes; the loader's staging goes by the largest tensor."""
    scaled = _scaled(model, size / max(1, model.routed_bytes + model.dense_bytes))
    parts = anatomy(scaled)
    engine = (
        replace(measured, weights_bytes=size)
        if measured is not None
        else estimated_engine(parts, task, Placement(), paged=False)
    )
    needs = ModelNeeds(parts, task).of("unpaged", engine, estimated_process(parts, task))
    return needs.least_bytes(Tier.RAM) - engine.weights_bytes


def _scaled(model: ModelFile, factor: float) -> ModelFile:
    tensors = tuple(replace(t, size_bytes=max(1, int(t.size_bytes * factor))) for t in model.tensors)
    return replace(model, tensors=tensors)


def _no_room(model: ModelFile, task: Task, budgets: Budgets, measured: EngineBytes | None) -> BudgetError:
    least = _beside(model, task, 1, measured)
    given = format_bytes(budgets.ram_bytes) + (
        f" and {format_bytes(budgets.vram_bytes)} of a GPU" if budgets.vram_bytes else ""
    )
    return BudgetError(
        f"no weights fit in {given}",
        f"{format_bytes(least)} go to KV cache, buffers and the program at a context of {task.context}",
        "give more memory, or a shorter --context",
    )
