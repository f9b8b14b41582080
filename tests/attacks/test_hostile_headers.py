"""One lie per file; the reader must name it without reading much or allocating what the file claims."""

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from struct import pack
from time import perf_counter

import pytest

from sixgig.errors import ModelFileError
from sixgig.modelfile import open_model
from tests.attacks.raw import (
    ARRAY,
    F32,
    STRING,
    TYPE_F32,
    TYPE_Q4_0,
    U8,
    U64,
    Raw,
    array,
    declaration,
    pair,
    text,
)

Change = Callable[[Raw], None]


def pairs(**changes: bytes) -> Change:
    return lambda raw: raw.pairs.update(changes)


def setting(key: str, value: int | float | str) -> Change:
    return lambda raw: raw.pairs.update({key: pair(key, value)})


def experts(
    shape: tuple[int, ...], kind: int = TYPE_Q4_0, offset: int = 768, data_bytes: int = 1 << 16
) -> Change:
    def change(raw: Raw) -> None:
        raw.tensors["experts"] = declaration("blk.0.ffn_gate_exps.weight", shape, kind, offset)
        raw.data_bytes = data_bytes

    return change


def extra(name: str | bytes, shape: tuple[int, ...] = (32,), kind: int = TYPE_F32) -> Change:
    def change(raw: Raw) -> None:
        raw.tensors["extra"] = declaration(name, shape, kind, 768 + 1152)
        raw.data_bytes = 1 << 16

    return change


def attribute(**changes: object) -> Change:
    return lambda raw: [setattr(raw, name, value) for name, value in changes.items()] and None


def without(*keys: str) -> Change:
    def change(raw: Raw) -> None:
        for key in keys:
            del raw.pairs[key]

    return change


HOSTILE: dict[str, tuple[Change, str]] = {
    "wrong magic": (attribute(magic=b"GGML"), "not a GGUF file"),
    "version 0": (attribute(version=0), "version 0"),
    "version 1": (attribute(version=1), "version 1"),
    "version 4": (attribute(version=4), "version 4"),
    "big-endian version": (attribute(version=3 << 24), "little-endian"),
    "2**63 tensors": (attribute(n_tensors=2**63), "too many tensors"),
    "200,000 tensors in a small file": (attribute(n_tensors=200_000), "too short for its tensors"),
    "one tensor too many": (attribute(n_tensors=4), "length out of range"),
    "2**64 - 1 pairs": (attribute(n_pairs=2**64 - 1), "too many key-value pairs"),
    "60,000 pairs in a small file": (attribute(n_pairs=60_000), "too short for its key-value pairs"),
    "no tensors": (lambda raw: raw.tensors.clear(), "no tensors"),
    "empty key": (pairs(bad=pair("", 1)), "a key has a length"),
    "key of 2**63 bytes": (pairs(bad=pack("<Q", 2**63)), "a key has a length"),
    "key that is no text": (pairs(bad=pair(b"\xff\xfe", 1)), "not UTF-8"),
    "key twice": (pairs(bad=pair("llama.block_count", 1)), "appears twice"),
    "unknown value type": (pairs(bad=text("k") + pack("<I", 13)), "unknown type"),
    "unknown element type": (pairs(bad=array("k", 99, 1, b"")), "unknown type"),
    "array of arrays": (pairs(bad=array("k", ARRAY, 1, pack("<IQ", U8, 0))), "holds arrays"),
    "array of 2**60 numbers": (pairs(bad=array("k", U64, 2**60, b"")), "ends inside"),
    "array of 2**64 - 1 bytes": (pairs(bad=array("k", U8, 2**64 - 1, b"")), "ends inside"),
    "array of 2**40 strings": (pairs(bad=array("k", STRING, 2**40, b"")), "too many strings"),
    "array of 2**21 strings": (pairs(bad=array("k", STRING, 2**21, b"")), "too short for its strings"),
    "string in an array of 2**63 bytes": (pairs(bad=array("k", STRING, 1, pack("<Q", 2**63))), "ends inside"),
    "string of 2**64 - 1 bytes": (pairs(bad=text("k") + pack("<IQ", STRING, 2**64 - 1)), "ends inside"),
    "no architecture": (without("general.architecture"), "no architecture"),
    "architecture is a number": (setting("general.architecture", 3), "must be a string"),
    "an adapter": (setting("general.type", "adapter"), "no model"),
    "no layers key": (without("llama.block_count"), "block_count is not usable; missing"),
    "layers are text": (setting("llama.block_count", "one"), "must be an integer"),
    "layers are a fraction": (setting("llama.block_count", 1.0), "must be an integer"),
    "layers are an array": (
        lambda raw: raw.pairs.update({"llama.block_count": array("llama.block_count", F32, 1, bytes(4))}),
        "must be a single value",
    ),
    "zero layers": (setting("llama.block_count", 0), "1 to 512"),
    "2**32 - 1 layers": (setting("llama.block_count", 2**32 - 1), "1 to 512"),
    "more prediction layers than layers": (setting("llama.nextn_predict_layers", 2), "nextn_predict_layers"),
    "2**32 - 1 context": (setting("llama.context_length", 2**32 - 1), "context_length"),
    "zero width": (setting("llama.embedding_length", 0), "embedding_length"),
    "zero experts, expert tensors": (setting("llama.expert_count", 0), "announces none"),
    "no expert keys, expert tensors": (
        without("llama.expert_count", "llama.expert_used_count"),
        "announces none",
    ),
    "1,025 experts used": (setting("llama.expert_used_count", 1025), "0 to 1024"),
    "1,025 experts": (setting("llama.expert_count", 1025), "0 to 1024"),
    "experts used per layer, too few": (
        lambda raw: raw.pairs.update(
            {"llama.expert_used_count": array("llama.expert_used_count", U8, 3, bytes(3))}
        ),
        "expert_used_count",
    ),
    "experts used per layer, 2**16 of them": (
        lambda raw: raw.pairs.update(
            {"llama.expert_used_count": array("llama.expert_used_count", U8, 2**16, bytes(2**16))}
        ),
        "too long",
    ),
    "alignment 0": (setting("general.alignment", 0), "power of two"),
    "alignment 48": (setting("general.alignment", 48), "power of two"),
    "alignment 2**31": (setting("general.alignment", 2**31), "past the end"),
    "alignment is text": (setting("general.alignment", "32"), "must be a UINT32"),
    "tensor twice": (extra("token_embd.weight"), "appears twice"),
    "tensor without a name": (extra(""), "tensor name has a length"),
    "tensor name of 64 bytes": (extra("x" * 64), "tensor name has a length"),
    "tensor name that is no text": (extra(b"\xff"), "not UTF-8"),
    "tensor in a layer that is not there": (extra("blk.1.attn_norm.weight"), "in no layer"),
    "no dimensions": (extra("x", ()), "0 dimensions"),
    "five dimensions": (extra("x", (1, 1, 1, 1, 1)), "5 dimensions"),
    "a dimension of 0": (extra("x", (32, 0)), "out of range"),
    "a dimension of 2**63": (extra("x", (2**63,)), "out of range"),
    "dimensions that overflow": (extra("x", (2**62, 2**62, 2**62, 2**62)), "past the end"),
    "dimensions that wrap to 0": (extra("x", (2**32, 2**32)), "past the end"),
    "unknown type": (extra("x", kind=1000), "unknown or retired type"),
    "retired type": (extra("x", kind=4), "unknown or retired type"),
    "row is no whole number of blocks": (extra("x", (33,), TYPE_Q4_0), "no whole number"),
    "overlapping tensors": (experts((32, 32, 2), offset=512), "not where it must be"),
    "a gap between tensors": (experts((32, 32, 2), offset=800), "not where it must be"),
    "offset past the end": (experts((32, 32, 2), offset=2**62), "not where it must be"),
    "offset of 2**64 - 1": (experts((32, 32, 2), offset=2**64 - 1), "not where it must be"),
    "data cut short": (attribute(data_bytes=512 + 256 + 1151), "past the end"),
    "experts in two dimensions": (experts((32, 64)), "no stack of 2 experts"),
    "experts in four dimensions": (experts((32, 32, 2, 1)), "no stack of 2 experts"),
    "three stacked, two announced": (experts((32, 32, 3)), "no stack of 2 experts"),
}


def refused(path: Path) -> ModelFileError:
    """The error, having checked that it came soon and cost little memory."""
    tracemalloc.start()
    started = perf_counter()
    try:
        with pytest.raises(ModelFileError) as caught:
            open_model(path)
        seconds, (_, peak_bytes) = perf_counter() - started, tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert seconds < 2 and peak_bytes < 16 * 1024**2
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("lie", HOSTILE)
def test_names_the_lie(lie: str, tmp_path: Path) -> None:
    change, said = HOSTILE[lie]
    raw = Raw()
    change(raw)
    assert said in str(refused(raw.write(tmp_path / "hostile.gguf")))


def test_the_same_file_without_a_lie_opens(tmp_path: Path) -> None:
    model = open_model(Raw().write(tmp_path / "honest.gguf"))
    assert (model.n_experts, model.n_experts_used, model.n_vocab) == (2, 1, 4)
    assert model.chat_template == "x" * 5000
    assert model.metadata.array("tokenizer.ggml.tokens") == ["a", "b", "", "dd"]


def test_cut_at_every_boundary_and_beside_it(tmp_path: Path) -> None:
    whole, cut = Raw().header(), 0
    path = tmp_path / "cut.gguf"
    for piece in Raw().pieces():
        for size in (cut, cut + 1, cut + len(piece) - 1):
            path.write_bytes(whole[:size])
            with pytest.raises(ModelFileError):
                open_model(path)
        cut += len(piece)
    path.write_bytes(whole)
    assert "past the end" in str(refused(path))


@pytest.mark.parametrize("content", [b"", b"G", b"GGUF", b"GGUF\3\0\0\0", b"PK\3\4" + bytes(100)])
def test_too_small_or_something_else(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "small.gguf"
    path.write_bytes(content)
    refused(path)


def test_missing_file_directory_and_nul(tmp_path: Path) -> None:
    assert "does not exist" in str(refused(tmp_path / "missing.gguf"))
    assert "is a directory" in str(refused(tmp_path))
    assert "cannot be read" in str(refused(Path("nul\0byte.gguf")))
    assert "cannot be read" in str(refused(tmp_path / ("x" * 300 + ".gguf")))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs on this system")
def test_fifo_and_device_do_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")
    assert "not a regular file" in str(refused(tmp_path / "pipe.gguf"))
    assert "not a regular file" in str(refused(Path("/dev/zero")))


def test_dangling_and_circular_links(tmp_path: Path) -> None:
    (tmp_path / "dangling.gguf").symlink_to(tmp_path / "nowhere")
    (tmp_path / "circle.gguf").symlink_to(tmp_path / "circle.gguf")
    refused(tmp_path / "dangling.gguf")
    refused(tmp_path / "circle.gguf")


@pytest.mark.parametrize("kind", [STRING, U8])
def test_a_sparse_giant_is_not_walked(kind: int, tmp_path: Path) -> None:
    raw = Raw()
    raw.pairs["bad"] = array("k", kind, 2**22 if kind == STRING else 2**40, b"")
    path = raw.write(tmp_path / "sparse.gguf")
    os.truncate(path, 2**42)
    refused(path)
