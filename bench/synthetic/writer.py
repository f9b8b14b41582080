"""Writes a synthetic model to disk, one expert at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType, GGUFWriter

from bench.synthetic.blocks import Pool, quantise, row_bytes
from bench.synthetic.embedding import embedding_rows, head_rows
from bench.synthetic.shape import Shape
from bench.synthetic.tensors import TensorSpec, tensors
from bench.synthetic.vocabulary import vocabulary

Progress = Callable[[int, int], None]
PIECE_ELEMENTS = 1 << 21


def write_model(shape: Shape, path: Path, progress: Progress = lambda done, total: None) -> int:
    """Write the model and return its size in bytes. Peak memory is a few tens of MB whatever the size."""
    part = path.with_name(path.name + ".part")
    writer = GGUFWriter(None, shape.architecture)
    specs = list(tensors(shape))
    _write_header(writer, shape, specs, part)
    total_bytes = sum(_size_bytes(spec) for spec in specs)
    with part.open("ab") as file:
        _pad(file, shape.alignment)
        done_bytes = 0
        for spec, pieces in zip(specs, map(_filler(shape), specs), strict=True):
            for piece in pieces:
                file.write(piece.data)
            _pad(file, shape.alignment)
            done_bytes += _size_bytes(spec)
            progress(done_bytes, total_bytes)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    return path.stat().st_size


def _write_header(writer: GGUFWriter, shape: Shape, specs: list[TensorSpec], path: Path) -> None:
    _add_metadata(writer, shape)
    vocabulary(shape.n_vocab).write(writer)
    for spec in specs:
        bytes_shape = (*reversed(spec.shape[1:]), row_bytes(spec.type, spec.shape[0]))
        writer.add_tensor_info(
            spec.name, bytes_shape, np.dtype(np.uint8), _size_bytes(spec), GGMLQuantizationType[spec.type]
        )
    writer.write_header_to_file(path)
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()


def _add_metadata(writer: GGUFWriter, shape: Shape) -> None:
    writer.add_name(f"synthetic {shape.architecture}")
    if shape.alignment != 32:
        writer.add_custom_alignment(shape.alignment)
    writer.add_uint32("synthetic.topics", shape.dynamics.topics)
    writer.add_uint32("synthetic.seed", shape.seed)
    writer.add_block_count(shape.n_layers)
    writer.add_context_length(shape.context_length)
    writer.add_embedding_length(shape.n_embd)
    writer.add_head_count(shape.n_heads)
    writer.add_head_count_kv(shape.n_kv_heads)
    writer.add_key_length(shape.head_dim)
    writer.add_value_length(shape.head_dim)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_expert_count(shape.n_experts)
    writer.add_expert_used_count(shape.n_experts_used)
    writer.add_expert_feed_forward_length(shape.expert_width)
    if shape.architecture == "qwen35moe":
        _add_hybrid_metadata(writer, shape)


def _add_hybrid_metadata(writer: GGUFWriter, shape: Shape) -> None:
    rotated = max(16, shape.head_dim // 4)
    third = rotated // 6
    writer.add_expert_shared_feed_forward_length(shape.expert_width)
    writer.add_ssm_conv_kernel(4)
    writer.add_ssm_state_size(shape.ssm_state)
    writer.add_ssm_group_count(shape.ssm_groups)
    writer.add_ssm_time_step_rank(shape.ssm_heads)
    writer.add_ssm_inner_size(shape.ssm_inner)
    writer.add_uint32(f"{shape.architecture}.full_attention_interval", shape.full_attention_interval)
    writer.add_rope_dimension_count(rotated)
    writer.add_rope_dimension_sections([rotated // 2 - 2 * third, third, third, 0])


def _size_bytes(spec: TensorSpec) -> int:
    return row_bytes(spec.type, spec.shape[0]) * int(np.prod(spec.shape[1:]))


def _pad(file: BinaryIO, alignment: int) -> None:
    file.write(bytes(-file.tell() % alignment))


def _filler(shape: Shape) -> Callable[[TensorSpec], Iterator[npt.NDArray[np.uint8]]]:
    """A function that gives a tensor's raw bytes in pieces; pools are shared between tensors."""
    pools: dict[tuple[str, float, int], Pool] = {}
    rng = np.random.default_rng([shape.seed, 2])

    def pieces(spec: TensorSpec) -> Iterator[npt.NDArray[np.uint8]]:
        if spec.fill == "embedding" or spec.fill == "head":
            rows = embedding_rows(shape) if spec.fill == "embedding" else head_rows(shape)
            yield from (quantise(part, spec.type).reshape(-1) for part in rows)
        elif spec.fill == "random" and spec.type != "F32":
            key = (spec.type, spec.value, spec.shape[0])
            if key not in pools:
                pools[key] = Pool(spec.type, spec.value, spec.shape[0], rng)
            yield from _drawn(pools[key], spec)
        else:
            yield _small(spec, rng).view(np.uint8)

    return pieces


def _drawn(pool: Pool, spec: TensorSpec) -> Iterator[npt.NDArray[np.uint8]]:
    """One expert (or a dense matrix) at a time, cut where it is bigger than a few MB."""
    elements = spec.shape[0] * spec.shape[1]
    n_slabs = int(np.prod(spec.shape[2:], dtype=np.int64))
    step = max(1, PIECE_ELEMENTS // spec.shape[0]) * spec.shape[0]
    for _ in range(n_slabs):
        for start in range(0, elements, step):
            yield pool.draw(min(step, elements - start))


def _small(spec: TensorSpec, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """A float tensor: ones, normal weights, or DeltaNet decays of 4 to 64 tokens."""
    n_elements = int(np.prod(spec.shape))
    if spec.fill == "constant":
        return np.full(n_elements, spec.value, dtype=np.float32)
    if spec.fill == "decay":
        return (-1.0 / np.geomspace(4, 64, n_elements)).astype(np.float32)
    return rng.standard_normal(n_elements, dtype=np.float32) * np.float32(spec.value)
