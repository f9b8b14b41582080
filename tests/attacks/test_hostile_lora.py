"""Adapters that lie, or that llama.cpp would ignore, misread or die of, are refused before it sees them."""

from pathlib import Path
from struct import pack

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import quantize

from sixgig.errors import ModelFileError
from sixgig.modelfile import open_model
from sixgig.modelfile.arrays import write_arrays
from sixgig.modelfile.lora import Lora, read_lora, write_lora
from sixgig.modelfile.lora_fit import check_lora, open_lora
from tests.attacks.raw import Raw, array, declaration, pair

NAME = "blk.0.attn_q.weight"
EXPERTS = "blk.0.ffn_up_exps.weight"
HEAD = {"general.type": "adapter", "general.architecture": "qwen3moe", "adapter.type": "lora"}
ALPHA = {"adapter.lora.alpha": 8.0}


def ones(*shape):
    return np.ones(shape, np.float32)


GOOD = {NAME + ".lora_a": ones(2, 256), NAME + ".lora_b": ones(256, 2)}


def made(folder: Path, arrays=GOOD, **changes) -> Path:
    head = HEAD | ALPHA | {key.replace("_", "."): value for key, value in changes.items()}
    path = folder / "lora.gguf"
    write_arrays(path, {key: value for key, value in head.items() if value is not None}, arrays)
    return path


def pairs(name, a, b):
    return Lora("qwen3moe", 8.0, {name: (ones(*a), ones(*b))})


def test_the_good_one_is_read_and_fits(tiny, tmp_path):
    file = open_lora(made(tmp_path), open_model(tiny("qwen3moe")))
    assert (file.architecture, file.alpha, list(file.pairs)) == ("qwen3moe", 8.0, [NAME])
    assert read_lora(file.path).scale(NAME) == 4.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"general_type": "model"}, "is no adapter; general.type is 'model'"),
        ({"general_type": None}, "is no adapter"),
        ({"general_type": 7}, "general.type must be a string"),
        ({"adapter_type": "control_vector"}, "is no LoRA"),
        ({"adapter_type": None}, "is no LoRA"),
        ({"general_architecture": None}, "names no architecture"),
        ({"adapter_lora_alpha": float("nan")}, "finite FLOAT32"),
        ({"adapter_lora_alpha": float("inf")}, "finite FLOAT32"),
        ({"adapter_lora_alpha": 8}, "finite FLOAT32"),
        ({"adapter_lora_alpha": "8"}, "finite FLOAT32"),
        ({"adapter_lora_alpha": [8.0]}, "single value"),
    ],
)
def test_impossible_metadata_is_refused(tmp_path, changes, message):
    with pytest.raises(ModelFileError, match=message):
        read_lora(made(tmp_path, **changes))


def test_an_absent_alpha_is_zero(tmp_path):
    assert read_lora(made(tmp_path, adapter_lora_alpha=None)).alpha == 0.0


def test_an_adapter_that_waits_for_tokens_is_refused(tmp_path):
    path = tmp_path / "alora.gguf"
    write_arrays(path, HEAD | ALPHA | {"adapter.alora.invocation_tokens": [5, 6]}, GOOD)
    with pytest.raises(ModelFileError, match="aLoRA"):
        read_lora(path)


def spoiled(value):
    a = ones(2, 256)
    a[1, -1] = value
    return GOOD | {NAME + ".lora_a": a}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "adapts nothing"),
        ({NAME + ".lora_a": ones(2, 256)}, "has no lora_b"),
        ({NAME + ".lora_b": ones(256, 2)}, "has no lora_a"),
        (GOOD | {NAME: ones(256, 256)}, "is no factor"),
        (GOOD | {"blk.0.attn_norm.weight": ones(256)}, "is no factor"),
        (GOOD | {NAME + ".lora_a": ones(3, 256)}, "A of rank 3 and a B of rank 2"),
        (GOOD | {NAME + ".lora_a": ones(256)}, "1 dimensions"),
        (GOOD | {NAME + ".lora_a": ones(1, 1, 2, 256)}, "4 dimensions"),
        (GOOD | {NAME + ".lora_a": ones(4, 2, 256)}, "A of shape"),
        (GOOD | {NAME + ".lora_a": np.ones((2, 256), np.int32)}, "is I32"),
        (GOOD | {NAME + ".lora_a": np.ones((2, 256), np.float64)}, "is F64"),
        (spoiled(np.nan), "no finite numbers"),
        (spoiled(-np.inf), "no finite numbers"),
    ],
)
def test_impossible_factors_are_refused(tmp_path, arrays, message):
    with pytest.raises(ModelFileError, match=message):
        read_lora(made(tmp_path, arrays))


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q8_0"])
def test_types_of_the_converter_are_read_and_their_nan_found(tmp_path, kind):
    random, quant = np.random.default_rng(0), GGMLQuantizationType[kind]
    factors = {
        NAME + ".lora_a": random.standard_normal((32, 256), np.float32),
        NAME + ".lora_b": random.standard_normal((256, 32), np.float32),
    }
    path = tmp_path / "typed.gguf"
    for spoil in (False, True):
        writer = GGUFWriter(path, "qwen3moe")
        writer.add_type("adapter")
        writer.add_string("adapter.type", "lora")
        for name, values in factors.items():
            raw = values.astype(np.float16) if kind == "F16" else quantize(values, quant)
            if spoil:
                raw[0].view(np.uint8)[:2] = 0xFF
            writer.add_tensor(name, raw, raw_dtype=quant)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        if spoil:
            with pytest.raises(ModelFileError, match="no finite numbers"):
                read_lora(path)
        else:
            a, b = read_lora(path).pairs[NAME]
            assert np.abs(a - factors[NAME + ".lora_a"]).max() < 0.03
            assert np.abs(b - factors[NAME + ".lora_b"]).max() < 0.03


@pytest.mark.parametrize(
    ("architecture", "lora", "message"),
    [
        ("qwen3moe", Lora("qwen3", 1.0, {}), "another architecture; made for 'qwen3'"),
        ("qwen3moe", pairs("blk.9.attn_q.weight", (2, 256), (256, 2)), "no blk.9.attn_q.weight"),
        ("qwen3moe", pairs("blk.0.attn_q", (2, 256), (256, 2)), "no blk.0.attn_q"),
        ("qwen3moe", pairs("blk.0.attn_norm.weight", (2, 256), (1, 2)), "does not adapt"),
        ("qwen3moe", pairs("token_embd.weight", (2, 256), (512, 2)), "does not adapt"),
        ("qwen3moe", pairs(NAME, (2, 255), (256, 2)), "other shapes"),
        ("qwen3moe", pairs(NAME, (2, 256), (255, 2)), "other shapes"),
        ("qwen3moe", pairs(NAME, (2, 256), (256, 3)), "other shapes"),
        ("qwen3moe", pairs(NAME, (8, 2, 256), (8, 256, 2)), "other shapes"),
        ("qwen3moe", pairs(EXPERTS, (2, 256), (256, 2)), "other shapes"),
        ("qwen3moe", pairs(EXPERTS, (7, 2, 256), (7, 256, 2)), "other shapes"),
        ("qwen3moe", pairs(EXPERTS, (9, 2, 256), (9, 256, 2)), "other shapes"),
        ("qwen3moe", pairs(EXPERTS, (8, 2, 256), (7, 256, 2)), "other shapes"),
        ("qwen35moe", pairs("blk.0.ssm_conv1d.weight", (2, 4), (512, 2)), "does not adapt"),
        ("qwen35moe", pairs("blk.0.ssm_a", (2, 8), (1, 2)), "is no matrix"),
        ("qwen35moe", pairs("blk.0.ffn_gate_inp_shexp.weight", (2, 256), (1, 2)), "is no matrix"),
        ("deepseek2", pairs("blk.0.attn_q_a.weight", (2, 256), (128, 2)), "does not adapt"),
    ],
)
def test_what_does_not_fit_the_model_is_refused(tiny, architecture, lora, message):
    changed = lora if lora.architecture == "qwen3" else Lora(architecture, lora.alpha, lora.pairs)
    with pytest.raises(ModelFileError, match=message):
        check_lora(changed, open_model(tiny(architecture)))


def test_a_file_that_does_not_fit_is_refused_as_it_is_opened(tiny, tmp_path):
    write_lora(tmp_path / "other.gguf", pairs(EXPERTS, (7, 2, 256), (7, 256, 2)), "other")
    with pytest.raises(ModelFileError, match="other shapes"):
        open_lora(tmp_path / "other.gguf", open_model(tiny("qwen3moe")))


def test_a_header_of_lies_is_refused(tmp_path):
    a, b = (
        declaration(NAME + ".lora_a", (1 << 40, 1 << 20), 0, 0),
        declaration(NAME + ".lora_b", (2, 2), 0, 32),
    )
    said = {key: pair(key, value) for key, value in HEAD.items()}
    for raw in (Raw(pairs=said, tensors={"a": a, "b": b}), Raw(pairs=said | {"x": array("x", 9, 1, b"")})):
        with pytest.raises(ModelFileError):
            read_lora(raw.write(tmp_path / "lying.gguf"))


def test_every_truncation_is_refused(tmp_path):
    whole = made(tmp_path).read_bytes()
    path = tmp_path / "cut.gguf"
    for size in [*range(0, len(whole) - 32, 97), len(whole) - 33]:
        path.write_bytes(whole[:size])
        with pytest.raises(ModelFileError):
            read_lora(path)


def test_random_damage_never_crashes(tiny, tmp_path):
    model, whole = open_model(tiny("qwen3moe")), made(tmp_path).read_bytes()
    random, path = np.random.default_rng(7), tmp_path / "damaged.gguf"
    outcomes = set()
    for _ in range(400):
        raw = bytearray(whole)
        for place in random.integers(0, 600, 3):  # the header and the first values
            raw[place] = random.integers(0, 256)
        path.write_bytes(raw)
        try:
            file = open_lora(path, model)
        except ModelFileError:
            outcomes.add("refused")
            continue
        outcomes.add("accepted")
        assert file.pairs[NAME][0].shape == (256, 2)
    assert outcomes == {"refused", "accepted"}


@pytest.mark.parametrize("raw", [b"", b"GGUF", pack("<4i", 1, 4, 0, 9), b"\0" * 4096])
def test_what_is_no_gguf_is_refused(tmp_path, raw):
    path = tmp_path / "none.gguf"
    path.write_bytes(raw)
    for place in (path, tmp_path, tmp_path / "nowhere.gguf"):
        with pytest.raises(ModelFileError):
            read_lora(place)
