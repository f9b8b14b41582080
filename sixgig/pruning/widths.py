"""Narrower experts: each keeps its own best channels; what the others did is folded into its last projection.

A channel's score is E[x_j^2] |W_down[:, j]|^2, what leaving it out adds to the mean squared output (the
uncentred form of FLAP's criterion, An et al., AAAI 2024, as there is no bias to take up a mean). The folding
is least squares on the expert's own sampled inputs. An expert meets few, about as many as it has channels, so
the ridge counts: with too small a one folding does harm.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sixgig.calibration.calibration import Calibration
from sixgig.pruning.expert_limits import require_width, width_metadata
from sixgig.pruning.expert_tensors import ExpertLayer, ExpertShapes, source_experts
from sixgig.pruning.folding import fold
from sixgig.weights.cut import Cut, Indices, TensorCut
from sixgig.weights.stored import Floats, WeightInfo, Weights

Scores = NDArray[np.float64]
PRIOR = 1.5  # samples that the ridge outweighs, per channel kept; best on held-out samples from 64 to 384


def narrow_experts(
    weights: Weights, calibration: Calibration, width: int, work: Path | None, prior: float = PRIOR
) -> Cut:
    """The cut that leaves every expert its `width` best channels.

    Foldings are written to the folder `work`, width * (old width) * 2 bytes an expert, one file a layer, and
    taken from there when the same were made before; None leaves the others' part out. prior: as PRIOR.
    `weights` may have lost experts, not channels. Experts that met no token keep the channels with the
    largest weights. Raises UsageError when llama.cpp does not load the width; OSError.
    """
    shapes = ExpertShapes(weights)
    require_width(shapes, width)
    kept: dict[int, Indices] = {}
    foldings: dict[int, Path] = {}
    for layer in shapes.layers:
        sources = source_experts(weights, layer.down.name)
        kept[layer.number] = best_channels(_scores(weights, calibration, layer, sources), width)
        if work is not None and width < layer.width:
            foldings[layer.number] = _fold_layer(calibration, layer, sources, kept[layer.number], work, prior)
    return keep_channels(weights, kept, foldings)


def best_channels(scores: Scores, width: int) -> Indices:
    """For each expert (row) its `width` channels with the highest scores, ascending; of equals the first."""
    best = np.argsort(-scores, axis=1, kind="stable")[:, :width]
    return np.sort(best, axis=1).astype(np.int64)


def squared_columns(weights: Weights, info: WeightInfo) -> Scores:
    """Sums of squares of each matrix's columns, [matrices, n_in]; one matrix in memory at a time."""
    rows = info.rows_per_matrix
    columns = (weights.rows(info.name, e * rows, (e + 1) * rows) for e in range(info.n_matrices))
    return np.stack([np.square(matrix, dtype=np.float64).sum(axis=0) for matrix in columns])


def keep_channels(weights: Weights, kept: Mapping[int, Indices], foldings: Mapping[int, Path]) -> Cut:
    """The cut that leaves channels `kept` [experts, width] of each layer, the same width everywhere.

    foldings: of ffn_down, as TensorCut.folding says, by layer. UsageError when llama.cpp loads no such width.
    """
    shapes = ExpertShapes(weights)
    width = next(iter(kept.values())).shape[1]
    require_width(shapes, width)
    tensors: dict[str, TensorCut] = {}
    biases: dict[str, Floats] = {}
    for layer in shapes.layers:
        columns = kept[layer.number]
        tensors[layer.down.name] = TensorCut(columns=columns, folding=foldings.get(layer.number))
        for info in layer.inner:
            tensors[info.name] = TensorCut(rows=_both(columns, layer, info))
        for info in layer.inner_biases():
            values = weights.rows(info.name, 0, info.n_rows)
            biases[info.name] = np.take_along_axis(values, _both(columns, layer, info), axis=1)
    note = f"{width} of {shapes.width} channels in every expert"
    return Cut(tensors, biases, width_metadata(shapes, width), note)


def _both(columns: Indices, layer: ExpertLayer, info: WeightInfo) -> Indices:
    """Rows of gate or of up; of the two fused, gate's before up's."""
    return np.concatenate((columns, columns + layer.width), axis=1) if layer.is_fused(info) else columns


def _scores(weights: Weights, calibration: Calibration, layer: ExpertLayer, sources: Indices) -> Scores:
    """What each channel adds to the mean squared output, [experts, width]; by weights where none was met."""
    importance = calibration.importance(layer.down.name)
    squares = squared_columns(weights, layer.down)
    return squares if importance is None else squares * importance[sources]


def _fold_layer(
    calibration: Calibration, layer: ExpertLayer, sources: Indices, kept: Indices, work: Path, prior: float
) -> Path:
    """The layer's foldings in a file of their own, named after what they are made from; it appears whole."""
    path = work / f"{layer.down.name}-{_digest(calibration, sources, kept, prior)}.npy"
    if path.exists():
        return path
    work.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    shape = (layer.n_experts, layer.width, kept.shape[1])
    out = np.lib.format.open_memmap(part, "w+", np.float16, shape)
    for expert, source in enumerate(sources):
        samples = calibration.samples(layer.down.name, int(source))
        ridge = prior * kept.shape[1] / max(len(samples), 1)
        out[expert] = fold(samples.reshape(-1, layer.width), kept[expert], ridge)
    out.flush()
    del out
    os.replace(part, path)
    return path


def _digest(calibration: Calibration, sources: Indices, kept: Indices, prior: float) -> str:
    made_from = f"{calibration.progress} {prior}".encode() + sources.tobytes() + kept.tobytes()
    return sha256(made_from).hexdigest()[:16]
