"""Routing traces: which experts each layer visit used. Text-free, streamed, little-endian.

Layout of the file (all integers little-endian)::

    magic     8 bytes  b"SGTRACE1"
    n_layers  u16      layers of the model, dense ones included
    n_experts u16      experts of every routed layer
    reserved  u32      0
    bytes     u64[n_layers]  bytes of one expert of that layer, all its tensors together; 0 = dense layer
    records   until the end of the file, one per layer visit (one layer of one ubatch):
        visit u32, layer u16, n_tokens u16, n u16, expert ids u16[n]

`visit` never goes backwards within a file. Expert ids are unique within a record, in order of first use.
Covers what a cache simulator needs; holds no token, no text and no routing weight.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from sixgig.errors import ModelFileError, UsageError

MAGIC = b"SGTRACE1"
_HEADER = struct.Struct("<HHI")
_RECORD = struct.Struct("<IHHH")
_CURE = "record the trace again"


@dataclass(frozen=True)
class Shape:
    """What a trace says about its model: layers, experts per layer, bytes of one expert of each layer."""

    n_experts: int
    expert_bytes: tuple[int, ...]

    @property
    def n_layers(self) -> int:
        """Layers of the model, dense ones included."""
        return len(self.expert_bytes)

    @property
    def n_routed_layers(self) -> int:
        """Layers with experts."""
        return sum(size > 0 for size in self.expert_bytes)

    @property
    def routed_bytes(self) -> int:
        """Bytes of all experts of all layers."""
        return self.n_experts * sum(self.expert_bytes)

    def size_of(self, expert: int) -> int:
        """Bytes of expert number `layer * n_experts + id`."""
        return self.expert_bytes[expert // self.n_experts]


@dataclass(frozen=True)
class Visit:
    """One layer of one ubatch: the experts it used, by id within the layer, in order of first use."""

    number: int
    layer: int
    n_tokens: int
    experts: tuple[int, ...]


@dataclass(frozen=True)
class Trace:
    """A trace held in memory: 12,000 visits of 8 experts take about 3 MB."""

    shape: Shape
    visits: tuple[Visit, ...]

    def __iter__(self) -> Iterator[Visit]:
        return iter(self.visits)


class TraceFile:
    """A trace on disk, iterated any number of times, never held; every record is checked as it is read."""

    def __init__(self, path: Path | str) -> None:
        """Reads and checks the header. Raises UsageError (no such file) or ModelFileError (not a trace)."""
        self.path = Path(path)
        with self._open() as file:
            self.shape = self._read_header(file)
            self._records_at = file.tell()

    def __iter__(self) -> Iterator[Visit]:
        """Visits in file order. Raises ModelFileError at the first record that is cut or cannot be."""
        with self._open() as file:
            file.seek(self._records_at)
            last = 0
            while head := file.read(_RECORD.size):
                visit = self._read_record(file, head)
                self._check(visit, last)
                last = visit.number
                yield visit

    def load(self) -> Trace:
        """The whole trace in memory."""
        return Trace(self.shape, tuple(self))

    def _open(self) -> BinaryIO:
        if not self.path.is_file():  # a FIFO would block the open, a directory has no bytes
            cure = "name a file written by a recording run"
            raise UsageError(f"no trace file at {self.path}", cure=cure) from FileNotFoundError(self.path)
        try:
            return self.path.open("rb")
        except OSError as error:
            raise UsageError(
                f"cannot open the trace {self.path}", str(error.strerror), "check its permissions"
            ) from error

    def _read_header(self, file: BinaryIO) -> Shape:
        if file.read(len(MAGIC)) != MAGIC:
            raise self._bad("is not a routing trace", f"it does not begin with {MAGIC.decode()}")
        n_layers, n_experts, reserved = _HEADER.unpack(self._exactly(file, _HEADER.size, "the header"))
        if n_layers == 0 or n_experts == 0 or reserved != 0:
            numbers = f"{n_layers} layers, {n_experts} experts, reserved {reserved}"
            raise self._bad("has an impossible header", numbers)
        sizes = struct.unpack(f"<{n_layers}Q", self._exactly(file, 8 * n_layers, "the header"))
        if max(sizes) == 0 or max(sizes) >= 1 << 48:
            raise self._bad("has impossible expert sizes", f"the largest is {max(sizes)} bytes")
        return Shape(n_experts, sizes)

    def _read_record(self, file: BinaryIO, head: bytes) -> Visit:
        head += self._exactly(file, _RECORD.size - len(head), "a record")
        number, layer, n_tokens, n = _RECORD.unpack(head)
        if n > self.shape.n_experts:
            numbers = f"visit {number} uses {n} of {self.shape.n_experts} experts"
            raise self._bad("has an impossible record", numbers)
        experts = struct.unpack(f"<{n}H", self._exactly(file, 2 * n, "a record"))
        return Visit(number, layer, n_tokens, experts)

    def _check(self, visit: Visit, last: int) -> None:
        wrong = problem_of(visit, self.shape, last)
        if wrong:
            raise self._bad("has an impossible record", f"visit {visit.number}: {wrong}")

    def _exactly(self, file: BinaryIO, n: int, what: str) -> bytes:
        data = file.read(n)
        if len(data) != n:
            raise self._bad("ends early", f"{n} bytes of {what} expected, {len(data)} left")
        return data

    def _bad(self, what: str, numbers: str) -> ModelFileError:
        return ModelFileError(f"{self.path} {what}", numbers, _CURE)


def problem_of(visit: Visit, shape: Shape, last: int) -> str:
    """Why this visit cannot follow visit number `last` in a trace of this shape; "" when it can."""
    if visit.layer >= shape.n_layers or shape.expert_bytes[visit.layer] == 0:
        return f"layer {visit.layer} has no experts"
    if visit.number < last:
        return f"follows visit {last}"
    if not visit.experts:
        return "uses no expert"
    if max(visit.experts) >= shape.n_experts or min(visit.experts) < 0:
        return f"expert {max(visit.experts)} of {shape.n_experts}"
    return "names an expert twice" if len(set(visit.experts)) < len(visit.experts) else ""


class TraceWriter:
    """Writes a trace as a stream; a context manager. Refuses with UsageError what the reader would refuse."""

    def __init__(self, path: Path | str, shape: Shape) -> None:
        self.shape = shape
        self._last = 0
        self._file = open_for_writing(Path(path))
        self._file.write(MAGIC + _HEADER.pack(shape.n_layers, shape.n_experts, 0))
        self._file.write(struct.pack(f"<{shape.n_layers}Q", *shape.expert_bytes))

    def write(self, visit: Visit) -> None:
        """Appends one record."""
        if wrong := problem_of(visit, self.shape, self._last):
            raise UsageError(f"visit {visit.number} does not belong in this trace", wrong)
        self._last = visit.number
        head = _RECORD.pack(visit.number, visit.layer, visit.n_tokens, len(visit.experts))
        self._file.write(head + struct.pack(f"<{len(visit.experts)}H", *visit.experts))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._file.close()


def open_for_writing(path: Path) -> BinaryIO:
    """A new or truncated file. Raises UsageError when it cannot be written."""
    try:
        return path.open("wb")
    except OSError as error:
        raise UsageError(
            f"cannot write the trace {path}", str(error.strerror), "name a writable file"
        ) from error


def write_trace(path: Path | str, shape: Shape, visits: Sequence[Visit] | Iterator[Visit]) -> None:
    """Writes all visits to `path`."""
    with TraceWriter(path, shape) as writer:
        for visit in visits:
            writer.write(visit)
