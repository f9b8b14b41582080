"""How long a token and a prompt take: products by type, attention, states, small steps, reads from disk.

The physical limit (dense / memory + hits / memory + misses / disk) with the engine's own kernel speeds in
place of memory's bandwidth. Reads overlap with computing in part: OVERLAP was fitted on one machine (LOG.md).
Does not cover several requests at once, nor what layers remember in an architecture without a declaration.
"""

from __future__ import annotations

from sixgig.planning.anatomy import Anatomy, Layer, Weights, weights_by_type
from sixgig.planning.context import row_bytes, state_bytes, window
from sixgig.planning.limit import distinct_experts
from sixgig.planning.rates import CpuRates, Rates
from sixgig.planning.task import Task

OVERLAP = 0.5  # of the shorter one of computing and reading, with read-ahead
READ_AHEAD_EXCESS = 1.15  # bytes read for each wanted, guesses that were wrong included
ATTENTION_SHARE = 0.6  # of F16 products' speed, as flash attention reaches it
STEPS = {"attention": 18, "recurrent": 34, "dense": 5, "routed": 30}  # small graph nodes of a layer's parts
PROMPT_STEP_PASSES = 4.0  # times a small step's row is read and written, per prompt token
_F32_BYTES = 4


def layer_decode_s(model: Anatomy, layer: Layer, rates: Rates, task: Task, position: int) -> float:
    """Seconds of one token in all of a layer but its routed experts' products."""
    products = sum(rates.decode_s(weights) for weights in weights_by_type(layer.dense))
    return products + _memory_s(model, layer, rates, task, position) + rates.steps_s(_steps(layer))


def experts_decode_s(model: Anatomy, layer: Layer, rates: Rates) -> float:
    """Seconds of one token's routed experts in a layer, all in memory."""
    return sum(rates.decode_s(weights) for weights in _used(model, layer, model.model.n_experts_used))


def head_decode_s(model: Anatomy, rates: Rates) -> float:
    """Seconds of the last product."""
    tensors = model.head + (model.embedding if model.tied else ())
    return sum(rates.decode_s(weights) for weights in weights_by_type(tensors))


def layer_prompt_s(
    model: Anatomy, layer: Layer, rates: Rates, task: Task, n_tokens: int, position: float
) -> float:
    """Seconds of an ubatch in all of a layer but its routed experts' products."""
    products = sum(rates.prompt_s(weights, n_tokens) for weights in weights_by_type(layer.dense))
    rows = 2 * PROMPT_STEP_PASSES * _F32_BYTES * model.model.n_embd * _steps(layer)
    return products + n_tokens * (_memory_s(model, layer, rates, task, int(position)) + rates.move_s(rows))


def experts_prompt_s(model: Anatomy, layer: Layer, rates: Rates, n_tokens: int) -> float:
    """Seconds of an ubatch's routed experts in a layer, all in memory, each expert gone through once."""
    n_distinct = distinct_experts(model.model.n_experts, model.model.n_experts_used, n_tokens)
    if not n_distinct:
        return 0.0
    rows = n_tokens * model.model.n_experts_used / n_distinct
    return sum(rates.prompt_s(weights, rows) for weights in _used(model, layer, n_distinct))


def together_s(compute_s: float, disk_s: float, read_ahead: bool) -> float:
    """Seconds of computing and reading, part of it at the same time."""
    overlap = OVERLAP if read_ahead else 0.0
    return compute_s + disk_s - overlap * min(compute_s, disk_s)


def _used(model: Anatomy, layer: Layer, n_experts: float) -> tuple[Weights, ...]:
    return weights_by_type(layer.routed, n_experts / max(model.model.n_experts, 1))


def _memory_s(model: Anatomy, layer: Layer, rates: Rates, task: Task, position: int) -> float:
    """Seconds a token spends on what the layer remembers: attention, or its state read and written."""
    if not model.model.family.declared:
        return 0.0
    if layer.recurrent:
        return rates.move_s(2 * state_bytes(model.model))
    seen = min(position, window(model.model)) if layer.slides and window(model.model) else position
    if not isinstance(rates, CpuRates):
        return rates.move_s(seen * row_bytes(model.model, layer, task))
    shape = model.model.attention
    width = shape.latent.rank * 2 if shape.latent else shape.key_length + shape.value_length
    n_products = float(seen * shape.n_heads[layer.number] * width)
    return (
        rates.decode_s(Weights("F16", n_products, n_products / rates.kernels.row_width, 2 * n_products))
        / ATTENTION_SHARE
    )


def _steps(layer: Layer) -> int:
    remembers = STEPS["recurrent" if layer.recurrent else "attention"]
    return remembers + STEPS["routed" if layer.routed else "dense"]
