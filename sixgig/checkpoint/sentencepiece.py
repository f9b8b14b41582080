"""Reads a SentencePiece model (tokenizer.model): its pieces with scores and kinds.

Format: protocol buffers; of ModelProto the pieces (field 1) and of its trainer's settings the algorithm.
Source: sentencepiece_model.proto. Nothing is believed before it is checked.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from struct import unpack

from sixgig.checkpoint.safetensors import damaged
from sixgig.errors import ModelFileError

MAX_MODEL_BYTES = 64 * 2**20
_BPE = 2
_LAST_KIND = 6
_VARINT, _EIGHT, _COUNTED, _FOUR = 0, 1, 2, 5


@dataclass(frozen=True)
class Piece:
    """One token; `kind` as SentencePiece and llama.cpp number it (1 normal, 2 unknown, 3 control, ...)."""

    text: str
    score: float
    kind: int


def read_pieces(path: Path) -> list[Piece]:
    """All pieces in order; ModelFileError for damage and for algorithms other than BPE."""
    try:
        raw = path.read_bytes() if path.stat().st_size <= MAX_MODEL_BYTES else b""
        fields = list(_fields(raw))
        pieces = [_piece(value) for number, value in fields if number == 1 and isinstance(value, bytes)]
        trainer = next((value for number, value in fields if number == 2 and isinstance(value, bytes)), b"")
        algorithm = dict(_fields(trainer)).get(3, 1)
        settings = next((value for number, value in fields if number == 3 and isinstance(value, bytes)), None)
        normaliser = None if settings is None else dict(_fields(settings))
    except (OSError, ValueError, IndexError) as error:
        raise damaged(path, "it is no SentencePiece model", str(error)[:80]) from error
    if not pieces or algorithm != _BPE:
        numbers = f"{len(pieces)} pieces, algorithm {algorithm!r}, not BPE ({_BPE})"
        raise ModelFileError(
            f"{path.name} is of a kind we cannot take over", numbers, "use a GGUF of the model"
        )
    if normaliser is not None:
        _check_normaliser(path, normaliser)
    return pieces


def _check_normaliser(path: Path, fields: dict[int, int | bytes]) -> None:
    """Of its settings llama.cpp has the space before the text only (field 3)."""
    names = {
        2: ("precompiled_charsmap", b"", b""),
        4: ("remove_extra_whitespaces", 1, 0),
        5: ("escape_whitespaces", 1, 1),
    }
    for number, (name, default, carried) in names.items():
        found = fields.get(number, default)
        if found != carried:
            said = f"{len(found)} bytes" if isinstance(found, bytes) else bool(found)
            numbers = f"normalizer_spec.{name} is {said}; text would reach the model otherwise"
            what = f"{path.name} asks for what llama.cpp does not do"
            raise ModelFileError(what, numbers, "use a GGUF of the model")


def _piece(raw: bytes) -> Piece:
    fields = dict(_fields(raw))
    text, score, kind = fields.get(1, b""), fields.get(2, bytes(4)), fields.get(3, 1)
    if not isinstance(text, bytes) or not isinstance(score, bytes) or not isinstance(kind, int):
        raise ValueError("a piece has fields of other types")
    if len(score) != 4 or not 1 <= kind <= _LAST_KIND:
        raise ValueError(f"a piece of kind {kind} has a score of {len(score)} bytes")
    value: float = unpack("<f", score)[0]
    return Piece(text.decode(), value, kind)


def _fields(raw: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field of a message; fixed sizes and strings as bytes."""
    position = 0
    while position < len(raw):
        tag, position = _varint(raw, position)
        kind = tag & 7
        if kind == _VARINT:
            value, position = _varint(raw, position)
            yield tag >> 3, value
            continue
        if kind == _COUNTED:
            size, position = _varint(raw, position)
        else:
            size = {_EIGHT: 8, _FOUR: 4}.get(kind, len(raw) + 1)
        if position + size > len(raw):
            raise ValueError(f"a field at byte {position} reaches past the end")
        yield tag >> 3, raw[position : position + size]
        position += size


def _varint(raw: bytes, position: int) -> tuple[int, int]:
    """A number of up to 64 bits, seven a byte, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        byte = raw[position + shift // 7]
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position + shift // 7 + 1
    raise ValueError(f"a number at byte {position} does not end")
