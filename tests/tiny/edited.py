"""A model file with other pairs in its header, or for a while with other weights."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sixgig.modelfile import open_model
from sixgig.modelfile.writer import NewTensor, lay_out


def edited(source: Path, path: Path, changes: Mapping[str, Any]) -> Path:
    """`source` with `changes` at `path`; None leaves a pair out."""
    model = open_model(source)
    tensors = [NewTensor(tensor.name, tensor.shape, tensor.type) for tensor in model.tensors]
    layout = lay_out(model.metadata, changes, tensors)
    with source.open("rb") as stored, path.open("wb") as target:
        target.write(layout.header)
        for tensor, offset in zip(model.tensors, layout.offsets, strict=True):
            stored.seek(tensor.offset)
            target.seek(offset)
            target.write(stored.read(tensor.size_bytes))
        target.truncate(layout.size_bytes)
    return path


def renamed(source: Path, path: Path, architecture: str) -> Path:
    """`source` as a model of another architecture, which names its tensors alike."""
    metadata = open_model(source).metadata
    old = metadata.text("general.architecture") or ""
    changes: dict[str, Any] = {"general.architecture": architecture}
    for entry in metadata.entries:
        if entry.key.startswith(f"{old}."):
            changes |= {entry.key: None, architecture + entry.key.removeprefix(old): entry.value}
    return edited(source, path, changes)


@contextmanager
def other_weights(path: Path, at: int = -100) -> Iterator[None]:
    """The file with other bytes from `at` on, its size and times as before; afterwards it is as it was."""
    status, content = path.stat(), path.read_bytes()[at:]
    try:
        _put(path, status, bytes(byte ^ 255 for byte in content))
        yield
    finally:
        _put(path, status, content)


def _put(path: Path, status: os.stat_result, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(-len(content), os.SEEK_END)
        file.write(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
