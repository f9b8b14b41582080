"""A description as a page of JSON, and back: what tests keep of the generator's headers.

"metadata": short key to value; counts are 32 bits wide. "tensors": name, type, shape in ne order, and the
layers that have it. Left out: the vocabulary, and what is 0 or empty, which says "not there".
"""

from __future__ import annotations

import json
from typing import Any

from bench.architectures.description import Description, Fact, NamedTensor

_ARCHITECTURE = "general.architecture"
_LAYER = "blk.{layer}."
_SILENT = ("tokenizer.", "xielu.", "general.")


def to_json(description: Description) -> str:
    """One line a fact."""
    prefix = f"{description.architecture}."
    facts = {
        key.removeprefix(prefix): value
        for key, (_, value) in description.metadata.items()
        if not key.startswith(_SILENT) and _says(value)
    }
    tensors: dict[tuple[str, str, tuple[int, ...]], list[int]] = {}
    for tensor in description.tensors:
        inside = tensor.name.startswith("blk.")
        name = _LAYER + tensor.stem if inside else tensor.name
        layers = tensors.setdefault((name, tensor.type, tensor.shape), [])
        layers += [int(tensor.name.split(".")[1])] if inside else []
    told = [f'  "{key}": {json.dumps(value)}' for key, value in facts.items()]
    rows = ["  " + json.dumps([*what, layers] if layers else what) for what, layers in tensors.items()]
    head = f'{{"architecture": "{description.architecture}",\n "metadata": {{\n'
    return head + ",\n".join(told) + '\n },\n "tensors": [\n' + ",\n".join(rows) + "\n ]}\n"


def from_json(text: str) -> Description:
    """What to_json() wrote, without a vocabulary: token ids are all there is."""
    raw = json.loads(text)
    architecture = raw["architecture"]
    facts: dict[str, Fact] = {
        _ARCHITECTURE: ("STRING", architecture),
        "tokenizer.ggml.model": ("STRING", "none"),
    }
    facts |= {f"{architecture}.{key}": (_kind(value), value) for key, value in raw["metadata"].items()}
    tensors = [
        NamedTensor(name.replace("{layer}", str(layer)), kind, tuple(shape))
        for name, kind, shape, *layers in raw["tensors"]
        for layer in (layers[0] if layers else [0])
    ]
    return Description(facts, tuple(tensors))


def _says(value: Any) -> bool:
    """Whether it says anything: 0, no text, a default and tables of 512 for other architectures do not."""
    if isinstance(value, list):
        return len(value) < 512 and any(value)
    return value is True or (bool(value) and value not in (float("-inf"), -1, 2**32 - 1))


def _kind(value: Any) -> str:
    if isinstance(value, list):
        return "FLOAT32" if isinstance(value[0], float) else "INT32"
    if isinstance(value, bool):
        return "BOOL"
    if isinstance(value, int):
        return "UINT32"
    return "FLOAT32" if isinstance(value, float) else "STRING"
