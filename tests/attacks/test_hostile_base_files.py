"""Stored log-probabilities that are cut short, lie about their size, or hold what cannot be."""

import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sixgig.errors import ModelFileError
from sixgig.evaluate import BaseFile, BaseWriter, cut
from sixgig.evaluate.log_probabilities import pack

N_VOCAB, CONTEXT = 12, 8
Damage = Callable[[bytes], bytes]


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    path = tmp_path / "base.logits"
    windows = cut((np.arange(3 * CONTEXT) % N_VOCAB).tolist(), CONTEXT)
    with BaseWriter(path, windows, N_VOCAB) as writer:
        writer.write(pack(np.random.default_rng(0).standard_normal((9, N_VOCAB)).astype(np.float32)))
    return path


def header(context: int = CONTEXT, n_vocab: int = N_VOCAB, n_windows: int = 3) -> Damage:
    return lambda raw: b"_logits_" + struct.pack("<3i", context, n_vocab, n_windows) + raw[20:]


def put(offset: int, value: bytes) -> Damage:
    return lambda raw: raw[:offset] + value + raw[offset + len(value) :]


ROWS_AT = 20 + 4 * 3 * CONTEXT
BIG = 2**31 - 1


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda raw: b"", "holds no stored log-probabilities"),
        (lambda raw: raw[:19], "holds no stored log-probabilities"),
        (put(0, b"_logitz_"), "holds no stored log-probabilities"),
        (put(0, b"GGUF"), "holds no stored log-probabilities"),
        (lambda raw: raw[:20], "not of the size"),
        (lambda raw: raw[:-1], "not of the size"),
        (lambda raw: raw + b"\0", "not of the size"),
        (header(n_windows=4), "not of the size"),
        (header(n_windows=BIG), "not of the size"),
        (header(context=1 << 24, n_windows=BIG), "not of the size"),
        (header(context=0), "impossible header"),
        (header(context=-8), "impossible header"),
        (header(context=3), "impossible header"),
        (header(context=BIG), "impossible header"),
        (header(n_vocab=0), "impossible header"),
        (header(n_vocab=-12), "impossible header"),
        (header(n_vocab=BIG), "impossible header"),
        (header(n_windows=0), "impossible header"),
        (header(n_windows=-1), "impossible header"),
        (put(20, struct.pack("<i", -1)), "tokens outside its vocabulary"),
        (put(40, struct.pack("<i", N_VOCAB)), "tokens outside its vocabulary"),
    ],
)
def test_a_damaged_header_is_refused_without_much_memory(whole: Path, damage: Damage, words: str) -> None:
    whole.write_bytes(damage(whole.read_bytes()))
    tracemalloc.start()
    with pytest.raises(ModelFileError, match=words):
        BaseFile(whole)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("scale", "lowest"),
    [(np.nan, -16), (1e-4, np.nan), (np.inf, -16), (-1e-4, -16), (1e-4, -np.inf), (1.0, -16), (1e-4, 5.0)],
)
def test_rows_that_cannot_be_are_refused(whole: Path, scale: float, lowest: float) -> None:
    whole.write_bytes(put(ROWS_AT, struct.pack("<2f", scale, lowest))(whole.read_bytes()))
    with BaseFile(whole) as base:
        with pytest.raises(ModelFileError, match="log-probabilities that cannot be"):
            base.rows(0, 0, 3)
        base.rows(1, 0, 3)


def test_a_file_that_shrinks_while_it_is_read(whole: Path) -> None:
    with BaseFile(whole) as base:
        whole.write_bytes(whole.read_bytes()[:-4])
        with pytest.raises(ModelFileError, match=r"changed while it was read.*window 3 of 3"):
            base.rows(2, 0, 3)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(ModelFileError, match="cannot read"):
            BaseFile(path)
