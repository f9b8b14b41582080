"""The reader gives the file's own bytes, in order, within its room, and says what went wrong."""

import threading
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch

from sixgig.errors import ReadError
from sixgig.finetune.reader import Reader
from sixgig.finetune.stored import Dequantiser, StreamedWeights
from sixgig.modelfile import open_model
from sixgig.planning import anatomy
from sixgig.planning.pieces import PAGE_BYTES, Piece, pieces_of


def _pieces(path: Path, group_bytes: int = 1 << 16) -> list[Piece]:
    return list(pieces_of(anatomy(open_model(path)), group_bytes).step())


def _room(pieces: list[Piece]) -> int:
    return 2 * max(piece.held_bytes for piece in pieces)


def test_pieces_are_the_files_bytes_in_the_order_announced(tiny) -> None:
    path = tiny("qwen35moe", "Q4_K", n_layers=4)
    raw, pieces = np.fromfile(path, np.uint8), _pieces(path)
    with Reader(open_model(path), _room(pieces)) as reader:
        reader.announce(pieces)
        for piece in pieces:
            for part, found in zip(piece.slices, reader.take(piece), strict=True):
                assert np.array_equal(found, raw[part.offset : part.offset + part.size_bytes])
            reader.release(piece)
        assert reader.counters.bytes_read == sum(piece.size_bytes for piece in pieces)


def test_what_stays_is_read_once(tiny) -> None:
    path = tiny("qwen3moe", "Q4_K", n_layers=2)
    pieces = _pieces(path)
    with Reader(open_model(path), 0, stays=pieces) as reader:
        for _ in range(3):
            reader.announce(pieces)
            for piece in pieces:
                reader.take(piece)
                reader.release(piece)
        assert reader.counters.bytes_read == sum(piece.size_bytes for piece in set(pieces))


def test_it_reads_ahead_as_far_as_the_room_goes(tiny) -> None:
    path = tiny("qwen3moe", "F32", n_layers=2)
    pieces = _pieces(path)
    room = sum(piece.held_bytes for piece in pieces[:3])
    with Reader(open_model(path), room) as reader:
        reader.announce(pieces)
        time.sleep(0.3)
        assert reader.counters.bytes_read == sum(piece.size_bytes for piece in pieces[:3])
        reader.take(pieces[0])
        reader.release(pieces[0])
        for piece in pieces[1:4]:
            reader.take(piece)
            reader.release(piece)


def test_a_file_that_became_shorter_is_named(tiny, tmp_path: Path) -> None:
    path = tmp_path / "short.gguf"
    path.write_bytes(Path(tiny("qwen3moe", "F32", n_layers=2)).read_bytes())
    model, pieces = open_model(path), _pieces(path)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    with Reader(model, _room(pieces)) as reader:
        reader.announce(pieces)
        with pytest.raises(ReadError, match=r"short\.gguf changed while"):
            for piece in pieces:
                reader.take(piece)
                reader.release(piece)


def test_closing_ends_the_thread_while_it_waits_for_room(tiny) -> None:
    path = tiny("qwen3moe", "F32", n_layers=2)
    pieces = _pieces(path)
    before = threading.active_count()
    with Reader(open_model(path), _room(pieces)) as reader:
        reader.announce(pieces)
        reader.take(pieces[0])
    assert threading.active_count() <= before


def test_a_split_models_pieces_come_from_their_own_files(tiny) -> None:
    path = tiny("qwen3moe", "F32", n_layers=2, max_tensors_per_file=8)
    model, pieces = open_model(path), _pieces(path)
    assert len(model.parts) > 2
    with Reader(model, _room(pieces)) as reader:
        reader.announce(pieces)
        for piece in pieces:
            for part, found in zip(piece.slices, reader.take(piece), strict=True):
                raw = np.fromfile(model.parts[part.part], np.uint8, part.size_bytes, offset=part.offset)
                assert np.array_equal(found, raw)
            reader.release(piece)


def test_what_is_released_is_gone_before_more_is_read(tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tiny("qwen3moe", "F32", n_layers=2, n_experts=8)
    model, pieces = open_model(path), pieces_of(anatomy(open_model(path)), 1 << 16)
    least = max(*(v.least_bytes for v in pieces.visits), *(p.held_bytes for p in pieces.head))
    live = [0]
    peaks = list[int]()

    def pages(size_bytes: int) -> np.ndarray:
        live[0] += size_bytes
        peaks.append(live[0])
        memory = np.empty(size_bytes + PAGE_BYTES, np.uint8)
        memory = memory[-memory.ctypes.data % PAGE_BYTES :][:size_bytes].view(Watched)
        weakref.finalize(memory, lambda: live.__setitem__(0, live[0] - size_bytes))
        return memory

    monkeypatch.setattr("sixgig.finetune.reader._pages", pages)
    device = torch.device("cpu")
    with Reader(model, least) as reader:
        dequantiser = Dequantiser(pieces.largest_matrix, device, torch.float32, 1)
        weights = StreamedWeights(model, pieces, reader, dequantiser, device)
        reader.announce(pieces.step())
        for visit in pieces.visits:
            with weights.visit(visit):
                for group in weights.expert_groups(0):
                    assert group.last > group.first
        assert all(len(rows) for _, rows in weights.head_rows())
    assert max(peaks) <= least


class Watched(np.ndarray):
    """Views of it keep it alive, and it can be watched going."""
