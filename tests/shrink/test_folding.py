"""Folding is ridge regression: numpy's least squares on the augmented system says the same."""

import numpy as np
import pytest

from sixgig.pruning.folding import fold, fold_centred

RIDGE = 0.02
KEEP = np.array([0, 3, 4, 7], np.int64)
GONE = np.array([1, 2, 5, 6], np.int64)


def inputs(n: int, n_in: int = 8) -> np.ndarray:
    """Related channels that are not centred."""
    random = np.random.default_rng(n)
    return (random.standard_normal((n, 3)) @ random.standard_normal((3, n_in)) + 2.0).astype(np.float32)


def regressed(kept: np.ndarray, gone: np.ndarray, ridge: float) -> np.ndarray:
    """lstsq with rows for the ridge, [n_kept, n_gone]."""
    kept, gone = kept.astype(np.float64), gone.astype(np.float64)
    root = np.sqrt(ridge * (kept**2).sum() / kept.shape[1])
    system = np.concatenate((kept, root * np.eye(kept.shape[1])))
    return np.linalg.lstsq(system, np.concatenate((gone, np.zeros((kept.shape[1], gone.shape[1])))))[0]


@pytest.mark.parametrize("n", [2, 3, 4, 5, 200])
def test_fold_is_least_squares(n: int) -> None:
    x = inputs(n)
    folding = fold(x, KEEP, RIDGE)
    assert np.array_equal(folding[KEEP], np.eye(4))
    assert np.allclose(folding[GONE], regressed(x[:, KEEP], x[:, GONE], RIDGE).T, atol=1e-5)


@pytest.mark.parametrize("n", [3, 200])
def test_the_centred_fold_is_least_squares_of_deviations(n: int) -> None:
    x = inputs(n)
    mean = x.mean(axis=0)
    folding, offset = fold_centred(x, mean, KEEP, RIDGE)
    expected = regressed(x[:, KEEP] - mean[KEEP], x[:, GONE] - mean[GONE], RIDGE).T
    assert np.allclose(folding[GONE], expected, atol=1e-5)
    assert np.allclose((x[:, KEEP] @ folding.T + offset).mean(axis=0), mean, atol=1e-4)
    assert not offset[KEEP].any()


def test_channels_that_follow_from_the_kept_ones_are_restored() -> None:
    x = inputs(200)
    folding, offset = fold_centred(x, x.mean(axis=0), KEEP, 1e-9)
    assert np.abs(x[:, KEEP] @ folding.T + offset - x).max() < 1e-3


def test_without_samples_the_mean_is_all_there_is() -> None:
    none, mean = np.empty((0, 8), np.float32), np.arange(8, dtype=np.float32)
    folding, offset = fold_centred(none, mean, KEEP)
    selection = np.eye(8, dtype=np.float32)[:, KEEP]
    assert np.array_equal(folding, selection) and np.array_equal(fold(none, KEEP), selection)
    assert np.array_equal(offset[GONE], mean[GONE]) and not offset[KEEP].any()


@pytest.mark.parametrize("keep", [np.arange(8), np.array([], np.int64)])
def test_all_or_none_kept(keep: np.ndarray) -> None:
    x = inputs(20)
    assert fold(x, keep).shape == (8, len(keep))
    folding, offset = fold_centred(x, x.mean(axis=0), keep)
    assert np.array_equal(offset != 0, np.isin(np.arange(8), keep, invert=True)) and folding.shape[1] == len(
        keep
    )


def test_inputs_of_nothing_fold_to_nothing() -> None:
    folding = fold(np.zeros((16, 8), np.float32), KEEP)
    assert np.isfinite(folding).all() and not folding[GONE].any()
