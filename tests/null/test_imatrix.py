"""Importance matrices: written, read by the format's own library, and read back."""

import os

import numpy as np
import pytest
from gguf import GGUFReader, GGUFWriter

from sixgig.errors import ModelFileError
from sixgig.modelfile.arrays import read_arrays, write_arrays
from sixgig.modelfile.imatrix import Imatrix, read_imatrix, write_imatrix

DENSE, EXPERTS, STACKED = "blk.0.ffn_down.weight", "blk.1.ffn_down_exps.weight", "blk.0.attn_k_b.weight"


def example():
    random = np.random.default_rng(3)
    entries = {
        EXPERTS: (random.random((4, 32), np.float32), np.array([3, 0, 5, 1], np.float32)),
        DENSE: (random.random((1, 64), np.float32), np.array([9], np.float32)),
    }
    return Imatrix(entries, ("a text", "another"), 7, 512)


def test_what_is_written_is_read_back(tmp_path):
    path, given = tmp_path / "it.gguf", example()
    write_imatrix(path, given)
    found = read_imatrix(path)
    assert (found.datasets, found.chunk_count, found.chunk_size) == (("a text", "another"), 7, 512)
    assert found.entries.keys() == given.entries.keys()
    for name, arrays in given.entries.items():
        for ours, theirs in zip(found.entries[name], arrays, strict=True):
            assert ours.dtype == np.float32 and np.array_equal(ours, theirs)
    assert os.listdir(tmp_path) == ["it.gguf"]


def test_the_formats_own_reader_finds_what_the_tools_look_for(tmp_path):
    write_imatrix(tmp_path / "it.gguf", example())
    reader = GGUFReader(tmp_path / "it.gguf")
    assert reader.get_field("general.type").contents() == "imatrix"
    assert reader.get_field("imatrix.datasets").contents() == ["a text", "another"]
    assert reader.get_field("imatrix.chunk_count").contents() == 7
    assert reader.get_field("imatrix.chunk_size").contents() == 512
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    assert list(tensors) == sorted(tensors, key=lambda name: name.rsplit(".", 1)[0])
    squares, counts = example().entries[EXPERTS]
    assert list(tensors[EXPERTS + ".in_sum2"].shape) == [32, 4]
    assert list(tensors[EXPERTS + ".counts"].shape) == [1, 4]
    assert np.array_equal(tensors[EXPERTS + ".in_sum2"].data, squares)
    assert np.array_equal(tensors[EXPERTS + ".counts"].data.ravel(), counts)


def test_importance_is_the_mean_square_and_one_where_nothing_came():
    given = example()
    squares, counts = given.entries[EXPERTS]
    importance = given.importance(EXPERTS)
    assert importance.dtype == np.float32 and importance.shape == (4, 32)
    assert np.array_equal(importance[1], np.ones(32, np.float32))
    assert np.allclose(importance[[0, 2, 3]], squares[[0, 2, 3]] / counts[[0, 2, 3], None], rtol=1e-6)
    assert given.importance("blk.9.ffn_up.weight") is None


def test_a_file_of_the_tool_with_sums_and_statistics_beside(tmp_path):
    """As build 11549 writes it: means and statistics too, stacked matrices in one row."""
    path = tmp_path / "theirs.gguf"
    writer = GGUFWriter(path, "", use_temp_file=False)
    writer.add_type("imatrix")
    writer.add_array("imatrix.datasets", ["wiki.txt"])
    writer.add_uint32("imatrix.chunk_count", 2)
    writer.add_uint32("imatrix.chunk_size", 512)
    squares = np.arange(96, dtype=np.float32)
    for ending, values in {
        ".in_sum2": squares[None],
        ".counts": np.full((1, 1), 8, np.float32),
        ".in_sum": -squares[None],
        ".stats": np.full(12, np.nan, np.float32),
    }.items():
        writer.add_tensor(STACKED + ending, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = read_imatrix(path)
    assert list(found.entries) == [STACKED] and found.datasets == ("wiki.txt",)
    fitted = found.fitted({STACKED: (32, 5, 3), DENSE: (64, 8)})
    assert np.array_equal(fitted.importance(STACKED), squares.reshape(3, 32) / 8)


def test_importances_of_another_model_are_refused():
    with pytest.raises(ModelFileError, match=r"another model; 128 sums and 4 counts for 8 of 32 inputs"):
        example().fitted({EXPERTS: (32, 16, 8)})
    assert list(example().fitted({DENSE: (64, 16)}).entries) == [DENSE]


def test_a_failed_write_leaves_the_file_before(tmp_path, monkeypatch):
    path = tmp_path / "it.gguf"
    write_imatrix(path, example())
    before = path.read_bytes()

    def full(_descriptor):
        raise OSError("the disk is full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="full"):
        write_imatrix(path, Imatrix({DENSE: example().entries[DENSE]}))
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["it.gguf"]


def test_arrays_of_every_type_come_back(tmp_path):
    arrays = {
        kind: np.arange(24).reshape(2, 3, 4).astype(kind)
        for kind in ("float16", "float32", "float64", "int32", "int64")
    }
    arrays["a part"] = arrays["float32"][:, ::2, 1:]
    write_arrays(tmp_path / "a.gguf", {"some.text": "x" * 9000, "some.number": 5}, arrays)
    header, found = read_arrays(tmp_path / "a.gguf")
    assert header.metadata.text("some.text") == "x" * 9000 and header.metadata.integer("some.number") == 5
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype and np.array_equal(found[name], array), name
        with pytest.raises(ValueError, match="read-only"):
            found[name][0] = 0
