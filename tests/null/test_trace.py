"""The trace file: what is written is read, and a hostile file is refused with a message."""

import os
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sixgig.errors import ModelFileError, SixgigError, UsageError
from sixgig.pager.trace import MAGIC, Shape, TraceFile, TraceWriter, Visit, write_trace

SHAPE = Shape(8, (100, 0, 250))
VISITS = (Visit(0, 0, 1, (3, 1)), Visit(1, 2, 1, (7,)), Visit(1, 2, 4, (0, 5, 2)), Visit(9, 0, 1, (3,)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_trace(tmp_path / "a.trace", SHAPE, VISITS)
    return tmp_path / "a.trace"


def test_what_is_written_is_read_again_and_again(path: Path) -> None:
    trace = TraceFile(path)
    assert trace.shape == SHAPE
    assert tuple(trace) == VISITS == trace.load().visits == tuple(trace)


def test_layout_is_the_documented_one(path: Path) -> None:
    head = MAGIC + struct.pack("<HHI3Q", 3, 8, 0, 100, 0, 250)
    assert path.read_bytes()[: len(head) + 14] == head + struct.pack("<IHHH2H", 0, 0, 1, 2, 3, 1)


def test_shape_adds_up() -> None:
    assert (SHAPE.n_layers, SHAPE.n_routed_layers, SHAPE.routed_bytes) == (3, 2, 8 * 350)
    assert SHAPE.size_of(2 * 8 + 7) == 250


def test_every_cut_is_refused_or_shorter(path: Path) -> None:
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        try:
            assert tuple(TraceFile(path)) in [VISITS[:n] for n in range(len(VISITS))]
        except ModelFileError as error:
            assert "ends early" in str(error) or "begin with" in str(error)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(tmp_path_factory: pytest.TempPathFactory, tail: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "hostile.trace"
    for data in (tail, MAGIC + tail, MAGIC + struct.pack("<HHIQ", 1, 4, 0, 10) + tail):
        path.write_bytes(data)
        try:
            TraceFile(path).load()
        except SixgigError as error:
            assert str(path) in str(error)


@pytest.mark.parametrize(
    ("visit", "why"),
    [
        (Visit(0, 1, 1, (0,)), "layer 1 has no experts"),
        (Visit(0, 3, 1, (0,)), "layer 3"),
        (Visit(0, 0, 1, (8,)), "expert 8 of 8"),
        (Visit(0, 0, 1, (2, 2)), "twice"),
        (Visit(0, 0, 1, ()), "no expert"),
    ],
)
def test_the_writer_refuses_what_the_reader_would(tmp_path: Path, visit: Visit, why: str) -> None:
    with TraceWriter(tmp_path / "b", SHAPE) as writer, pytest.raises(UsageError, match=why):
        writer.write(visit)


def test_visits_never_go_backwards(tmp_path: Path) -> None:
    with TraceWriter(tmp_path / "b", SHAPE) as writer:
        writer.write(Visit(5, 0, 1, (0,)))
        with pytest.raises(UsageError, match="follows visit 5"):
            writer.write(Visit(4, 0, 1, (0,)))


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name in ("", "fifo", "absent"):
        with pytest.raises(UsageError, match="no trace file"):
            TraceFile(tmp_path / name)
    with pytest.raises(UsageError, match="cannot write"):
        TraceWriter(tmp_path, SHAPE)
