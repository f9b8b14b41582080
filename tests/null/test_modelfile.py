"""The reader against files that the format's reference writer made."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np
import pytest
from gguf import GGUFWriter

from sixgig.errors import ModelFileError, ReadError
from sixgig.families import Role
from sixgig.llamacpp import load_library
from sixgig.modelfile import TYPE_BY_ID, ModelFile, dequantise, fingerprint, open_model, read_tensor
from tests.tiny.models import DENSE, MIXTURES, build
from tests.tiny.vocabulary import CHAT_TEMPLATE, tokens

Tiny = Callable[..., Path]


@pytest.fixture(scope="module")
def model(tiny: Tiny) -> ModelFile:
    return open_model(tiny("qwen35moe", "Q4_K"))


def test_types_agree_with_the_engine() -> None:
    c = load_library().c
    theirs = {number: (c.ggml_blck_size(number), c.ggml_type_size(number)) for number in range(43)}
    ours = {kind.id: (kind.block_elements, kind.block_bytes) for kind in TYPE_BY_ID.values()}
    assert ours == {number: sizes for number, sizes in theirs.items() if sizes[0]}
    names = {kind.id: c.ggml_type_name(kind.id).decode().upper() for kind in TYPE_BY_ID.values()}
    assert names == {kind.id: kind.name for kind in TYPE_BY_ID.values()}


def test_numbers(model: ModelFile) -> None:
    assert (model.architecture, model.name) == ("qwen35moe", "tiny")
    assert (model.n_layers, model.n_embd, model.context_length) == (4, 256, 4096)
    assert (model.n_experts, model.n_experts_used, model.n_vocab) == (8, 2, len(tokens()))
    assert (model.bos_id, model.eos_id, model.chat_template) == (0, 2, CHAT_TEMPLATE)
    assert model.size_bytes == model.parts[0].stat().st_size
    assert model.metadata.array("tokenizer.ggml.tokens") == tokens()
    assert model.metadata.array("qwen35moe.rope.dimension_sections") == [6, 5, 5, 0]
    assert model.metadata.get("no such key") is None and model.metadata.array("no such key") == []


def test_asking_for_the_wrong_kind_is_refused(model: ModelFile) -> None:
    for ask, key in (
        (model.metadata.integer, "general.name"),
        (model.metadata.text, "qwen35moe.block_count"),
        (model.metadata.get, "tokenizer.ggml.tokens"),
        (model.metadata.array, "general.name"),
        (model.metadata.integers, "qwen35moe.attention.layer_norm_rms_epsilon"),
    ):
        with pytest.raises(ModelFileError, match=f"{key} must be"):
            ask(key)


def test_expert_bytes_add_up(model: ModelFile) -> None:
    per_expert = 3 * 256 * 256 * 144 // 256
    assert [model.expert_bytes(layer) for layer in range(4)] == [per_expert] * 4
    assert model.routed_bytes == 4 * 8 * per_expert
    assert len(model.routed_experts()) == 12
    assert model.dense_bytes + model.routed_bytes == sum(tensor.size_bytes for tensor in model.tensors)


@pytest.mark.parametrize("architecture", DENSE)
def test_dense_models_have_no_routed_bytes(architecture: str, tiny: Tiny) -> None:
    dense = open_model(tiny(architecture))
    assert (dense.n_experts, dense.n_experts_used, dense.routed_bytes, dense.expert_bytes(0)) == (0, 0, 0, 0)


@pytest.mark.parametrize("architecture", MIXTURES)
def test_last_layer_is_routed(architecture: str, tiny: Tiny) -> None:
    mixture = open_model(tiny(architecture, "F16", n_experts=16, n_used=4, expert_width=64))
    assert {tensor.shape[2] for tensor in mixture.routed_experts()} == {16}
    assert mixture.expert_bytes(3) > 0 and mixture.n_experts_used == 4


@pytest.mark.parametrize("type_name", ["F32", "F16", "Q8_0", "Q4_0", "Q4_K", "Q6_K", "MXFP4"])
def test_values_survive_every_type(type_name: str, tiny: Tiny) -> None:
    """The same seed in another type: what is read back is the float32 model within the type's error."""
    exact = open_model(tiny("qwen3moe", "F32", n_layers=1))
    coarse = open_model(tiny("qwen3moe", type_name, n_layers=1))
    for ours, theirs in zip(exact.tensors, coarse.tensors, strict=True):
        wanted, found = (
            dequantise(read_tensor(model, tensor), tensor)
            for model, tensor in ((exact, ours), (coarse, theirs))
        )
        assert found.shape == tuple(reversed(ours.shape)) and found.dtype == np.float32
        assert ((found - wanted) ** 2).sum() <= 0.02 * (wanted**2).sum()


def test_a_file_cut_while_open_is_a_read_error(tmp_path: Path) -> None:
    path = build("llama", tmp_path / "cut.gguf")
    opened = open_model(path)
    path.write_bytes(path.read_bytes()[:-1000])
    assert fingerprint(path) != opened.fingerprints[0]
    with pytest.raises(ReadError, match="ends inside"):
        read_tensor(opened, opened.tensors[-1])


def test_a_file_replaced_while_open_is_not_read_on(tmp_path: Path) -> None:
    path = build("llama", tmp_path / "replaced.gguf")
    opened = open_model(path)
    build("llama", path, seed=1, n_layers=3)
    with pytest.raises(ModelFileError, match="changed while it was open"):
        opened.metadata.array("tokenizer.ggml.tokens")


def opening_seconds(path: Path) -> float:
    started = perf_counter()
    open_model(path)
    return perf_counter() - started


def test_a_quarter_million_tokens_are_quick_and_small(tmp_path: Path) -> None:
    path, n_tokens = tmp_path / "big.gguf", 248_320
    writer = GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_token_list([f"token{number}" for number in range(n_tokens)])
    writer.add_token_types([1] * n_tokens)
    writer.add_token_merges([f"to ken{number}" for number in range(n_tokens)])
    writer.add_tensor("token_embd.weight", np.zeros((4, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    seconds = min(opening_seconds(path) for _ in range(3))
    tracemalloc.start()
    model = open_model(path)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < 0.5 and peak_bytes < 4 * 1024**2
    assert model.n_vocab == n_tokens and model.metadata.array("tokenizer.ggml.tokens")[-1] == "token248319"


def test_routers_choose_by_token(tiny: Tiny) -> None:
    """In every layer the embeddings alone send different tokens to different experts."""
    model = open_model(tiny("qwen3moe", "F16", n_experts=16, expert_width=64))
    by_name = {tensor.name: dequantise(read_tensor(model, tensor), tensor) for tensor in model.tensors}
    embeddings = by_name["token_embd.weight"]
    for layer in range(model.n_layers):
        logits = embeddings @ by_name[f"blk.{layer}.ffn_gate_inp.weight"].T
        chosen = {tuple(sorted(row)) for row in np.argsort(logits)[:, -2:]}
        assert len(chosen) > 60
        assert np.bincount(np.argsort(logits)[:, -1], minlength=16).max() < len(embeddings) // 4


def test_roles_cover_the_hybrid(model: ModelFile) -> None:
    roles = {tensor.role for tensor in model.tensors}
    assert roles == set(Role) - {Role.FEED_FORWARD, Role.INDEXER, Role.PROJECTION, Role.OTHER}
