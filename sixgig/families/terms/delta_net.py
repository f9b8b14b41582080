"""Gated DeltaNet's tensors: Hugging Face groups value heads by key head, llama.cpp tiles them.

Value head v of key head k stands at k * n + v there and at v * n_key_heads + k here, so that key heads may
simply be repeated. Source: llama.cpp's graph of Qwen3.5; both orders agree where n is 1.
"""

import numpy as np

from sixgig.families.terms.config import Config
from sixgig.families.terms.transforms import SQUEEZE, Array, Shape, Transform, require


def _heads(config: Config) -> tuple[int, int]:
    """Key heads, and value heads for each of them."""
    n_keys, n_values = config.integer("linear_num_key_heads"), config.integer("linear_num_value_heads")
    numbers = f"{n_values} value heads, {n_keys} key heads"
    require(n_keys > 0 and n_values % n_keys == 0, "config.json: value heads must be shared evenly", numbers)
    return n_keys, n_values // n_keys


def _key_rows(config: Config) -> int:
    """Rows of queries and of keys together, which stay where they are."""
    return 2 * config.integer("linear_num_key_heads") * config.integer("linear_key_head_dim")


def _tiled(values: Array, config: Config, axis: int = 0) -> Array:
    """Value heads along `axis`, however wide each is, from grouped to tiled."""
    n_keys, per_key = _heads(config)
    before, extent, after = values.shape[:axis], values.shape[axis], values.shape[axis + 1 :]
    require(extent % (n_keys * per_key) == 0, "a DeltaNet tensor has no whole heads", f"{values.shape}")
    heads = values.reshape(*before, n_keys, per_key, extent // (n_keys * per_key), *after)
    return heads.swapaxes(axis, axis + 1).reshape(values.shape)


def _values_tiled(values: Array, config: Config) -> Array:
    """Only the rows behind queries and keys."""
    fixed = _key_rows(config)
    return np.concatenate((values[:fixed], _tiled(values[fixed:], config)))


def _decay(values: Array, config: Config) -> Array:
    """-exp(A_log), in float64 so that the float32 result is the nearest one whatever the processor."""
    return _tiled(-np.exp(values.astype(np.float64)).astype(np.float32), config)


def _convolution(values: Array, config: Config) -> Array:
    return _values_tiled(SQUEEZE.apply(values, config), config)


VALUE_HEADS = Transform(_tiled)
VALUE_HEAD_COLUMNS = Transform(lambda values, config: _tiled(values, config, axis=1), axis=1)
QUERY_KEY_VALUE_HEADS = Transform(_values_tiled)
DECAY = Transform(_decay)
CONVOLUTION = Transform(_convolution, SQUEEZE.shape)
GROUPED_DECAY = Transform(lambda values, config: -np.exp(values.astype(np.float64)).astype(np.float32))


def _group(config: Config) -> tuple[int, int]:
    """In Qwen3-Next's fused projection: rows of a key head's queries (and keys), and of its values."""
    _, per_key = _heads(config)
    return config.integer("linear_key_head_dim"), per_key * config.integer("linear_value_head_dim")


def _ungrouped(values: Array, config: Config) -> list[Array]:
    """Queries, keys, values and gates of all heads from [q, k, v, z] of each key head."""
    (n_keys, _), (key, value) = _heads(config), _group(config)
    require(len(values) == n_keys * 2 * (key + value), "in_proj_qkvz has other rows", f"{values.shape}")
    groups = values.reshape(n_keys, 2 * (key + value), *values.shape[1:])
    bounds = np.cumsum([key, key, value])
    return [part.reshape(-1, *values.shape[1:]) for part in np.split(groups, bounds, axis=1)]


def _fused_shape(rows_of: int) -> "Transform":
    """Which of the four parts' rows remain: 0 for queries, keys and values, 1 for gates."""

    def shape(stored: Shape, config: Config) -> Shape:
        (n_keys, _), (key, value) = _heads(config), _group(config)
        return n_keys * (value if rows_of else 2 * key + value), *stored[1:]

    def apply(values: Array, config: Config) -> Array:
        parts = _ungrouped(values, config)
        return parts[3] if rows_of else np.concatenate(parts[:3])

    return Transform(apply, shape)


UNGROUPED_QKV, UNGROUPED_GATE = _fused_shape(0), _fused_shape(1)
