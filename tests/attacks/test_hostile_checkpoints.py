"""Checkpoint folders that lie, are cut short, or want more than they may: a clear error, nothing written."""

import contextlib
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from struct import pack
from typing import Any

import numpy as np
import pytest

from sixgig.checkpoint import convert
from sixgig.checkpoint.safetensors import MAX_HEADER_BYTES, read_stored
from sixgig.errors import ModelFileError, SixgigError
from tests.null.test_checkpoint import (
    CONFIG,
    MIXTRAL,
    Tensors,
    header_of,
    llama_tensors,
    tokenizer,
    write_folder,
    write_safetensors,
)

SMALL: Tensors = {
    "a": ("F32", np.arange(6, dtype=np.float32).reshape(2, 3)),
    "b": ("BF16", np.arange(4, dtype=np.uint16)),
}


def write_raw(path: Path, header: Any, data_bytes: int = 32, size: int | None = None) -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(pack("<Q", len(raw) if size is None else size) + raw + bytes(data_bytes))
    return path


def changed(name: str, **values: Any) -> dict[str, Any]:
    header = header_of(SMALL)
    header[name] |= values
    return header


def test_the_honest_file_is_read(tmp_path: Path) -> None:
    stored = read_stored(write_raw(tmp_path / "x", header_of(SMALL)))
    assert [(tensor.name, tensor.shape) for tensor in stored] == [("a", (2, 3)), ("b", (4,))]


def test_every_way_of_cutting_it_short(tmp_path: Path) -> None:
    whole = write_raw(tmp_path / "x", header_of(SMALL)).read_bytes()
    for size in range(len(whole)):
        (tmp_path / "y").write_bytes(whole[:size])
        with pytest.raises(ModelFileError):
            read_stored(tmp_path / "y")


@pytest.mark.parametrize("size", [0, 1, 10**6, MAX_HEADER_BYTES + 1, 2**63, 2**64 - 1])
def test_a_header_size_that_lies(tmp_path: Path, size: int) -> None:
    with pytest.raises(ModelFileError):
        read_stored(write_raw(tmp_path / "x", header_of(SMALL), size=size))


@pytest.mark.parametrize(
    ("header", "complaint"),
    [
        (changed("b", data_offsets=[20, 28]), "overlaps"),
        (changed("b", data_offsets=[0, 8]), "overlaps"),
        (changed("b", data_offsets=[32, 40]), "hole"),
        (changed("b", data_offsets=[28, 36]), "hole"),
        (changed("b", data_offsets=[32, 24]), "another size"),
        (changed("b", data_offsets=[2**62, 2**62 + 8]), "hole"),
        (changed("b", data_offsets=[24]), "damaged"),
        (changed("b", data_offsets=[-8, 0]), "damaged"),
        (changed("b", data_offsets=[24.0, 32.0]), "damaged"),
        (changed("b", data_offsets=None), "damaged"),
        (changed("b", shape=[5]), "another size"),
        (changed("b", shape=[2**62, 2**62]), "another size"),
        (changed("b", shape=[2**64]), "damaged"),
        (changed("b", shape=[-4]), "damaged"),
        (changed("b", shape=[True, 4]), "damaged"),
        (changed("b", shape="4"), "damaged"),
        (changed("b", shape=[1] * 9 + [4]), "dimensions"),
        (changed("b", dtype="F4"), "type"),
        (changed("b", dtype=["BF16"]), "type"),
        (header_of(SMALL) | {"b": 7}, "type"),
        ({"a": header_of(SMALL)["a"]}, "do not fill"),
        ([], "no object"),
        (b"{", "JSON"),
        (b"\xff\xfe{}", "JSON"),
        (b'{"a": 1, "a": 2}', "twice"),
        (b'{"a": ' + b"[" * 200_000, "JSON"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "JSON"),
    ],
)
def test_a_header_that_lies(tmp_path: Path, header: Any, complaint: str) -> None:
    with pytest.raises(ModelFileError, match=complaint):
        read_stored(write_raw(tmp_path / "x", header))


def refused(folder: Path, complaint: str | None = None) -> None:
    """An error of ours, and nothing beside or under the name."""
    before = sorted(folder.parent.iterdir())
    with pytest.raises(SixgigError, match=complaint):
        convert(folder, folder.parent / "out.gguf")
    assert sorted(folder.parent.iterdir()) == before


@pytest.mark.parametrize(
    ("weight_map", "complaint"),
    [
        ({"a": "missing.safetensors"}, "weight files are missing"),
        ({"a": "../m/model.safetensors"}, "no file of this folder"),
        ({"a": "/etc/passwd"}, "no file of this folder"),
        ({"a": 7}, "no file of this folder"),
        ({"a": "model.safetensors"}, "disagree"),
        ({}, "no weight_map"),
        ([], "no weight_map"),
    ],
)
def test_an_index_that_lies(tmp_path: Path, weight_map: Any, complaint: str) -> None:
    folder = write_folder(tmp_path / "m")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    refused(folder, complaint)


def test_shards_of_two_sets_and_a_name_in_two_files(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m")
    write_safetensors(folder / "model-00001-of-00003.safetensors", SMALL)
    refused(folder, "weight files are missing")
    (folder / "model-00001-of-00003.safetensors").unlink()
    write_safetensors(folder / "model2.safetensors", {"lm_head.weight": SMALL["a"]})
    refused(folder, "in two files")


def test_a_folder_where_a_file_should_be(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m")
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").mkdir()
    refused(folder, "no weights")


Change = Callable[[Tensors], object]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda t: t.pop("model.embed_tokens.weight"), "no token embedding"),
        (
            lambda t: t.update({"model.layers.0.self_attn.strange.weight": t["lm_head.weight"]}),
            "does not know",
        ),
        (lambda t: [t.pop(name) for name in list(t) if ".layers.1." in name], "layers are missing"),
        (lambda t: t.update({"lm_head.weight": ("I8", np.zeros((4, 4), np.int8))}), "quantised"),
        (lambda t: t.update({"lm_head.weight": ("BF16", np.zeros((0, 4), np.uint16))}), "unusable shape"),
        (lambda t: t.update({"lm_head.weight": ("BF16", np.zeros((), np.uint16))}), "unusable shape"),
        (lambda t: t.update({"model.layers.0.self_attn.k_proj.weight": SMALL["a"]}), "different shapes"),
        (lambda t: t.update({"language_model.lm_head.weight": t["lm_head.weight"]}), "given twice"),
        (
            lambda t: t.update({"model.embed_tokens.weight": ("BF16", np.zeros((8, 32), np.uint16))}),
            "another shape",
        ),
    ],
)
def test_tensors_that_do_not_make_a_model(tmp_path: Path, change: Change, complaint: str) -> None:
    tensors = llama_tensors()
    change(tensors)
    refused(write_folder(tmp_path / "m", tensors=tensors), complaint)


def test_too_large_a_vocabulary(tmp_path: Path) -> None:
    embedding = "BF16", np.zeros((2**22 + 1, 1), np.uint16)
    tensors = llama_tensors() | {"model.embed_tokens.weight": embedding, "lm_head.weight": embedding}
    config = CONFIG | {"vocab_size": 2**22 + 1, "hidden_size": 1, "head_dim": 8}
    refused(write_folder(tmp_path / "m", config, tensors), "vocabulary is too large")


def test_fewer_rows_than_the_tokenizer_has_tokens(tmp_path: Path) -> None:
    few = "BF16", np.zeros((8, 32), np.uint16)
    tensors = llama_tensors() | {"model.embed_tokens.weight": few, "lm_head.weight": few}
    refused(write_folder(tmp_path / "m", CONFIG | {"vocab_size": 8}, tensors), "no usable number")


@pytest.mark.parametrize("n_experts", [0, 11, 13, 2**31 - 1])
def test_another_number_of_experts_than_announced(tmp_path: Path, n_experts: int) -> None:
    from tests.null.test_checkpoint import _mixture

    folder = write_folder(
        tmp_path / "m", MIXTRAL | {"num_local_experts": n_experts}, llama_tensors(feed_forward=_mixture)
    )
    refused(folder, "experts are missing")


@pytest.mark.parametrize(
    "values",
    [
        {"num_attention_heads": 0},
        {"num_attention_heads": 3},
        {"num_attention_heads": True},
        {"num_key_value_heads": 0},
        {"num_hidden_layers": -1},
        {"num_hidden_layers": 2**40},
        {"num_hidden_layers": "2"},
        {"num_hidden_layers": 2**31 - 1},
        {"hidden_size": None},
        {"hidden_size": [32, 16]},
        {"rms_norm_eps": 1e300},
        {"rms_norm_eps": float("nan")},
        {"rms_norm_eps": float("inf")},
        {"rope_theta": "10000"},
        {"rope_scaling": []},
        {"rope_scaling": {"rope_type": 7}},
        {"rope_scaling": {"rope_type": "yarn"}},
        {"rope_scaling": {"rope_type": "llama3", "low_freq_factor": {}}},
        {"architectures": []},
        {"architectures": "LlamaForCausalLM"},
        {"architectures": [["LlamaForCausalLM"]]},
        {"max_position_embeddings": 1.5},
    ],
)
def test_a_configuration_that_cannot_be(tmp_path: Path, values: dict[str, Any]) -> None:
    refused(write_folder(tmp_path / "m", CONFIG | values))


def _with(path: str, value: Any) -> dict[str, Any]:
    content = tokenizer()
    *outer, last = path.split(".")
    inner = content
    for key in outer:
        inner = inner[key]
    inner[last] = value
    return content


@pytest.mark.parametrize(
    "content",
    [
        _with("model", None),
        _with("model.vocab", {}),
        _with("model.vocab", [["a", -1.0]]),
        _with("model.type", "Unigram"),
        _with("model.byte_fallback", True),
        _with("model.vocab", {"a": -1}),
        _with("model.vocab", {"a": 2**40}),
        _with("model.vocab", {"a": "0"}),
        _with("model.vocab", {"\ud800": 1}),
        _with("model.merges", [["a", 1]]),
        _with("model.merges", ["a b", 7]),
        _with("model.merges", [1]),
        _with("pre_tokenizer", None),
        _with("pre_tokenizer", {"type": "Sequence", "pretokenizers": [7]}),
        _with("pre_tokenizer", {"type": "Sequence", "pretokenizers": 7}),
        _with("pre_tokenizer", {"type": "Split", "pattern": 7}),
        _with("added_tokens", [{"id": 9}]),
        _with("added_tokens", [7]),
        _with("post_processor", [7]),
    ],
)
def test_a_tokenizer_that_cannot_be(tmp_path: Path, content: dict[str, Any]) -> None:
    folder = write_folder(tmp_path / "m")
    (folder / "tokenizer.json").write_text(json.dumps(content))
    refused(folder)


ODD: list[Any] = [None, True, -1, 7, 2**40, 1e300, float("nan"), "", "x", [], [None], {}, {"type": "NFC"}]


def test_values_of_another_kind_give_a_model_or_an_error_of_ours(tmp_path: Path) -> None:
    """One value of one of the files, wherever it stands, becomes another."""
    from tests.null.test_checkpoint_tokenizers import folder_of, pieces, settings_of

    dice = random.Random(7)
    folder = folder_of(tmp_path / "m", pieces())
    yarn = {"rope_type": "yarn", "factor": 2.0, "beta_fast": 16.0, "full_attention": None}
    config = json.loads((folder / "config.json").read_text())
    config |= {"rope_scaling": yarn, "layer_types": ["full_attention"] * 2, "tie_word_embeddings": True}
    settings = {"eos_token": {"content": "</s>"}, "add_bos_token": True, "chat_template": [{"name": "a"}]}
    settings_of(
        folder,
        config=config | {"sliding_window": 4, "use_sliding_window": True},
        tokenizer_config=settings,
        generation_config={"eos_token_id": [2], "temperature": 0.5, "top_k": 3},
        special_tokens_map={"eos_token": "</s>"},
    )
    honest = {path: path.read_text() for path in folder.glob("*.json")}
    for _ in range(200):
        path = dice.choice(list(honest))
        content = json.loads(honest[path])
        place, key = dice.choice(list(_places(content)))
        place[key] = dice.choice(ODD)
        path.write_text(json.dumps(content))
        with contextlib.suppress(SixgigError):
            convert(folder, tmp_path / "out.gguf")
        path.write_text(honest[path])


def _places(content: Any) -> Iterator[tuple[Any, Any]]:
    """Of each list and object the first few places."""
    for key in list(content if isinstance(content, dict) else range(len(content)))[:12]:
        yield content, key
        if isinstance(content[key], dict | list):
            yield from _places(content[key])


def test_bytes_changed_at_random_give_a_model_or_an_error_of_ours(tmp_path: Path) -> None:
    dice = random.Random(5)
    folder = write_folder(tmp_path / "m")
    honest = {
        name: (folder / name).read_bytes() for name in ("model.safetensors", "config.json", "tokenizer.json")
    }
    for _ in range(150):
        name = dice.choice(list(honest))
        raw = bytearray(honest[name])
        for _ in range(dice.randint(1, 4)):
            raw[dice.randrange(min(len(raw), 4000))] = dice.randrange(256)
        (folder / name).write_bytes(raw)
        with contextlib.suppress(SixgigError):
            convert(folder, tmp_path / "out.gguf")
        (folder / name).write_bytes(honest[name])
    assert {path.name for path in tmp_path.iterdir()} <= {"m", "out.gguf"}
