import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sixgig.evaluate import BaseFile, BaseWriter, Windows, cut, is_base_file
from sixgig.evaluate.log_probabilities import pack


def some_windows(count: int, context: int) -> Windows:
    return cut((np.arange(count * context) % 11).tolist(), context)


@given(st.integers(1, 4), st.integers(4, 9), st.integers(11, 14))
def test_what_is_written_is_read(tmp_path_factory, count, context, n_vocab):
    path = tmp_path_factory.mktemp("base") / "x.logits"
    windows = some_windows(count, context)
    random = np.random.default_rng(1)
    rows = pack(random.standard_normal((count * windows.n_scored, n_vocab)).astype(np.float32))
    with BaseWriter(path, windows, n_vocab) as writer:
        for row in rows:
            writer.write(row[None])
    assert path.stat().st_size == writer.shape.size_bytes and is_base_file(path)
    with BaseFile(path) as base:
        assert base.shape == writer.shape and np.array_equal(base.tokens, windows.tokens)
        for number in range(count):
            expected = rows[number * windows.n_scored :][: windows.n_scored]
            assert np.array_equal(base.rows(number, 0, windows.n_scored), expected)
            assert np.array_equal(base.rows(number, windows.n_scored - 1, 1), expected[-1:])


def test_the_layout_is_llama_cpps(tmp_path: Path):
    """Byte by byte: one window of 5, so two rows; three tokens in the vocabulary, padded to four."""
    windows = cut([0, 1, 2, 1, 0], 5)
    logits = np.array([[0, 16, 8], [1, 1, 1]], np.float32)
    with BaseWriter(tmp_path / "x", windows, 3) as writer:
        writer.write(pack(logits))
    raw = (tmp_path / "x").read_bytes()
    assert raw[:20] == b"_logits_" + struct.pack("<3i", 5, 3, 1)
    assert struct.unpack("<5i", raw[20:40]) == (0, 1, 2, 1, 0)
    scale, lowest, *values = struct.unpack("<2f4H", raw[40:56])
    assert scale == pytest.approx(16 / 65535) and values == [0, 65535, 32768, 0]
    assert lowest == pytest.approx(-16 - np.log1p(np.exp(-16) + np.exp(-8)))
    assert struct.unpack("<2f4H", raw[56:]) == (0.0, pytest.approx(-np.log(3)), 0, 0, 0, 0)


def test_nothing_appears_when_writing_fails(tmp_path: Path):
    path = tmp_path / "x.logits"
    path.write_bytes(b"what was there")
    with pytest.raises(KeyError), BaseWriter(path, some_windows(2, 5), 11):
        raise KeyError
    with pytest.raises(AssertionError), BaseWriter(path, some_windows(2, 5), 11):
        pass
    assert path.read_bytes() == b"what was there" and list(tmp_path.iterdir()) == [path]


def test_what_is_no_base_file(tmp_path: Path):
    (tmp_path / "short").write_bytes(b"_log")
    assert not any(is_base_file(tmp_path / name) for name in ("short", "absent", "."))
