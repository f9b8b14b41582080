"""Statistics of activations, gathered while a model reads: moments of inputs, use of experts, the stream."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sixgig.calibration.samples import MAPPED_BYTES, SampleFile
from sixgig.errors import EngineError, ModelFileError
from sixgig.families import Role
from sixgig.llamacpp.observe import Ids, Product
from sixgig.modelfile import ModelFile, Tensor
from sixgig.modelfile.imatrix import mean_squares

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Counts = NDArray[np.int64]
_BLOCK_ELEMENTS = 1 << 18  # converted to float64 together
SCRATCH_BYTES = 3 * 8 * _BLOCK_ELEMENTS + MAPPED_BYTES


@dataclass(frozen=True)
class Moments:
    """What the matrices of a weight met: counts int64 [matrices]; sums and squares float32 [matrices, n_in].

    Each evaluation is summed in float64 and then rounded once into these, so that the relative error of
    `squares` is below 6e-8 times the number of evaluations.
    """

    counts: Counts
    sums: Floats
    squares: Floats

    @property
    def mean(self) -> Floats:
        """Mean of each input, [matrices, n_in]; 0 for a matrix that met none."""
        return self.sums / np.maximum(self.counts, 1).astype(np.float32)[:, None]

    @property
    def variance(self) -> Floats:
        """Population variance of each input (FLAP's fluctuation), [matrices, n_in]; 0 without inputs."""
        n = np.maximum(self.counts, 1)[:, None]
        mean = self.sums.astype(np.float64) / n
        return np.maximum(self.squares / n - mean * mean, 0.0).astype(np.float32)

    @property
    def importance(self) -> Floats:
        """Mean square of each input, [matrices, n_in]; ones for a matrix that met none."""
        return mean_squares(self.squares, self.counts)

    @staticmethod
    def empty(n_matrices: int, n_in: int) -> Moments:
        """Nothing met yet."""
        shape = (n_matrices, n_in)
        return Moments(
            np.zeros(n_matrices, np.int64), np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        )

    def add(self, matrix: int, rows: Floats) -> None:
        """Count rows [n, n_in] in."""
        sums, squares = np.zeros(rows.shape[1]), np.zeros(rows.shape[1])
        step = max(1, _BLOCK_ELEMENTS // rows.shape[1])
        for start in range(0, len(rows), step):
            block = rows[start : start + step].astype(np.float64)
            sums += block.sum(axis=0)
            squares += np.einsum("ij,ij->j", block, block)
        if not np.isfinite(squares).all():
            raise ModelFileError("the model's activations are no numbers", cure="fetch the file again")
        self.counts[matrix] += len(rows)
        self.sums[matrix] += sums
        self.squares[matrix] += squares


@dataclass(frozen=True)
class ExpertUse:
    """One layer's experts: how often each was routed to, and the norms of what it then added to the stream.

    routed int64 [experts]; norm_sums float64 [experts], sums of ||g * f(x)||; peaks float32 [experts], the
    largest of them (a super expert's stands out by orders of magnitude).
    """

    routed: Counts
    norm_sums: Doubles
    peaks: Floats

    @property
    def saliency(self) -> Floats:
        """REAP's score, [experts]: the mean norm over the tokens routed to it; 0 without any."""
        return (self.norm_sums / np.maximum(self.routed, 1)).astype(np.float32)

    @staticmethod
    def empty(n_experts: int) -> ExpertUse:
        """Nothing routed yet."""
        return ExpertUse(np.zeros(n_experts, np.int64), np.zeros(n_experts), np.zeros(n_experts, np.float32))

    def add(self, outputs: Floats, ids: Ids) -> None:
        """Count a layer's weighted outputs [tokens, n_used, n_embd] in."""
        norms = np.sqrt(np.einsum("tue,tue->tu", outputs, outputs, dtype=np.float64)).ravel()
        flat = ids.ravel()
        self.routed[:] += np.bincount(flat, minlength=len(self.routed))
        self.norm_sums[:] += np.bincount(flat, norms, len(self.routed))
        np.maximum.at(self.peaks, flat, norms.astype(np.float32))


@dataclass(frozen=True)
class Stream:
    """The residual stream: counts int64 [layers], squares float64 [layers], sums of squared norms."""

    counts: Counts
    squares: Doubles

    @property
    def mean_square_norm(self) -> Doubles:
        """By layer, after it; 0 where nothing was seen."""
        return self.squares / np.maximum(self.counts, 1)


class Collector:
    """The observer that gathers: give it to the engine, then feed. Memory: accumulator_bytes().

    same_input: weight to the weight whose moments it shares, for all that met an input. One evaluation at a
    time; after one that failed the figures are worthless.
    """

    def __init__(self, model: ModelFile, samples: SampleFile | None = None) -> None:
        self.model, self.samples = model, samples
        self.tensors = {tensor.name: tensor for tensor in model.tensors}
        self.same_input = dict[str, str]()
        self.moments = dict[str, Moments]()
        self.experts = dict[int, ExpertUse]()
        self.stream_sums = Stream(np.zeros(model.n_layers, np.int64), np.zeros(model.n_layers))
        self._sources = dict[tuple[int, int], str]()

    @property
    def weights(self) -> Collection[str]:
        """Every weight."""
        return self.tensors.keys()

    def begin(self) -> None:
        """Sources are known by address, within one evaluation only."""
        self._sources.clear()

    def product(self, product: Product) -> None:
        """Count the inputs in, once for all weights that share them; keep samples of some."""
        first = self._sources.setdefault(product.source, product.weight)
        if self.same_input.setdefault(product.weight, first) != first:
            raise EngineError("the model's graph changed between evaluations", product.weight)
        sampled = self.samples is not None and product.weight in self.samples.seen
        if first == product.weight or sampled:
            for matrix, rows in _by_matrix(product):
                if first == product.weight:
                    self._moments(product.weight).add(matrix, rows)
                if sampled and self.samples is not None:
                    self.samples.offer(product.weight, matrix, rows)

    def weighted(self, layer: int, outputs: Floats, ids: Ids) -> None:
        """Count the experts' outputs in."""
        if layer not in self.experts:
            self.experts[layer] = ExpertUse.empty(self.model.n_experts)
        self.experts[layer].add(outputs, ids)

    def stream(self, layer: int, values: Floats) -> None:
        """Count the stream in."""
        self.stream_sums.counts[layer] += len(values)
        self.stream_sums.squares[layer] += np.einsum("te,te->", values, values, dtype=np.float64)

    def _moments(self, name: str) -> Moments:
        if name not in self.moments:
            tensor = self.tensors[name]
            self.moments[name] = Moments.empty(n_matrices(tensor), tensor.shape[0])
        return self.moments[name]


def n_matrices(tensor: Tensor) -> int:
    """Matrices of a weight: experts of a routed one, heads of a stacked one, else 1."""
    return tensor.shape[2] if len(tensor.shape) > 2 else 1


def accumulator_bytes(model: ModelFile) -> int:
    """Memory a Collector takes at most, to be deducted from the budget before the engine is opened.

    Gate and up projection of the experts count once, other weights as if no two shared their input.
    """
    routed, other = dict[int | None, list[Tensor]](), 0
    for tensor in model.tensors:
        if tensor.role is Role.ROUTED_EXPERT:
            routed.setdefault(tensor.layer, []).append(tensor)
        elif tensor.role not in (Role.NORM, Role.EMBEDDING):
            other += _moment_bytes(n_matrices(tensor), tensor.shape[0])
    layers = (_routed_bytes(tensors) for tensors in routed.values())
    return SCRATCH_BYTES + other + sum(layers)


def _routed_bytes(tensors: list[Tensor]) -> int:
    """One layer's experts: one input of the stream's width, one of the experts'; and how they were used."""
    widths = {tensor.shape[0] for tensor in tensors}
    inputs = sum(widths) if len(widths) > 1 else 2 * sum(widths)
    return _moment_bytes(n_matrices(tensors[0]), inputs) + 20 * n_matrices(tensors[0])


def _moment_bytes(matrices: int, n_in: int) -> int:
    return matrices * (16 + 8 * n_in)


def _by_matrix(product: Product) -> Iterator[tuple[int, Floats]]:
    """Matrices that met inputs, each with its rows [n, n_in] in the order of the tokens."""
    if product.ids is None:
        yield 0, product.inputs
        return
    n_used = product.ids.shape[1]
    flat = product.ids.ravel()
    order = np.argsort(flat, kind="stable")
    matrices, starts = np.unique(flat[order], return_index=True)
    one_slot = product.inputs.shape[1] == 1
    for matrix, places in zip(matrices.tolist(), np.split(order, starts[1:]), strict=True):
        yield matrix, product.inputs[places // n_used, 0 if one_slot else places % n_used]
