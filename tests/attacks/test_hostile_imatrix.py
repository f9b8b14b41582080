"""Importance matrices that lie: each is refused by name, and none is believed."""

from struct import pack

import numpy as np
import pytest

from sixgig.errors import ModelFileError
from sixgig.modelfile.arrays import write_arrays
from sixgig.modelfile.imatrix import read_imatrix

NAME = "blk.0.ffn_down.weight"
GOOD = {
    NAME + ".in_sum2": np.ones((2, 32), np.float32),
    NAME + ".counts": np.full((2, 1), 4, np.float32),
}


def written(path, arrays, kind="imatrix"):
    write_arrays(path, {"general.type": kind} if kind else {"general.name": "x"}, arrays)
    return path


def with_values(ending, values):
    return GOOD | {NAME + ending: values}


def spoiled(ending, value):
    values = GOOD[NAME + ending].copy()
    values[1, -1] = value
    return with_values(ending, values)


def test_the_good_one_is_read(tmp_path):
    assert read_imatrix(written(tmp_path / "good.gguf", GOOD)).importance(NAME).tolist() == [[0.25] * 32] * 2


@pytest.mark.parametrize("kind", ["model", "", None])
def test_another_kind_of_file_is_refused(tmp_path, kind):
    with pytest.raises(ModelFileError, match="is no importance matrix"):
        read_imatrix(written(tmp_path / "bad.gguf", GOOD, kind))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({NAME + ".in_sum2": GOOD[NAME + ".in_sum2"]}, "has no counts"),
        ({NAME + ".counts": GOOD[NAME + ".counts"]}, "has no sums"),
        ({NAME + ".stats": GOOD[NAME + ".counts"]}, "holds no importances"),
        (spoiled(".in_sum2", np.nan), "negative or no numbers"),
        (spoiled(".in_sum2", np.inf), "negative or no numbers"),
        (spoiled(".in_sum2", -1), "negative or no numbers"),
        (spoiled(".counts", np.nan), "negative or no numbers"),
        (spoiled(".counts", -2), "negative or no numbers"),
        (spoiled(".counts", 1e-30), "no whole numbers"),
        (with_values(".counts", np.ones((3, 1), np.float32)), "64 sums for 3 counts"),
        (with_values(".counts", np.ones((65, 1), np.float32)), "64 sums for 65 counts"),
        (with_values(".in_sum2", np.ones((2, 32))), "not float32"),
        (with_values(".counts", np.ones((2, 1), np.int32)), "not float32"),
    ],
)
def test_impossible_contents_are_refused(tmp_path, arrays, message):
    with pytest.raises(ModelFileError, match=message):
        read_imatrix(written(tmp_path / "bad.gguf", arrays))


def test_every_truncation_is_refused(tmp_path):
    whole = written(tmp_path / "whole.gguf", GOOD).read_bytes()
    path = tmp_path / "cut.gguf"
    for size in [*range(0, len(whole) - 32, 7), len(whole) - 33]:
        path.write_bytes(whole[:size])
        with pytest.raises(ModelFileError):
            read_imatrix(path)


def test_random_damage_never_crashes(tmp_path):
    whole = written(tmp_path / "whole.gguf", GOOD).read_bytes()
    random, path = np.random.default_rng(5), tmp_path / "damaged.gguf"
    for _ in range(300):
        raw = bytearray(whole)
        for place in random.integers(0, len(raw), 3):
            raw[place] = random.integers(0, 256)
        path.write_bytes(raw)
        try:
            importance = read_imatrix(path).importance(NAME)
        except ModelFileError:
            continue
        assert importance is None or np.isfinite(importance).all()


@pytest.mark.parametrize("raw", [b"", b"GGUF", pack("<4i", 1, 4, 0, 9) + b"blk.0", b"\0" * 4096])
def test_what_is_no_gguf_is_refused(tmp_path, raw):
    path = tmp_path / "old.dat"
    path.write_bytes(raw)
    with pytest.raises(ModelFileError):
        read_imatrix(path)


def test_a_folder_and_a_missing_file_are_refused(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere.gguf"):
        with pytest.raises(ModelFileError):
            read_imatrix(path)


def test_wrongly_typed_provenance_is_refused(tmp_path):
    path = tmp_path / "bad.gguf"
    write_arrays(path, {"general.type": "imatrix", "imatrix.datasets": 7}, GOOD)
    with pytest.raises(ModelFileError, match="must be an array"):
        read_imatrix(path)
    write_arrays(path, {"general.type": "imatrix", "imatrix.chunk_count": "many"}, GOOD)
    with pytest.raises(ModelFileError, match="chunk_count"):
        read_imatrix(path)
