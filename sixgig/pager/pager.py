"""One model's experts, paged from its files within a byte budget."""

import ctypes
import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from enum import IntEnum
from pathlib import Path
from typing import Any, Self

from sixgig.errors import BudgetError, EngineError, ModelFileError, ReadError, UsageError
from sixgig.modelfile import ModelFile, Tensor, virtual_file
from sixgig.pager.native import (
    SEGMENT_HEADER,
    Failure,
    NativeCounters,
    OpenedFile,
    PagedTensor,
    StreamSegment,
    load_native,
)

DEFAULT_READERS = 4


class CachePolicy(IntEnum):
    """Which expert leaves a full cache; numbers as in native/policy.h."""

    LRU = 0
    DECAYED_FREQUENCY = 1


@dataclass(frozen=True)
class Counters:
    """What the pager did since it was opened or last reset.

    hits, misses: experts per layer visit; a miss is an expert of which anything had to be read.
    read_s: wall time with a read in flight; stall_s: the computation waiting; compute_s: experts computed.
    predicted: experts read ahead; useful ones were wanted afterwards, wasted ones left unused.
    """

    hits: int
    misses: int
    evictions: int
    bytes_read: int
    visits: int
    predicted: int
    predicted_useful: int
    predicted_wasted: int
    resident_bytes: int
    peak_resident_bytes: int
    read_s: float
    stall_s: float
    compute_s: float

    @property
    def hit_rate(self) -> float:
        """Share of experts found in memory; 1.0 when none was asked for."""
        wanted = self.hits + self.misses
        return self.hits / wanted if wanted else 1.0

    def to_json(self) -> dict[str, Any]:
        """All fields and the hit rate."""
        return asdict(self) | {"hit_rate": self.hit_rate}


class Pager:
    """Holds the model's files open and its experts cached; close it after the engine that uses it.

    Raises ModelFileError when the model has no routed experts, ReadError when a file is not the one whose
    header was read.
    """

    def __init__(self, model: ModelFile, readers: int = DEFAULT_READERS) -> None:
        self._native = load_native()
        self._closing = threading.Lock()  # other threads ask for counters and failures
        self.model = model
        self.layers = expert_layers(model)
        if not self.layers:
            raise ModelFileError(f"{model.name} has no routed experts", "nothing to page", "run it unpaged")
        tensors = self._announced()
        failure = Failure()
        self._handle: int | None = self._native.sixgig_pager_open(
            _files(model), len(model.parts), tensors, len(tensors), readers, failure
        )
        if self._handle is None:
            raise read_error(failure)
        self._last = self._count()

    def _announced(self) -> Any:
        """The expert tensors, their layers counted among expert layers only."""
        experts = experts_by_layer(self.model)
        return (PagedTensor * len(experts))(
            *(
                PagedTensor(t.name.encode(), t.offset, t.size_bytes, position, t.part, t.shape[2])
                for position, t in experts
            )
        )

    def __enter__(self) -> Self:
        """The pager itself."""
        return self

    def __exit__(self, *_exception: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Let go of files and reader threads; safe to call twice. Memory goes when the engine frees it."""
        with self._closing:
            if self._handle is not None:
                self._last = self._count()
                handle, self._handle = self._handle, None
                self._native.sixgig_pager_close(handle)

    @property
    def _open(self) -> int:
        assert self._handle is not None, "the pager is closed"
        return self._handle

    def configure(self, budget_bytes: int, policy: CachePolicy = CachePolicy.DECAYED_FREQUENCY) -> None:
        """Set the cache's size, empty; before anything is computed."""
        self._native.sixgig_pager_configure(self._open, budget_bytes, policy)

    @property
    def buffer_type(self) -> int:
        """Address of the ggml_backend_buffer_type that a load must put the routed experts into."""
        return int(self._native.sixgig_pager_buffer_type(self._open))

    def require_placed(self) -> None:
        """After a load: EngineError where the engine put an expert elsewhere, which was given no bytes."""
        for index, (_, tensor) in enumerate(experts_by_layer(self.model)):
            placed = self._native.sixgig_pager_has_placed(self._open, index)
            if is_loaded(self.model, tensor) and not placed:
                raise EngineError("the engine does not page an expert tensor", tensor.name, "run it unpaged")

    def set_router(self, position: int, weight: Any, bias: Any | None) -> None:
        """Give the router of an expert layer, float32 [n_experts, n_embd], bias [n_experts] or None."""
        floats = ctypes.POINTER(ctypes.c_float)
        self._native.sixgig_pager_set_router(
            self._open,
            position,
            *weight.shape,
            weight.ctypes.data_as(floats),
            None if bias is None else bias.ctypes.data_as(floats),
        )

    def counters(self) -> Counters:
        """What happened so far; after close(), what had happened by then."""
        with self._closing:
            return self._last if self._handle is None else self._count()

    def _count(self) -> Counters:
        raw = NativeCounters()
        self._native.sixgig_pager_counters(self._open, raw)
        return Counters(**{field.name: getattr(raw, field.name) for field in fields(Counters)})

    def reset_counters(self) -> None:
        """Start counting anew; what is resident stays."""
        self._native.sixgig_pager_reset_counters(self._open)

    def take_failure(self) -> ReadError | None:
        """The read that failed since the last call."""
        failure = Failure()
        with self._closing:
            if self._handle is None or not self._native.sixgig_pager_take_failure(self._handle, failure):
                return None
        return read_error(failure)

    @contextmanager
    def tracing(self, path: Path) -> Iterator[None]:
        """Record which experts each layer visit uses; the format is that of sixgig.pager.trace."""
        if not self._native.sixgig_pager_start_trace(self._open, os.fsencode(path)):
            raise UsageError(f"cannot write the trace {path}", cure="name a path that can be written")
        try:
            yield
        finally:
            complete = self._native.sixgig_pager_stop_trace(self._open)
        if not complete:
            raise BudgetError(f"the trace {path} is incomplete", cure="make room on its disk")


class ModelStream:
    """A model as one C stream (FILE*) that the engine loads from; with `page` it skips routed experts."""

    def __init__(self, model: ModelFile, page: bool) -> None:
        self._native = load_native()
        virtual = virtual_file(model, page)
        pieces = [StreamSegment(s.start, s.size, s.offset, s.part, int(s.skip)) for s in virtual.segments]
        if virtual.header:
            pieces.insert(0, StreamSegment(0, len(virtual.header), 0, SEGMENT_HEADER, 0))
        self._record = ctypes.c_void_p()
        self._address: int | None = self._native.sixgig_open_model_stream(
            _files(model),
            len(model.parts),
            (StreamSegment * len(pieces))(*pieces),
            len(pieces),
            virtual.header,
            len(virtual.header),
            ctypes.byref(self._record),
        )
        if self._address is None:
            failure = self.take_failure()
            self.close()
            raise failure or ModelFileError(f"{model.parts[0].name} cannot be streamed")

    def source(self) -> int:
        """The FILE*, open until close()."""
        assert self._address is not None, "the stream is closed"
        return self._address

    def take_failure(self) -> ReadError | None:
        """The read that failed in this stream, if one did."""
        failure = Failure()
        found = self._record.value and self._native.sixgig_failure_of(self._record, failure)
        return read_error(failure) if found else None

    def close(self) -> None:
        """Close the stream; safe to call twice."""
        address, self._address = self._address, None
        if address is not None:
            _fclose(address)
        record, self._record = self._record, ctypes.c_void_p()
        if record.value is not None:
            self._native.sixgig_free_failure(record)


def expert_layers(model: ModelFile) -> list[int]:
    """The layers that have routed experts, in order."""
    return sorted({tensor.layer for tensor in model.routed_experts() if tensor.layer is not None})


def experts_by_layer(model: ModelFile) -> list[tuple[int, Tensor]]:
    """Every expert tensor with its layer's position among the expert layers."""
    layers = expert_layers(model)
    return [(layers.index(tensor.layer or 0), tensor) for tensor in model.routed_experts()]


def is_loaded(model: ModelFile, tensor: Tensor) -> bool:
    """Whether the engine asks for it: multi-token prediction, the last layers, is left out as a rule."""
    return (tensor.layer or 0) < model.n_layers - model.hyperparameters.n_prediction_layers


def read_error(failure: Failure) -> ReadError:
    """The native record in words: file, offset and errno."""
    path, reason = Path(os.fsdecode(failure.path)), failure.reason.decode()
    number = failure.error_number
    numbers = f"{path} at byte {failure.offset}"
    if number:
        numbers += f", errno {number} ({errno.errorcode.get(number, '?')}: {os.strerror(number)})"
    return ReadError(reason, numbers, "check the file and its disk, then ask again")


def _files(model: ModelFile) -> Any:
    return (OpenedFile * len(model.parts))(
        *(
            OpenedFile(os.fsencode(path), then.size_bytes, then.inode, then.modified_ns)
            for path, then in zip(model.parts, model.fingerprints, strict=True)
        )
    )


def _fclose(stream: int) -> None:
    fclose = ctypes.CDLL(None).fclose
    fclose.argtypes = (ctypes.c_void_p,)
    fclose(stream)
