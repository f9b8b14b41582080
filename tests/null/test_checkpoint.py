"""A Hugging Face folder becomes a GGUF: what the bytes are, and that it loads."""

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from struct import pack
from typing import Any

import numpy as np
import pytest
from gguf import GGUFReader
from numpy.typing import NDArray

from sixgig.checkpoint import convert, is_checkpoint
from sixgig.errors import ModelFileError
from sixgig.modelfile import open_model, read_tensor
from sixgig.modelfile.offers import offers

N_TOKENS, WIDTH, HIDDEN, N_HEADS, N_KV_HEADS, HEAD = 264, 32, 48, 4, 2, 8
Tensors = dict[str, tuple[str, NDArray[Any]]]
CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": WIDTH,
    "intermediate_size": HIDDEN,
    "num_hidden_layers": 2,
    "num_attention_heads": N_HEADS,
    "num_key_value_heads": N_KV_HEADS,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
    "vocab_size": N_TOKENS,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
BYTE_CUTTING = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


def bf16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    return (np.ascontiguousarray(values, np.float32).view(np.uint32) >> 16).astype(np.uint16)


def widened(values: NDArray[np.uint16]) -> NDArray[np.float32]:
    return (values.astype(np.uint32) << 16).view(np.float32)


def header_of(tensors: Tensors) -> dict[str, Any]:
    header, offset = {}, 0
    for name, (kind, values) in tensors.items():
        offsets = [offset, offset + values.nbytes]
        header[name] = {"dtype": kind, "shape": list(values.shape), "data_offsets": offsets}
        offset = offsets[1]
    return header


def write_safetensors(path: Path, tensors: Tensors) -> None:
    raw = json.dumps(header_of(tensors)).encode()
    data = b"".join(values.tobytes() for _, values in tensors.values())
    path.write_bytes(pack("<Q", len(raw)) + raw + data)


class Random:
    """Seeded BF16 matrices and norms."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(3)

    def matrix(self, *shape: int) -> tuple[str, NDArray[np.uint16]]:
        return "BF16", bf16(self._random.normal(0, shape[-1] ** -0.5, shape).astype(np.float32))

    def norm(self, width: int) -> tuple[str, NDArray[np.uint16]]:
        return "BF16", bf16((1 + 0.1 * self._random.normal(size=width)).astype(np.float32))


def llama_tensors(n_layers: int = 2, feed_forward: Callable[[Random, str], Tensors] | None = None) -> Tensors:
    random, tensors = Random(), {}
    tensors["model.embed_tokens.weight"] = random.matrix(N_TOKENS, WIDTH)
    tensors["model.norm.weight"] = random.norm(WIDTH)
    tensors["lm_head.weight"] = random.matrix(N_TOKENS, WIDTH)
    rows = {"q": N_HEADS * HEAD, "k": N_KV_HEADS * HEAD, "v": N_KV_HEADS * HEAD}
    for number in range(n_layers):
        layer = f"model.layers.{number}."
        for name, n_rows in rows.items():
            tensors[f"{layer}self_attn.{name}_proj.weight"] = random.matrix(n_rows, WIDTH)
        tensors[f"{layer}self_attn.o_proj.weight"] = random.matrix(WIDTH, N_HEADS * HEAD)
        tensors[f"{layer}input_layernorm.weight"] = random.norm(WIDTH)
        tensors[f"{layer}post_attention_layernorm.weight"] = random.norm(WIDTH)
        tensors |= (feed_forward or _dense)(random, layer)
    return tensors


def _dense(random: Random, layer: str) -> Tensors:
    shapes = {"gate": (HIDDEN, WIDTH), "up": (HIDDEN, WIDTH), "down": (WIDTH, HIDDEN)}
    return {f"{layer}mlp.{name}_proj.weight": random.matrix(*shape) for name, shape in shapes.items()}


def _mixture(random: Random, layer: str) -> Tensors:
    """Experts in an order that is not theirs."""
    shapes = {"w1": (HIDDEN, WIDTH), "w3": (HIDDEN, WIDTH), "w2": (WIDTH, HIDDEN)}
    stem = f"{layer}block_sparse_moe."
    tensors = {f"{stem}gate.weight": random.matrix(12, WIDTH)}
    for number in sorted(range(12), key=str):
        for name, shape in shapes.items():
            tensors[f"{stem}experts.{number}.{name}.weight"] = random.matrix(*shape)
    return tensors


MIXTRAL = CONFIG | {
    "architectures": ["MixtralForCausalLM"],
    "num_local_experts": 12,
    "num_experts_per_tok": 2,
}


def tokenizer(n_bytes: int = 256, cutting: Any = BYTE_CUTTING) -> dict[str, Any]:
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    symbols = [chr(byte) for byte in printable] + [
        chr(256 + number) for number in range(256 - len(printable))
    ]
    words = ["<|end|>", *symbols[:n_bytes], "th", "the"]
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {
        "added_tokens": [
            {"id": 0, "content": "<|end|>", "special": False, **plain},
            {"id": len(words), "content": "<tool>", "special": False, **plain},
            {"id": len(words) + 1, "content": "[x]", "special": True, **plain},
        ],
        "pre_tokenizer": cutting,
        "decoder": BYTE_CUTTING,
        "model": {
            "type": "BPE",
            "vocab": {word: number for number, word in enumerate(words)},
            "merges": ["t h", ["th", "e"]][:1],
        },
    }


def write_folder(folder: Path, config: dict[str, Any] = CONFIG, tensors: Tensors | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer()))
    settings = {"eos_token": "<|end|>", "chat_template": "{{ messages }}"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    write_safetensors(folder / "model.safetensors", llama_tensors() if tensors is None else tensors)
    return folder


def converted(folder: Path, **options: Any) -> GGUFReader:
    out = folder.parent / f"{folder.name}.gguf"
    convert(folder, out, **options)
    return GGUFReader(out)


def test_matrices_keep_their_bytes_and_norms_become_float32(tmp_path: Path) -> None:
    source = llama_tensors()
    found = {tensor.name: tensor for tensor in converted(write_folder(tmp_path / "m")).tensors}
    assert len(found) == len(source)
    embedding = found["token_embd.weight"]
    assert embedding.tensor_type.name == "BF16" and list(embedding.shape) == [WIDTH, N_TOKENS]
    assert embedding.data.tobytes() == source["model.embed_tokens.weight"][1].tobytes()
    norm = found["blk.1.ffn_norm.weight"]
    assert norm.tensor_type.name == "F32"
    wanted = widened(source["model.layers.1.post_attention_layernorm.weight"][1])
    assert norm.data.tobytes() == wanted.tobytes()


def test_rotary_halves_become_neighbours(tmp_path: Path) -> None:
    """Row 2i of a head was row i, row 2i + 1 was row half + i."""
    source = llama_tensors()["model.layers.0.self_attn.k_proj.weight"][1]
    found = {t.name: t for t in converted(write_folder(tmp_path / "m")).tensors}["blk.0.attn_k.weight"]
    rows = found.data.view(np.uint16).reshape(source.shape)
    for head in range(N_KV_HEADS):
        for pair in range(HEAD // 2):
            first = head * HEAD
            assert (rows[first + 2 * pair] == source[first + pair]).all()
            assert (rows[first + 2 * pair + 1] == source[first + HEAD // 2 + pair]).all()


def test_experts_are_stacked_by_number(tmp_path: Path) -> None:
    source = llama_tensors(feed_forward=_mixture)
    folder = write_folder(tmp_path / "m", MIXTRAL, source)
    found = {tensor.name: tensor for tensor in converted(folder).tensors}
    stack = found["blk.1.ffn_down_exps.weight"]
    assert list(stack.shape) == [HIDDEN, WIDTH, 12] and stack.tensor_type.name == "BF16"
    names = [f"model.layers.1.block_sparse_moe.experts.{number}.w2.weight" for number in range(12)]
    assert stack.data.tobytes() == b"".join(source[name][1].tobytes() for name in names)
    assert found["blk.0.ffn_gate_inp.weight"].tensor_type.name == "F32"


def test_fused_experts_give_the_same(tmp_path: Path) -> None:
    apart = llama_tensors(feed_forward=_mixture)
    fused = {name: value for name, value in apart.items() if "block_sparse_moe" not in name}
    for number in range(2):
        stem, layer = f"model.layers.{number}.block_sparse_moe.", f"model.layers.{number}.mlp."
        gate, up, down = (
            np.stack([apart[f"{stem}experts.{expert}.{name}.weight"][1] for expert in range(12)])
            for name in ("w1", "w3", "w2")
        )
        fused[f"{layer}gate.weight"] = apart[f"{stem}gate.weight"]
        fused[f"{layer}experts.gate_up_proj"] = "BF16", np.concatenate((gate, up), axis=1)
        fused[f"{layer}experts.down_proj"] = "BF16", down
    outs = [tmp_path / "apart.gguf", tmp_path / "fused.gguf"]
    for out, tensors in zip(outs, (apart, fused), strict=True):
        convert(write_folder(tmp_path / out.stem / "m", MIXTRAL, tensors), out)
    assert outs[0].read_bytes() == outs[1].read_bytes()


def test_shards_give_the_same_as_one_file(tmp_path: Path) -> None:
    tensors = llama_tensors()
    whole = write_folder(tmp_path / "a" / "m")
    shards = write_folder(tmp_path / "b" / "m")
    (shards / "model.safetensors").unlink()
    weight_map = {}
    for part in range(3):
        file = f"model-0000{part + 1}-of-00003.safetensors"
        chosen = dict(list(tensors.items())[part::3])
        write_safetensors(shards / file, chosen)
        weight_map |= dict.fromkeys(chosen, file)
    (shards / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert is_checkpoint(shards)
    outs = [tmp_path / "a.gguf", tmp_path / "b.gguf"]
    for folder, out in zip((whole, shards), outs, strict=True):
        convert(folder, out)
    assert outs[0].read_bytes() == outs[1].read_bytes()
    (shards / "model.safetensors.index.json").unlink()
    convert(shards, outs[1])
    assert outs[0].read_bytes() == outs[1].read_bytes()


@pytest.mark.parametrize("alignment", [32, 4096])
def test_the_result_is_a_model_here_and_for_the_engine(tmp_path: Path, alignment: int) -> None:
    from sixgig.inference.engine import Engine
    from sixgig.inference.options import EngineOptions

    fractions: list[float] = []
    folder, out = (
        write_folder(tmp_path / "m", MIXTRAL, llama_tensors(feed_forward=_mixture)),
        tmp_path / "m.gguf",
    )
    convert(folder, out, alignment=alignment, progress=fractions.append)
    model = open_model(out)
    assert model.hyperparameters.n_experts == 12
    assert all(tensor.offset % alignment == 0 for tensor in model.tensors)
    assert fractions == sorted(fractions) and fractions[-1] == 1.0
    assert read_tensor(model, model.tensors[0]).size
    with Engine(out, EngineOptions(64, threads=1)) as engine:
        engine.prefill([70, 80, 90])
        assert np.isfinite(engine.logits()).all() and engine.logits().std() > 0.1
        assert engine.chat_template == "{{ messages }}"


def test_float16_and_float32_are_kept_and_float64_is_narrowed(tmp_path: Path) -> None:
    tensors = llama_tensors()
    kinds = {"F32": np.float32, "F16": np.float16, "F64": np.float64}
    for name, (kind, dtype) in zip(("q", "v", "o"), kinds.items(), strict=True):
        key = f"model.layers.0.self_attn.{name}_proj.weight"
        tensors[key] = kind, widened(tensors[key][1]).astype(dtype)
    found = {t.name: t for t in converted(write_folder(tmp_path / "m", tensors=tensors)).tensors}
    types = [found[f"blk.0.attn_{name}.weight"].tensor_type.name for name in ("q", "v", "output")]
    assert types == ["F32", "F16", "F32"]


def test_a_tokenizer_keeps_its_kinds_and_is_filled_up(tmp_path: Path) -> None:
    fields = converted(write_folder(tmp_path / "m")).fields
    tokens, kinds = (fields[f"tokenizer.ggml.{key}"].contents() for key in ("tokens", "token_type"))
    assert len(tokens) == N_TOKENS and tokens[259:262] == ["<tool>", "[x]", "[PAD261]"]
    assert kinds[0] == 3 and kinds[1] == 1 and kinds[259:262] == [4, 3, 5]
    assert fields["tokenizer.ggml.pre"].contents() == "gpt-2"
    assert fields["tokenizer.ggml.eos_token_id"].contents() == 0
    assert fields["tokenizer.ggml.merges"].contents() == ["t h"]


def test_a_negative_token_number_means_none(tmp_path: Path) -> None:
    fields = converted(write_folder(tmp_path / "m", CONFIG | {"pad_token_id": -1})).fields
    assert "tokenizer.ggml.padding_token_id" not in fields and "tokenizer.ggml.eos_token_id" in fields


def test_llama_3_stretches_long_waves_only(tmp_path: Path) -> None:
    """Against the definition, one frequency at a time."""
    scaling = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    scaling["original_max_position_embeddings"] = 32
    config = CONFIG | {"rope_scaling": scaling, "rope_theta": 5e5}
    tensors = {t.name: t for t in converted(write_folder(tmp_path / "m", config)).tensors}
    for pair, found in enumerate(tensors["rope_freqs.weight"].data):
        wave = 2 * np.pi * 5e5 ** (2 * pair / HEAD)
        smooth = (32 / wave - 1) / 3
        wanted = 1.0 if wave < 8 else 8.0 if wave > 32 else 1 / ((1 - smooth) / 8 + smooth)
        assert found == pytest.approx(wanted, rel=1e-5)


def test_predicting_layers_and_calculated_constants_are_left_out(tmp_path: Path) -> None:
    tensors = llama_tensors(3) | {
        "model.layers.0.self_attn.rotary_emb.inv_freq": ("F32", np.ones(4, np.float32))
    }
    names = {t.name for t in converted(write_folder(tmp_path / "m", tensors=tensors)).tensors}
    assert len(names) == len(llama_tensors())


def test_the_trained_model_equals_what_llama_cpp_made_of_it(tmp_path: Path, shared_model: Path) -> None:
    if not is_checkpoint(shared_model.parent):
        pytest.skip("the trained model's Hugging Face files are not beside its GGUF")
    out = tmp_path / "ours.gguf"
    convert(shared_model.parent, out)
    ours, theirs = GGUFReader(out), GGUFReader(shared_model)
    wanted = {tensor.name: tensor for tensor in theirs.tensors}
    assert {tensor.name for tensor in ours.tensors} == set(wanted)
    for tensor in ours.tensors:
        twin = wanted[tensor.name]
        assert tensor.tensor_type == twin.tensor_type and list(tensor.shape) == list(twin.shape), tensor.name
        assert tensor.data.tobytes() == twin.data.tobytes(), tensor.name
    for key, field in theirs.fields.items():
        if not key.startswith("GGUF.") and key != "general.name":
            assert ours.fields[key].contents() == field.contents(), key
            assert ours.fields[key].types == field.types, key


def test_memory_stays_at_one_expert(tmp_path: Path) -> None:
    n_experts, width = 48, 256
    random = np.random.default_rng(0)
    tensors = llama_tensors(feed_forward=lambda _random, _layer: {})
    for number in range(2):
        stem = f"model.layers.{number}.mlp."
        tensors[f"{stem}gate.weight"] = (
            "BF16",
            bf16(random.normal(size=(n_experts, WIDTH)).astype(np.float32)),
        )
        for name, shape in (("gate_up_proj", (2 * width, WIDTH)), ("down_proj", (WIDTH, width))):
            values = bf16(random.normal(size=(n_experts, *shape)).astype(np.float32))
            tensors[f"{stem}experts.{name}"] = "BF16", values
    config = MIXTRAL | {"num_local_experts": n_experts, "intermediate_size": width}
    folder = write_folder(tmp_path / "m", config, tensors)
    convert(folder, tmp_path / "warm.gguf")
    tracemalloc.start()
    convert(folder, tmp_path / "m.gguf")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < n_experts * width * WIDTH * 2, "a whole stack of experts was in memory"


def test_a_folder_where_a_gguf_is_wanted_is_told_what_it_is_and_how_to_convert_it(tmp_path: Path) -> None:
    """To run and to plan; a folder with a GGUF file in it is told to name that."""
    folder = write_folder(tmp_path / "my model")
    for ask in (open_model, lambda path: offers(str(path))):
        with pytest.raises(ModelFileError) as caught:
            ask(folder)
        for words in ("is a Hugging Face folder", f"sixgig shrink '{folder}' -o NAME.gguf --size"):
            assert words in str(caught.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelFileError, match=r"is a directory; it holds no \.gguf file"):
        open_model(tmp_path / "empty")
    convert(folder, folder / "a.gguf")
    with pytest.raises(ModelFileError, match=r"is a directory; name the \.gguf file in it"):
        open_model(folder)
    assert [offer.name for offer in offers(str(folder))] == ["a"]


def test_a_link_that_leads_nowhere_is_called_one(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").symlink_to("gone.gguf")
    (tmp_path / "models").symlink_to("gone")
    for name, there in (("a.gguf", "gone.gguf"), ("models/b.gguf", "gone")):
        with pytest.raises(ModelFileError, match=f"is a link that leads nowhere; to {there};"):
            open_model(tmp_path / name)
    with pytest.raises(ModelFileError, match=r"a\.gguf is a link that leads nowhere"):
        offers(str(tmp_path / "a.gguf"))
