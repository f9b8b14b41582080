"""A model file with other pairs in its header."""

from collections.abc import Mapping
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
