"""Writes a model's weights in chosen types: chunk by chunk on all cores, resumable, whole or not at all."""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sixgig.atomic import replace_file, sync
from sixgig.llamacpp.blocks import needs_importance, prepare, quantise_rows
from sixgig.modelfile import GgmlType
from sixgig.modelfile.writer import Layout, NewTensor, lay_out
from sixgig.weights.stored import Floats, Importance, WeightInfo, Weights

CHUNK_ELEMENTS = 1 << 20
SYNC_S = 2.0
Progress = Callable[[float], object]


@dataclass(frozen=True)
class Chunk:
    """Rows [first, last) of a tensor, whole matrices or part of one; they go to `offset` in the file."""

    info: WeightInfo
    type: GgmlType
    first: int
    last: int
    offset: int

    @property
    def size_bytes(self) -> int:
        """Bytes they take."""
        return (self.last - self.first) * row_bytes(self.info.row_length, self.type)


@dataclass(frozen=True)
class Job:
    """What is written. types: of every tensor. importance: the weight of each input, by tensor name.

    identity: tells this job from one with the same header and other weights or importances.
    """

    weights: Weights
    types: Mapping[str, GgmlType]
    importance: Importance
    metadata: Mapping[str, object]
    identity: str = ""

    def layout(self) -> Layout:
        """Header and places."""
        new = [NewTensor(info.name, info.shape, self.types[info.name]) for info in self.weights.tensors]
        changes = {**self.weights.changes, **self.metadata}
        return lay_out(self.weights.model.metadata, changes, new)


def row_bytes(length: int, kind: GgmlType) -> int:
    """Bytes of a row of `length` elements."""
    return length // kind.block_elements * kind.block_bytes


def write_model(job: Job, out: Path, threads: int, progress: Progress = lambda fraction: None) -> None:
    """Writes the file `out`; it appears when it is complete and on disk.

    The part that is done lies beside it in OUT.part, and OUT.part.json says how far it is good: the same job
    takes up there and gives the same bytes. Memory: about 12 MiB a thread. Raises OSError, ReadError.
    """
    layout, part = job.layout(), out.with_name(out.name + ".part")
    journal = _Journal(part, sha256(layout.header + job.identity.encode()).hexdigest())
    with open(part, "r+b" if journal.done else "w+b") as file, journal:
        file.truncate(layout.size_bytes)
        _pwrite(file.fileno(), layout.header, 0)
        for chunk, blocks in _made(job, _remaining(job, layout, journal.done), threads):
            _pwrite(file.fileno(), blocks.data, chunk.offset)
            journal.advance(file.fileno(), chunk.offset + chunk.size_bytes)
            progress((chunk.offset + chunk.size_bytes) / layout.size_bytes)
        journal.wait()
        os.fsync(file.fileno())
    os.replace(part, out)
    journal.path.unlink(missing_ok=True)
    sync(out.parent)


class _Journal:
    """How many bytes of the part are on disk for good.

    Syncing goes on beside the work, one sync at a time; when the next is due before it has ended, the disk
    is what is slow, and is waited for. A context manager: nothing is being synced once it has ended.
    """

    def __init__(self, part: Path, digest: str) -> None:
        self.path, self._digest = part.with_name(part.name + ".json"), digest
        self.done = self._read() if part.exists() else 0
        if not self.done:  # else a later run could take another job's bytes for its own
            self.path.unlink(missing_ok=True)
        self._syncer, self._syncing = ThreadPoolExecutor(1, "sync"), Future[None]()
        self._syncing.set_result(None)
        self._begun_s = time.monotonic()

    def __enter__(self) -> None:
        """Nothing to do."""

    def __exit__(self, *_: object) -> None:
        self._syncer.shutdown(wait=True)

    def _read(self) -> int:
        try:
            found = json.loads(self.path.read_text())
            return int(found["done"]) if found["header"] == self._digest else 0
        except (OSError, ValueError, KeyError, TypeError):
            return 0

    def advance(self, descriptor: int, done: int) -> None:
        """All before `done` is written: sync and note it, now and then. OSError from the sync before."""
        if time.monotonic() - self._begun_s < SYNC_S:
            return
        self.wait()
        self._begun_s = time.monotonic()
        self._syncing = self._syncer.submit(self._sync, descriptor, done)

    def wait(self) -> None:
        """Until nothing is being synced; OSError when it failed."""
        self._syncing.result()

    def _sync(self, descriptor: int, done: int) -> None:
        os.fsync(descriptor)
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(descriptor, 0, done, os.POSIX_FADV_DONTNEED)
        replace_file(self.path, json.dumps({"header": self._digest, "done": done}))


def _remaining(job: Job, layout: Layout, done: int) -> Iterator[Chunk]:
    for info, offset in zip(job.weights.tensors, layout.offsets, strict=True):
        for chunk in _chunks(info, job.types[info.name], offset):
            if chunk.offset + chunk.size_bytes > done:
                yield chunk


def _chunks(info: WeightInfo, kind: GgmlType, offset: int) -> Iterator[Chunk]:
    """As many rows as fit CHUNK_ELEMENTS: whole matrices, or rows of one."""
    per_matrix, wanted = info.rows_per_matrix, max(1, CHUNK_ELEMENTS // info.row_length)
    if wanted >= per_matrix:
        step, bound = wanted // per_matrix * per_matrix, info.n_rows
    else:
        step, bound = wanted, per_matrix
    size, first = row_bytes(info.row_length, kind), 0
    while first < info.n_rows:
        last = min(first + step, first // bound * bound + bound, info.n_rows)
        yield Chunk(info, kind, first, last, offset + first * size)
        first = last


def _made(job: Job, chunks: Iterator[Chunk], threads: int) -> Iterator[tuple[Chunk, NDArray[np.uint8]]]:
    """Chunks with their bytes, in order; one more is at work than there are threads, so that none waits."""
    for kind in set(job.types.values()):
        prepare(kind.id)
    job = replace(job, importance=lru_cache(2)(job.importance))  # many chunks ask for the same
    pool = ThreadPoolExecutor(threads + 1, "quantise")
    try:
        waiting = deque[tuple[Chunk, Future[NDArray[np.uint8]]]]()
        for chunk in chunks:
            waiting.append((chunk, pool.submit(make_blocks, job, chunk)))
            if len(waiting) > 2 * threads:
                first, result = waiting.popleft()
                yield first, result.result()
        while waiting:
            first, result = waiting.popleft()
            yield first, result.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def make_blocks(job: Job, chunk: Chunk) -> NDArray[np.uint8]:
    """The chunk's bytes: the source's own where the type stays, else quantised by importance."""
    info, kind = chunk.info, chunk.type
    if kind == info.type:
        stored = job.weights.stored(info.name, chunk.first, chunk.last)
        if stored is not None:
            return stored
    values = job.weights.rows(info.name, chunk.first, chunk.last)
    blocks = np.empty((len(values), row_bytes(info.row_length, kind)), np.uint8)
    importance = weighting(job.importance(info.name), info, kind)
    for start, stop, matrix in _matrices(chunk):
        row = None if importance is None else importance[matrix if len(importance) > 1 else 0]
        quantise_rows(kind.id, values[start:stop], row, blocks[start:stop])
    return blocks.reshape(-1)


def weighting(importance: Floats | None, info: WeightInfo, kind: GgmlType) -> Floats | None:
    """Importances for ggml, [n_matrices or 1, n_in]; ones where the type needs some and there are none."""
    if importance is not None:
        return np.ascontiguousarray(importance, np.float32)
    return np.ones((1, info.row_length), np.float32) if needs_importance(kind.id) else None


def _matrices(chunk: Chunk) -> Iterator[tuple[int, int, int]]:
    """(first row, last row, matrix) of each matrix the chunk touches, rows counted in the chunk."""
    per_matrix, at = chunk.info.rows_per_matrix, chunk.first
    while at < chunk.last:
        stop = min(chunk.last, at // per_matrix * per_matrix + per_matrix)
        yield at - chunk.first, stop - chunk.first, at // per_matrix
        at = stop


def _pwrite(descriptor: int, content: bytes | memoryview, offset: int) -> None:
    view = memoryview(content).cast("B")
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written
