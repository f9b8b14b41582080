"""Reads one tensor's bytes, and turns them into numbers."""

import numpy as np
from numpy.typing import NDArray

from sixgig.errors import ReadError
from sixgig.modelfile.model import ModelFile
from sixgig.modelfile.source import opened
from sixgig.modelfile.tensor import Tensor


def read_tensor(model: ModelFile, tensor: Tensor) -> NDArray[np.uint8]:
    """The tensor's bytes as stored, (size_bytes,); ReadError when the file has become shorter."""
    raw = np.empty(tensor.size_bytes, np.uint8)
    path, done = model.parts[tensor.part], 0
    with opened(path) as (file, _):
        file.seek(tensor.offset)
        while done < tensor.size_bytes:
            count = file.readinto(raw[done:].data)
            if not count:
                raise ReadError(f"{path} ends inside {tensor.name}", f"at byte {tensor.offset + done}")
            done += count
    return raw


def dequantise(raw: NDArray[np.uint8], tensor: Tensor) -> NDArray[np.float32]:
    """Stored bytes as float32, numpy order: shape (..., ne1, ne0)."""
    from gguf import GGMLQuantizationType
    from gguf.quants import dequantize

    rows = raw.reshape(*reversed(tensor.shape[1:]), -1)
    values = dequantize(rows, GGMLQuantizationType(tensor.type.id))
    return np.asarray(values, np.float32).reshape(tuple(reversed(tensor.shape)))
