"""SentencePiece tokenizers, their protocol buffers written by hand."""

import json
from pathlib import Path
from struct import pack

import pytest
from gguf import GGUFReader

from sixgig.checkpoint import convert
from sixgig.checkpoint.sentencepiece import read_pieces
from sixgig.errors import ModelFileError
from tests.null.test_checkpoint import N_TOKENS, write_folder

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
BPE = b"\x18\x02"  # TrainerSpec.model_type


def counted(number: int, raw: bytes) -> bytes:
    size, prefix = len(raw), b""
    while size > 127:
        prefix, size = prefix + bytes([size & 127 | 128]), size >> 7
    return bytes([number << 3 | 2]) + prefix + bytes([size]) + raw


def piece(text: bytes, score: float = 0.0, kind: int | None = None) -> bytes:
    fields = counted(1, text) + b"\x15" + pack("<f", score)
    return counted(1, fields + (b"" if kind is None else bytes([0x18, kind])))


MODEL = b"".join(
    [
        piece(b"<unk>", kind=UNKNOWN),
        piece(b"<s>", kind=CONTROL),
        piece(b"<0x41>", kind=BYTE),
        piece("\u2581the".encode(), -1.5),
        piece(b"<mine>", kind=USER_DEFINED),
        counted(2, counted(1, b"corpus" * 40) + BPE),
        b"\x99\x01" + bytes(8),  # a field of eight bytes that nobody asks for
    ]
)


def write_model(folder: Path, raw: bytes = MODEL) -> Path:
    write_folder(folder)
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.model").write_bytes(raw)
    return folder


def test_pieces_are_taken_over(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    (folder / "added_tokens.json").write_text(json.dumps({"<old>": 5, "<new>": 6}))
    decoder = {"6": {"content": "<new>", "special": True}, "7": {"content": "a\u2581b"}}
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"add_prefix_space": False, "added_tokens_decoder": decoder})
    )
    convert(folder, tmp_path / "m.gguf")
    fields = {name: field.contents() for name, field in GGUFReader(tmp_path / "m.gguf").fields.items()}
    assert fields["tokenizer.ggml.model"] == "llama" and fields["tokenizer.ggml.pre"] == "default"
    assert fields["tokenizer.ggml.add_space_prefix"] is False
    tokens, scores, kinds = (fields[f"tokenizer.ggml.{key}"] for key in ("tokens", "scores", "token_type"))
    assert tokens[:9] == [
        "<unk>", "<s>", "<0x41>", "\u2581the", "<mine>", "<old>", "<new>", "a b", "[PAD8]",
    ]  # fmt: skip
    assert kinds[:9] == [UNKNOWN, CONTROL, BYTE, NORMAL, NORMAL, USER_DEFINED, CONTROL, USER_DEFINED, UNUSED]
    assert scores[3] == -1.5 and scores[5:9] == [-1000.0, -1000.0, -1000.0, -10000.0]
    assert len(tokens) == N_TOKENS


def test_byte_level_bpe_comes_first_and_pieces_serve_other_kinds(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m")
    (folder / "tokenizer.model").write_bytes(MODEL)
    for kind, model in (("BPE", "gpt2"), ("Unigram", "llama")):
        content = json.loads((folder / "tokenizer.json").read_text())
        content["model"]["type"] = kind
        (folder / "tokenizer.json").write_text(json.dumps(content))
        convert(folder, tmp_path / "m.gguf")
        assert GGUFReader(tmp_path / "m.gguf").fields["tokenizer.ggml.model"].contents() == model


def test_every_way_of_cutting_a_model_short(tmp_path: Path) -> None:
    """At a field's end the rest still is a model, of no known algorithm."""
    for size in range(MODEL.index(counted(2, counted(1, b"corpus" * 40) + BPE)) + 3):
        (tmp_path / "x").write_bytes(MODEL[:size])
        with pytest.raises(ModelFileError):
            read_pieces(tmp_path / "x")


@pytest.mark.parametrize(
    "raw",
    [
        piece(b"a"),
        piece(b"a") + counted(2, b"\x18\x01"),
        piece(b"\xff") + counted(2, BPE),
        counted(1, counted(1, b"a") + b"\x10\x07") + counted(2, BPE),
        counted(1, b"\x08\x07") + counted(2, BPE),
        counted(1, counted(1, b"a") + counted(2, b"abc")) + counted(2, BPE),
        b"\xff" * 20,
        b"\x0b",
        b"\x0a\xff\xff\xff\xff\x0f",
    ],
)
def test_models_that_cannot_be(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "x").write_bytes(raw)
    with pytest.raises(ModelFileError):
        read_pieces(tmp_path / "x")


def test_more_pieces_than_the_embedding_has_rows(tmp_path: Path) -> None:
    raw = piece(b"a") * (N_TOKENS + 1) + counted(2, BPE)
    with pytest.raises(ModelFileError, match=r"265 pieces, 264 tokens"):
        convert(write_model(tmp_path / "m", raw), tmp_path / "m.gguf")
