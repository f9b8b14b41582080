"""What a model's files hold, in one digest: everything that is kept about a model is kept under it.

A digest covers each file's name (where it matters), size and modification time, its header whole, and blocks
of its data: all of a small file, of large ones a fixed number spread evenly, the first and the last included.
So it costs seconds at most, whatever the size.

What it does not notice: a change to a large file that lies between the blocks, where neither size nor
modification time tells of it. A damaged range that was repaired in place with its time set back is such a
change; another model's weights are not, since they differ in every block.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from io import FileIO
from pathlib import Path

from sixgig.errors import ModelFileError
from sixgig.modelfile.model import ModelFile
from sixgig.modelfile.source import opened

WHOLE_BYTES = 4 << 20  # of a file up to this size every byte counts
BLOCK_BYTES = 16 << 10
BLOCKS, FEWEST_BLOCKS = 1024, 4  # of all large files together, and of each: on a slow disk ten seconds
_VERSION = 1


@dataclass(frozen=True)
class ContentFile:
    """One file of a model. name: what must not change about its name. header_bytes: hashed whole."""

    path: Path
    name: str = ""
    header_bytes: int = 0


def files_digest(files: Iterable[ContentFile], beside: object = None) -> str:
    """Hex digest of the files, in order, and of what else decides their meaning, by its repr.

    Raises ModelFileError for a file that cannot be read.
    """
    files = tuple(files)
    digest = sha256(repr((_VERSION, beside)).encode())
    share = max(FEWEST_BLOCKS, BLOCKS // max(1, len(files)))
    for file in files:
        with opened(file.path) as (stream, found):
            known = (file.name, found.size_bytes, found.modified_ns, file.header_bytes)
            digest.update(repr(known).encode())
            for start, stop in _ranges(found.size_bytes, file.header_bytes, share):
                digest.update(_read(stream, file.path, start, stop))
    return digest.hexdigest()


def model_digest(model: ModelFile) -> str:
    """Of all parts of a local model, wherever they lie and whatever they are called."""
    return files_digest(_parts(model))


def header_digest(model: ModelFile) -> str:
    """Of the headers alone, as they were read: what tensors there are, and where; milliseconds."""
    digest = sha256()
    for part in _parts(model):
        with opened(part.path) as (stream, _):
            for start in range(0, part.header_bytes, WHOLE_BYTES):
                stop = min(start + WHOLE_BYTES, part.header_bytes)
                digest.update(_read(stream, part.path, start, stop))
    return digest.hexdigest()


def _parts(model: ModelFile) -> list[ContentFile]:
    headers = zip(model.parts, model.headers, strict=True)
    return [ContentFile(path, header_bytes=header.data_start) for path, header in headers]


def _ranges(size_bytes: int, header_bytes: int, n_blocks: int) -> Iterable[tuple[int, int]]:
    """[start, stop) of what is hashed, in order, in pieces of at most WHOLE_BYTES."""
    whole = size_bytes if size_bytes <= max(WHOLE_BYTES, header_bytes) else header_bytes
    for start in range(0, whole, WHOLE_BYTES):
        yield start, min(start + WHOLE_BYTES, whole)
    last = size_bytes - BLOCK_BYTES
    if whole < size_bytes:
        yield from ((at, at + BLOCK_BYTES) for at in _spread(min(whole, last), last, n_blocks))


def _spread(first: int, last: int, count: int) -> list[int]:
    """Up to `count` different whole numbers from first to last, both included."""
    return sorted({first + (last - first) * number // (count - 1) for number in range(count)})


def _read(stream: FileIO, path: Path, start: int, stop: int) -> bytes:
    stream.seek(start)
    found = stream.read(stop - start)
    while len(found) < stop - start and (more := stream.read(stop - start - len(found))):
        found += more
    if len(found) < stop - start:
        raise ModelFileError(f"{path.name} became shorter while it was read", cure="begin again")
    return found
