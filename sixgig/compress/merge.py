"""Writes a model with an adapter merged into it, each tensor in a type that holds the change.

Quantised weights lie on their type's grid. A change below half a step rounds back to where it was, all of it:
of one a hundredth of the weights' size, Q4_K keeps 1%, Q6_K 26%, Q8_0 98% (normal weights, rank 8).
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import numpy as np

from sixgig.compress.types import bits
from sixgig.compress.write import Job, Progress, row_bytes, weighting, write_model
from sixgig.llamacpp.blocks import dequantise_rows, prepare, quantise_rows
from sixgig.modelfile import TYPE_BY_NAME, GgmlType, ModelFile
from sixgig.modelfile.content import model_digest
from sixgig.modelfile.lora import MERGED, Lora, merged_adapters
from sixgig.weights.merged import MergedWeights
from sixgig.weights.stored import Floats, StoredWeights, WeightInfo

_LARGER = tuple(TYPE_BY_NAME[name] for name in ("Q5_K", "Q6_K", "Q8_0", "F16", "F32"))
_ENOUGH = 0.9
_SAMPLES, _SAMPLE_ELEMENTS = 16, 1 << 13


def merge(
    model: ModelFile,
    lora: Lora,
    out: Path,
    threads: int,
    progress: Progress = lambda fraction: None,
    *,
    same_types: bool = False,
    name: str = "an adapter",
) -> dict[str, GgmlType]:
    """Writes `model` with W + scale * B A for every tensor that `lora` adapts to the file `out`.

    An adapted tensor whose type does not hold the change gets the smallest that does; with `same_types` each
    keeps its own. They are quantised without importances; all others keep their bytes. The file says what was
    merged into it: `name`, by lora.MERGED. Returns the new types by tensor name. Resumable and bounded in
    memory as write_model is. Raises ModelFileError as MergedWeights, OSError, ReadError.
    """
    weights = MergedWeights(StoredWeights(model), lora)
    changed = {} if same_types else larger_types(weights)
    types = {info.name: info.type for info in weights.tensors} | changed
    before = [f"{digest} {name}" for digest, name in merged_adapters(model.metadata)]
    merged = {MERGED: [*before, f"{lora.digest} {name}"]}
    identity = sha256(f"{model_digest(model)} {lora.digest}".encode()).hexdigest()
    write_model(Job(weights, types, lambda tensor: None, merged, identity), out, threads, progress)
    return changed


def larger_types(weights: MergedWeights) -> dict[str, GgmlType]:
    """The smallest type that holds the change, of those adapted tensors whose own does not."""
    adapted = [info for info in weights.tensors if info.name in weights.lora.pairs]
    found = {info.name: _holding(weights, info) for info in adapted}
    return {info.name: found[info.name] for info in adapted if found[info.name] != info.type}


def _holding(weights: MergedWeights, info: WeightInfo) -> GgmlType:
    larger = (kind for kind in _LARGER if bits(kind) > bits(info.type) and _fits(info, kind))
    before, after = _sampled(weights, info)
    for kind in (info.type, *larger):
        if _kept(before, after, info, kind) >= _ENOUGH:
            return kind
    return TYPE_BY_NAME["F32"]


def _fits(info: WeightInfo, kind: GgmlType) -> bool:
    return info.row_length % kind.block_elements == 0


def _sampled(weights: MergedWeights, info: WeightInfo) -> tuple[Floats, Floats]:
    """Rows from all over the tensor, without the change and with it."""
    count = min(max(1, _SAMPLE_ELEMENTS // info.row_length), info.n_rows)
    starts = np.unique(np.linspace(0, info.n_rows - count, _SAMPLES, dtype=int))
    spans = [(int(start), int(start) + count) for start in starts]
    before = [weights.base.rows(info.name, *span) for span in spans]
    after = [weights.rows(info.name, *span) for span in spans]
    return np.concatenate(before), np.concatenate(after)


def _kept(before: Floats, after: Floats, info: WeightInfo, kind: GgmlType) -> float:
    """How much of the change is there, along itself, once it was stored: 0 to about 1."""
    change = after - before
    size = float(np.vdot(change, change))
    return float(np.vdot(_stored(after, info, kind) - before, change)) / size if size else 1.0


def _stored(values: Floats, info: WeightInfo, kind: GgmlType) -> Floats:
    """What is left of values stored in a type."""
    blocks = np.empty((len(values), row_bytes(info.row_length, kind)), np.uint8)
    importance, restored = weighting(None, info, kind), np.empty_like(values)
    prepare(kind.id)
    quantise_rows(kind.id, values, None if importance is None else importance[0], blocks)
    dequantise_rows(kind.id, blocks, restored)
    return restored
