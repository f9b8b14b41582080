"""What removed inputs did, folded into the inputs that stay: least squares on sampled inputs.

A matrix W whose inputs x are cut to x[keep] becomes W @ T, where x is about x[keep] @ T.T: T has the identity
in the rows of kept inputs and, in the others, the regression of each on the kept ones. Uncentred, the mean is
folded with the rest; centred, what is left of it is an offset of the inputs, W @ offset a bias. The offset
alone is FLAP's compensation (An et al., AAAI 2024).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Indices = NDArray[np.int64]
RIDGE = 0.01
_TINY = 1e-30


def fold(samples: Floats, keep: Indices, ridge: float = RIDGE) -> Floats:
    """T, float32 [n_in, n_kept], from inputs `samples` [n, n_in]; the plain selection without samples.

    ridge: added to the second moments of the kept inputs, as a share of their mean; above 0. No bias is
    needed after: the mean is folded with the rest.
    """
    gone = _gone(samples.shape[1], keep)
    coefficients = _regression(samples[:, keep], samples[:, gone], ridge)
    return _assembled(samples.shape[1], keep, gone, coefficients)


def fold_centred(samples: Floats, mean: Floats, keep: Indices, ridge: float = RIDGE) -> tuple[Floats, Floats]:
    """(T, offset [n_in]): x is about x[keep] @ T.T + offset; of deviations from `mean`.

    mean: [n_in], of all inputs, sampled or not; it stays what it was. The offset is 0 where kept; without
    samples T selects and the offset is the mean. ridge as for fold().
    """
    gone = _gone(samples.shape[1], keep)
    deviations = samples - mean
    coefficients = _regression(deviations[:, keep], deviations[:, gone], ridge)
    offset = np.zeros(samples.shape[1], np.float32)
    offset[gone] = mean[gone] - mean[keep].astype(np.float64) @ coefficients
    return _assembled(samples.shape[1], keep, gone, coefficients), offset


def _gone(n_in: int, keep: Indices) -> Indices:
    """The inputs that are not kept."""
    return np.setdiff1d(np.arange(n_in, dtype=np.int64), keep)


def _regression(kept: Floats, gone: Floats, ridge: float) -> Doubles:
    """M, [n_kept, n_gone], with gone about kept @ M; solved over inputs or samples, whichever are fewer."""
    x: Doubles = kept.astype(np.float64)
    y: Doubles = gone.astype(np.float64)
    n, n_kept = x.shape
    if n == 0 or n_kept == 0 or y.shape[1] == 0:
        return np.zeros((n_kept, y.shape[1]))
    damping = ridge * max(float(np.einsum("ij,ij->", x, x)) / n_kept, _TINY)
    dual = n < n_kept
    square = np.asarray(x @ x.T if dual else x.T @ x, np.float64)
    square[np.diag_indices_from(square)] += damping
    found = x.T @ np.linalg.solve(square, y) if dual else np.linalg.solve(square, x.T @ y)
    return np.asarray(found, np.float64)


def _assembled(n_in: int, keep: Indices, gone: Indices, coefficients: Doubles) -> Floats:
    """The identity where kept, the regression where gone."""
    folding = np.zeros((n_in, len(keep)), np.float32)
    folding[keep, np.arange(len(keep))] = 1.0
    folding[gone] = coefficients.T
    return folding
