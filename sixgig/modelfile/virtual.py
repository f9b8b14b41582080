"""One contiguous GGUF made of a model's files, for llama.cpp to read as a single stream."""

from collections.abc import Iterator
from dataclasses import dataclass
from struct import pack

from sixgig.families import Role
from sixgig.modelfile.header import Header, padded
from sixgig.modelfile.metadata import Entry
from sixgig.modelfile.model import ModelFile
from sixgig.modelfile.source import read_all
from sixgig.modelfile.tensor import Tensor

ZEROS = -1


@dataclass(frozen=True)
class Segment:
    """`size` bytes of the stream from `start` on: file number `part` from `offset` on, or zeros (part -1).

    `skip` marks routed experts that the engine must not read: the pager reads them by itself.
    """

    start: int
    size: int
    part: int
    offset: int
    skip: bool


@dataclass(frozen=True)
class VirtualFile:
    """Bytes [0, len(header)) are `header`; `segments` cover the rest, in order and without a gap.

    A model in one file keeps its bytes and offsets: `header` is empty, each segment lies at its own offset.
    """

    header: bytes
    segments: tuple[Segment, ...]
    size_bytes: int


def virtual_file(model: ModelFile, page: bool) -> VirtualFile:
    """The stream of `model`; with `page`, the segments of routed experts are marked to be skipped."""
    if len(model.parts) == 1:
        segments = tuple(_own_segments(model, page))
        return VirtualFile(b"", segments, model.size_bytes)
    header = _merged_header(model)
    segments = tuple(_merged_segments(model, len(header), page))
    return VirtualFile(header, segments, segments[-1].start + segments[-1].size)


def _own_segments(model: ModelFile, page: bool) -> Iterator[Segment]:
    """Header, tensors, and what lies between and after them, each from the one file."""
    end = 0
    for tensor in model.tensors:
        if tensor.offset > end:
            yield Segment(end, tensor.offset - end, 0, end, skip=False)
        yield Segment(tensor.offset, tensor.size_bytes, 0, tensor.offset, _skipped(tensor, page))
        end = tensor.offset + tensor.size_bytes
    if model.size_bytes > end:
        yield Segment(end, model.size_bytes - end, 0, end, skip=False)


def _merged_segments(model: ModelFile, data_start: int, page: bool) -> Iterator[Segment]:
    """Tensors of all parts one after the other, each padded with zeros."""
    start = data_start
    for tensor in model.tensors:
        yield Segment(start, tensor.size_bytes, tensor.part, tensor.offset, _skipped(tensor, page))
        end = start + tensor.size_bytes
        start = data_start + padded(end - data_start, model.alignment)
        if start > end:
            yield Segment(end, start - end, ZEROS, 0, skip=False)


def _skipped(tensor: Tensor, page: bool) -> bool:
    return page and tensor.role is Role.ROUTED_EXPERT


def _merged_header(model: ModelFile) -> bytes:
    """The first part's pairs without split.*, then all tensors with their new offsets, padded."""
    first = model.headers[0]
    kept = [entry for entry in first.metadata.entries if not entry.key.startswith("split.")]
    pieces = [b"GGUF", pack("<IQQ", first.version, len(model.tensors), len(kept)), *_pairs(first, kept)]
    offset = 0
    for tensor in model.tensors:
        pieces.append(_declaration(tensor, offset))
        offset += padded(tensor.size_bytes, model.alignment)
    header = b"".join(pieces)
    return header.ljust(padded(len(header), model.alignment), b"\0")


def _pairs(first: Header, kept: list[Entry]) -> Iterator[bytes]:
    for entry in kept:
        yield read_all(first.source, entry.start, entry.end - entry.start)


def _declaration(tensor: Tensor, offset: int) -> bytes:
    name = tensor.name.encode()
    shape = pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape)
    return pack("<Q", len(name)) + name + shape + pack("<IQ", tensor.type.id, offset)
