"""Named numbers in a GGUF file: numpy arrays out, the same arrays back as views of the file."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sixgig.errors import ModelFileError
from sixgig.modelfile.ggml_types import TYPE_BY_NAME
from sixgig.modelfile.header import Header, TensorInfo, read_header
from sixgig.modelfile.metadata import Metadata
from sixgig.modelfile.source import LocalFile, local_file
from sixgig.modelfile.writer import Layout, NewTensor, lay_out

Array = NDArray[Any]
_ALIGNMENT = 32
_NAMES = {"float32": "F32", "float64": "F64", "float16": "F16", "int64": "I64", "int32": "I32"}
_DTYPES = {kind: np.dtype(name).newbyteorder("<") for name, kind in _NAMES.items()}


class _Nothing:
    """A source without bytes: the new file takes no pairs from another."""

    name, size_bytes = "nothing", 0

    def read(self, offset: int, size: int) -> bytes:
        """Nothing."""
        return b""


def write_arrays(path: Path, metadata: Mapping[str, object], arrays: Mapping[str, Array]) -> None:
    """Writes arrays of float16, float32, float64, int32 or int64, in order; the file appears whole or not.

    An array's last axis is ne0. Nothing is copied but what is not contiguous. Raises OSError.
    """
    new = [_declared(name, array) for name, array in arrays.items()]
    layout = lay_out(Metadata(_Nothing(), ()), metadata, new, _ALIGNMENT)
    path = path.resolve()
    beside = path.with_name(f".{path.name[:100]}-{secrets.token_hex(8)}")
    try:
        _write(beside, layout, arrays)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def read_arrays(path: Path) -> tuple[Header, dict[str, Array]]:
    """A file's header and its arrays, read-only views of the file; of other types there are none.

    Raises ModelFileError for what is no sound GGUF file.
    """
    header = read_header(local_file(path))
    arrays = {info.name: _mapped(header, info) for info in header.tensors if info.type.name in _DTYPES}
    return header, arrays


def _declared(name: str, array: Array) -> NewTensor:
    return NewTensor(name, tuple(reversed(array.shape)), TYPE_BY_NAME[_NAMES[array.dtype.name]])


def _write(path: Path, layout: Layout, arrays: Mapping[str, Array]) -> None:
    with path.open("xb") as file:
        file.write(layout.header)
        for offset, array in zip(layout.offsets, arrays.values(), strict=True):
            file.write(bytes(offset - file.tell()))
            file.write(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).data)
        file.write(bytes(layout.size_bytes - file.tell()))
        file.flush()
        os.fsync(file.fileno())


def _mapped(header: Header, info: TensorInfo) -> Array:
    assert isinstance(header.source, LocalFile)
    shape = tuple(reversed(info.shape))
    try:
        return np.memmap(header.source.path, _DTYPES[info.type.name], "r", info.offset, shape)
    except (OSError, ValueError) as error:
        raise ModelFileError(f"{info.name} cannot be read from {header.source.name}", str(error)) from error
