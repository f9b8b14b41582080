"""Models of real sizes described by their headers alone: `write("qwen3.5-122b", path, routed="IQ3_XXS")`.

A description is a JSON file beside this one: metadata, and tensors by name pattern with shape (ne order) and
type. What is written is a GGUF whose weights are a hole in the file: it takes no disk, and reads as zeros.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFWriter

FOLDER = Path(__file__).parent
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))


def write(
    name: str, path: Path, routed: str | None = None, dense: str | None = None, down: str | None = None
) -> Path:
    """The described model at `path`; `routed` and `dense` replace the types of those weights, `down` that of
    the routed experts' last projection alone."""
    return write_description(describe(name), name, path, routed, dense, down)


def describe(name: str) -> dict[str, Any]:
    """The description of that name."""
    description: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return description


def write_description(
    description: dict[str, Any],
    name: str,
    path: Path,
    routed: str | None = None,
    dense: str | None = None,
    down: str | None = None,
) -> Path:
    """A model described by hand."""
    writer = GGUFWriter(path, description["architecture"])
    writer.add_name(name)
    for key, value in description["metadata"].items():
        _add(writer, key.replace("ARCH", description["architecture"]), value)
    size_bytes = 0
    for tensor, shape, kind in tensors(description, routed, dense, down):
        n_bytes = _size_bytes(shape, kind)
        writer.add_tensor_info(tensor, list(reversed(_byte_shape(shape, kind))), _numpy(kind), n_bytes, kind)
        size_bytes += -(-n_bytes // 32) * 32
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    data_start = -(-path.stat().st_size // 32) * 32
    os.truncate(path, data_start + size_bytes)
    return path


def tensors(
    description: dict[str, Any], routed: str | None, dense: str | None, down: str | None = None
) -> Iterator[tuple[str, list[int], GGMLQuantizationType]]:
    """Every tensor: name, shape in ne order, type."""
    for entry in description["tensors"]:
        kind = entry["type"]
        if kind == "routed":
            is_down = "ffn_down_exps" in entry["name"]
            kind = (down if is_down else None) or routed or description["routed"]
        elif kind == "dense":
            kind = dense or description["dense"]
        for layer in _layers(entry.get("layers"), description["metadata"]["ARCH.block_count"]):
            name = entry["name"].replace("{layer}", str(layer))
            yield name, entry["shape"], GGMLQuantizationType[kind]


def _layers(which: str | None, n_layers: int) -> list[int]:
    """No rule: outside the layers. "all", "3 mod 4", "not 3 mod 4", "from 1", "only 0"."""
    if which is None:
        return [0]
    words = which.split()
    everything = range(n_layers)
    if words[0] == "from":
        return list(everything)[int(words[1]) :]
    if words[0] == "only":
        return [int(words[1])]
    if "mod" in words:
        inside = [layer for layer in everything if layer % int(words[-1]) == int(words[-3])]
        return [layer for layer in everything if layer not in inside] if words[0] == "not" else inside
    return list(everything)


def _add(writer: GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, list):
        writer.add_array(key, value)
    else:
        writer.add_string(key, value)


def _size_bytes(shape: list[int], kind: GGMLQuantizationType) -> int:
    block, n_bytes = GGML_QUANT_SIZES[kind]
    assert shape[0] % block == 0, f"{shape} in {kind.name}"
    size = shape[0] // block * n_bytes
    for extent in shape[1:]:
        size *= extent
    return size


def _byte_shape(shape: list[int], kind: GGMLQuantizationType) -> list[int]:
    """What the writer wants: rows in bytes for quantised types."""
    block, n_bytes = GGML_QUANT_SIZES[kind]
    return shape if block == 1 else [shape[0] // block * n_bytes, *shape[1:]]


def _numpy(kind: GGMLQuantizationType) -> Any:
    import numpy as np

    if kind is GGMLQuantizationType.F32:
        return np.dtype(np.float32)
    return np.dtype(np.float16) if kind is GGMLQuantizationType.F16 else np.dtype(np.uint8)
