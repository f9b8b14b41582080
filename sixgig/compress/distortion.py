"""How wrong a tensor's products become in each type, measured on sampled rows.

The error of a matrix W stored as Q is sum_ij (W - Q)_ij^2 E[x_j^2] over the same sum of W: the mean squared
error of its products relative to their mean square, for inputs whose coordinates do not correlate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from sixgig.compress.types import candidates, is_float
from sixgig.compress.write import row_bytes, weighting
from sixgig.llamacpp.blocks import dequantise_rows, prepare, quantise_rows
from sixgig.modelfile import TYPE_BY_NAME, GgmlType
from sixgig.weights.stored import Floats, Importance, WeightInfo, Weights

SAMPLE_ELEMENTS = 1 << 18
MATRICES = 16


@dataclass(frozen=True)
class Distortion:
    """Of one tensor. errors: relative squared error by type name. power: mean square of its products."""

    errors: Mapping[str, float]
    power: float


Distortions = dict[str, Distortion]
# Relative squared error of rounding the inputs of a product, as ggml does for quantised weights: to 8 bits in
# blocks of 32 (normal numbers), in blocks of 256 (twice that, as the floors in LOG.md), or to BF16.
_INPUTS_BY_32, _INPUTS_BY_256, _INPUTS_BF16 = 3e-5, 6e-5, 2.7e-6


def measure_distortions(
    weights: Weights,
    importance: Importance,
    threads: int,
    known: Mapping[str, Distortion] | None = None,
    progress: Callable[[float], object] = lambda fraction: None,
) -> Distortions:
    """Of every tensor, in each type it may get; of those in `known` as it says. Memory: 4 MiB a thread."""
    found: Distortions = dict(known or {})
    missing = [info for info in weights.tensors if info.name not in found]
    for kind in {kind for info in missing for kind in candidates(info)}:
        prepare(kind.id)
    with ThreadPoolExecutor(threads, "distortion") as pool:
        results = pool.map(lambda info: _distortion(weights, info, importance), missing)
        for info, distortion in zip(missing, results, strict=True):
            found[info.name] = distortion
            progress(len(found) / len(weights.tensors))
    return found


def _distortion(weights: Weights, info: WeightInfo, importance: Importance) -> Distortion:
    kinds = candidates(info)
    if len(kinds) == 1:
        return Distortion({kinds[0].name: 0.0}, 0.0)
    samples, inputs = list(_samples(weights, info)), importance(info.name)
    errors = {kind.name: _error(info, kind, samples, inputs) for kind in kinds}
    errors[info.type.name] = 0.0
    return Distortion(errors, _power(samples, inputs))


def _power(samples: Sequence[tuple[int, Floats]], inputs: Floats | None) -> float:
    """Mean over rows of sum_j W_j^2 E[x_j^2]: what a product squared is where inputs do not correlate."""
    rows = sum(len(values) for _, values in samples)
    return sum(
        float((values * values * (1.0 if inputs is None else inputs[matrix])).sum())
        for matrix, values in samples
    ) / max(rows, 1)


def _samples(weights: Weights, info: WeightInfo) -> Iterator[tuple[int, Floats]]:
    """(matrix, rows of it): rows from all parts of up to MATRICES matrices."""
    matrices = np.unique(np.linspace(0, info.n_matrices - 1, MATRICES).astype(int))
    wanted = max(1, SAMPLE_ELEMENTS // (info.row_length * len(matrices)))
    for matrix in matrices:
        first = int(matrix) * info.rows_per_matrix
        yield int(matrix), _spread(weights, info, first, min(wanted, info.rows_per_matrix))


def _spread(weights: Weights, info: WeightInfo, first: int, wanted: int) -> Floats:
    """`wanted` rows of one matrix, in eight runs of neighbours spread over it."""
    runs = min(8, wanted)
    starts = np.linspace(0, info.rows_per_matrix - wanted // runs, runs).astype(int)
    return np.concatenate(
        [weights.rows(info.name, first + int(at), first + int(at) + wanted // runs) for at in starts]
    )


def _error(
    info: WeightInfo, kind: GgmlType, samples: Sequence[tuple[int, Floats]], inputs: Floats | None
) -> float:
    wrong = whole = 0.0
    weighted = weighting(inputs, info, kind)
    for matrix, values in samples:
        row = None if weighted is None else weighted[matrix if len(weighted) > 1 else 0]
        difference = values - _round_trip(kind, values, row)
        scale = 1.0 if inputs is None or row is None else row
        wrong += float((difference * difference * scale).sum())
        whole += float((values * values * scale).sum())
    return wrong / max(whole, 1e-30) + rounding_of_inputs(kind)


def _round_trip(kind: GgmlType, values: Floats, importance: Floats | None) -> Floats:
    blocks = np.empty((len(values), row_bytes(values.shape[1], kind)), np.uint8)
    quantise_rows(kind.id, np.ascontiguousarray(values), importance, blocks)
    back = np.empty_like(values)
    dequantise_rows(kind.id, blocks, back)
    return back


def rounding_of_inputs(kind: GgmlType) -> float:
    """Relative squared error that the type's product adds by rounding its inputs."""
    if not is_float(kind):
        return _INPUTS_BY_256 if kind.block_elements == 256 else _INPUTS_BY_32
    return _INPUTS_BF16 if kind is TYPE_BY_NAME["BF16"] else 0.0
