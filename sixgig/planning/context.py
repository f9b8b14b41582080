"""What a context of some length takes: KV cache, sliding windows, recurrent states.

As llama.cpp allocates them for each sequence (build 11549): cells are padded to 256; a sliding layer holds
its window and one ubatch; latent attention caches keys only; a recurrent layer holds one state in F32.
Equal to the engine's own figures, to the byte (tests/null/test_plan_context.py), for architectures that have
a declaration. Of others the engine alone knows: ModelFileError, but for growth_bytes.
"""

from __future__ import annotations

from dataclasses import replace

from sixgig.modelfile import TYPE_BY_NAME, ModelFile
from sixgig.planning.anatomy import Anatomy, Layer
from sixgig.planning.task import Task

CELL_STEP = 256
_F32_BYTES = 4


def context_bytes(model: Anatomy, task: Task) -> tuple[int, ...]:
    """Bytes of each layer."""
    return tuple(_layer_bytes(model.model, layer, task) for layer in model.layers)


def growth_bytes(model: Anatomy, task: Task, n_layers: int | None = None) -> int:
    """Bytes that one more position of each sequence takes in the first layers, or in all.

    States and full windows do not grow. 0 for an architecture without a declaration: not known.
    """
    if not model.model.family.declared:
        return 0
    grows = (layer for layer in model.layers[:n_layers] if not layer.recurrent and not layer.slides)
    return task.sequences * sum(row_bytes(model.model, layer, task) for layer in grows)


def cells(task: Task) -> int:
    """Positions a layer with full attention holds."""
    return _padded(task.context)


def row_bytes(model: ModelFile, layer: Layer, task: Task) -> int:
    """Bytes of one position in one layer that attends."""
    shape = model.attention
    if shape.latent is not None:
        return _stored(shape.latent.rank + shape.latent.n_rotary, task.type_k)
    heads = shape.n_kv_heads[layer.number]
    return _stored(heads * shape.key_length, task.type_k) + _stored(heads * shape.value_length, task.type_v)


def state_bytes(model: ModelFile) -> int:
    """Bytes of one recurrent layer's state: its convolution's last inputs and its matrix."""
    shape = model.attention
    if shape.recurrent is None:
        return max(0, shape.conv_cache - 1) * model.n_embd * _F32_BYTES
    state = shape.recurrent
    inputs = state.inner_size + 2 * state.group_count * state.state_size
    return _F32_BYTES * (max(0, state.conv_kernel - 1) * inputs + state.state_size * state.inner_size)


def checkpoint_bytes(model: Anatomy, task: Task) -> int:
    """Bytes of what cannot be rolled back in one sequence: recurrent states and sliding windows."""
    alone = replace(task, sequences=1)
    kept = (layer for layer in model.layers if layer.recurrent or layer.slides)
    return sum(_layer_bytes(model.model, layer, alone) for layer in kept)


def window(model: ModelFile) -> int:
    """Positions a sliding layer looks back; 0 where none slides."""
    rule, told = model.family.sliding, f"{model.architecture}.attention.sliding_window" in model.metadata
    if rule is None or (told and not model.attention.window):
        return 0
    return rule.window or model.attention.window or rule.default


def sliding_cells(model: ModelFile, task: Task) -> int:
    """Positions a sliding layer holds; 0 where none slides."""
    looks_back = window(model)
    return min(cells(task), _padded(looks_back + task.batch)) if looks_back else 0


def _layer_bytes(model: ModelFile, layer: Layer, task: Task) -> int:
    if layer.recurrent:
        return task.sequences * state_bytes(model)
    held = (sliding_cells(model, task) if layer.slides else 0) or cells(task)
    return task.sequences * held * row_bytes(model, layer, task)


def _padded(n: int) -> int:
    return -(-n // CELL_STEP) * CELL_STEP


def _stored(width: int, type_name: str) -> int:
    kind = TYPE_BY_NAME[type_name]
    return -(-width // kind.block_elements) * kind.block_bytes
