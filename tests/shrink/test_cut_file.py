"""A cut comes back from disk to the bit, and from nothing else."""

from pathlib import Path

import numpy as np
import pytest

from sixgig.errors import UsageError
from sixgig.weights.cut import Cut, TensorCut
from sixgig.weights.cut_file import load_cut, save_cut


def a_cut(folder: Path) -> Cut:
    """Something of everything."""
    folding = folder / "foldings" / "down.npy"
    folding.parent.mkdir(exist_ok=True)
    np.save(folding, np.ones((1, 4, 2), np.float16))
    random = np.random.default_rng(0)
    tensors = {
        "blk.0.ffn_down_exps.weight": TensorCut(np.array([0, 2]), None, np.array([[0, 1], [1, 3]]), folding),
        "blk.0.ffn_up_exps.weight": TensorCut(rows=np.array([[0, 1], [1, 3]])),
        "blk.0.ffn_norm.weight": TensorCut(),
    }
    replaced = {"blk.0.ffn_gate_inp.weight": random.standard_normal((2, 3), np.float32)}
    metadata = {"a.count": 2, "a.list": [1, 2], "a.scale": 0.1, "a.kind": "deci", "a.gone": None}
    return Cut(tensors, replaced, metadata, "half of it")


def assert_same(found: Cut, cut: Cut) -> None:
    assert list(found.tensors) == list(cut.tensors) and list(found.replaced) == list(cut.replaced)
    assert (found.metadata, found.note) == (cut.metadata, cut.note)
    for name, tensor in cut.tensors.items():
        for part in ("experts", "rows", "columns"):
            mine, theirs = getattr(found.tensors[name], part), getattr(tensor, part)
            assert (mine is None) == (theirs is None)
            assert mine is None or (mine.dtype == theirs.dtype and np.array_equal(mine, theirs))
        assert str(found.tensors[name].folding) == str(tensor.folding)
    for name, values in cut.replaced.items():
        other = found.replaced[name]
        assert (values.tobytes(), values.dtype, values.shape) == (other.tobytes(), other.dtype, other.shape)


def test_round_trip(tmp_path: Path) -> None:
    cut = a_cut(tmp_path)
    save_cut(cut, tmp_path / "cut.npz")
    assert_same(load_cut(tmp_path / "cut.npz"), cut)
    save_cut(Cut(), tmp_path / "cut.npz")
    assert_same(load_cut(tmp_path / "cut.npz"), Cut())
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["cut.npz"]


def test_a_folder_that_moves(tmp_path: Path) -> None:
    before = tmp_path / "before"
    before.mkdir()
    save_cut(a_cut(before), before / "cut.npz")
    after = before.rename(tmp_path / "after")
    folding = load_cut(after / "cut.npz").tensors["blk.0.ffn_down_exps.weight"].folding
    assert folding == after / "foldings" / "down.npy"


def test_what_is_no_cut(tmp_path: Path) -> None:
    path = tmp_path / "cut.npz"
    with pytest.raises(UsageError, match="is no cut"):
        load_cut(path)
    save_cut(a_cut(tmp_path), path)
    whole = path.read_bytes()
    for content in (b"", b"PK", whole[: len(whole) // 2], b"\x93NUMPY" + whole):
        path.write_bytes(content)
        with pytest.raises(UsageError, match="is no cut"):
            load_cut(path)
    np.savez(path, description=np.frombuffer(b"[]", np.uint8))
    with pytest.raises(UsageError, match="is no cut"):
        load_cut(path)
    np.savez(path, description=np.frombuffer(b'{"version": 2}', np.uint8))
    with pytest.raises(UsageError, match="version 2"):
        load_cut(path)


def test_a_folding_that_is_gone(tmp_path: Path) -> None:
    save_cut(a_cut(tmp_path), tmp_path / "cut.npz")
    (tmp_path / "foldings" / "down.npy").unlink()
    with pytest.raises(UsageError, match=r"folding of blk\.0\.ffn_down_exps\.weight is gone"):
        load_cut(tmp_path / "cut.npz")
