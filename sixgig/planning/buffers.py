"""An estimate of the engine's compute buffers, where it cannot be asked.

llama.cpp's graph allocator reuses memory, so that the largest step decides: the feed-forward part, the
experts' outputs before they are summed, or attention; all grow with the ubatch. The attention mask (16 bits
for each cell and token) is there once for layers that hold all cells and once for sliding ones. Fitted to the
engine's own figures for eight models of 8 to 122 billion parameters; LOG.md has the error.
"""

from __future__ import annotations

from sixgig.planning.anatomy import Anatomy
from sixgig.planning.context import cells, sliding_cells
from sixgig.planning.footprint import expert_width
from sixgig.planning.task import Task

_F32_BYTES, _MASK_BYTES = 4, 2
_SMALL_BYTES = 64 << 10  # inputs: token ids, positions, output ids


def compute_bytes(model: Anatomy, task: Task) -> int:
    """Bytes of the compute buffer on one device."""
    widest = max(_feed_forward(model), _experts(model), _attention(model), _delta_net(model))
    rows = task.batch
    whole = any(not layer.slides for layer in model.layers)
    masked = whole * cells(task) + sliding_cells(model.model, task)
    return rows * (widest * _F32_BYTES + masked * _MASK_BYTES) + _SMALL_BYTES


def _feed_forward(model: Anatomy) -> int:
    """Gate, up and their product, beside five of the hidden state."""
    return 3 * max(model.model.hyperparameters.feed_forward_lengths, default=0) + 5 * model.model.n_embd


def _experts(model: Anatomy) -> int:
    """The same for all experts of a token, or their outputs plain and weighted."""
    used, n_embd = model.model.n_experts_used, model.model.n_embd
    return max(3 * used * expert_width(model.model), 2 * used * n_embd) + 5 * n_embd


def _attention(model: Anatomy) -> int:
    """Queries and their result, keys and values."""
    shape = model.model.attention
    heads, kv_heads = max(shape.n_heads, default=0), max(shape.n_kv_heads, default=0)
    key = shape.latent.key_length + shape.latent.rank if shape.latent else shape.key_length
    return 2 * heads * key + 2 * kv_heads * shape.key_length + 3 * model.model.n_embd


def _delta_net(model: Anatomy) -> int:
    """Queries, keys, values and gates of a recurrent layer, and what it puts out."""
    state = model.model.attention.recurrent
    if state is None:
        return 0
    inputs = state.inner_size + 2 * state.group_count * state.state_size
    return 2 * inputs + 2 * state.inner_size + 3 * model.model.n_embd
