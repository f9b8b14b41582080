"""What removed inputs did, folded into the inputs that stay: least squares on sampled inputs.

A matrix W whose inputs x are cut to x[keep] becomes W @ T, where x is about x[keep] @ T.T: T has the identity
in the rows of kept inputs and, in the others, the regression of each on the kept ones, uncentred.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
RIDGE = 0.01


def fold(samples: Floats, keep: NDArray[np.int64], ridge: float = RIDGE) -> Floats:
    """T, float32 [n_in, n_kept], from inputs `samples` [n, n_in]; the plain selection without samples.

    ridge: added to the second moments of the kept inputs, as a share of their mean. No bias is needed after:
    the mean is folded with the rest.
    """
    n_in = samples.shape[1]
    folding = np.zeros((n_in, len(keep)), np.float32)
    folding[keep, np.arange(len(keep))] = 1.0
    gone = np.setdiff1d(np.arange(n_in), keep)
    if len(samples) == 0 or len(gone) == 0:
        return folding
    kept = samples[:, keep].astype(np.float64)
    second = kept.T @ kept
    second[np.diag_indices_from(second)] += ridge * max(float(np.trace(second)) / len(keep), 1e-12)
    folding[gone] = np.linalg.solve(second, kept.T @ samples[:, gone].astype(np.float64)).T
    return folding
