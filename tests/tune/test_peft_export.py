"""An adapter in GGUF's layout, written for PEFT.

PEFT merges it into the checkpoint, and converting that gives the GGUF's tensors plus scale * B A. What PEFT
computes without merging is what the merged model computes.
"""

import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from peft import PeftModel
from safetensors.numpy import load_file
from transformers import (
    AutoModelForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    Ministral3Config,
    Ministral3ForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3_5MoeForCausalLM,
    Qwen3_5MoeTextConfig,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from sixgig.checkpoint import convert
from sixgig.checkpoint.peft import write_peft
from sixgig.errors import ModelFileError, UsageError
from sixgig.families import Role
from sixgig.modelfile import ModelFile, Tensor, dequantise, open_model, read_tensor
from sixgig.modelfile.lora import Lora
from tests.null.test_checkpoint import tokenizer

# PEFT looks for modules; parameters of experts are adapted all the same, as these tests show.
pytestmark = pytest.mark.filterwarnings("ignore:The following (rank|alpha)_pattern keys:RuntimeWarning")

Floats = NDArray[np.float32]
SIZES: dict[str, Any] = {
    "vocab_size": 272,
    "hidden_size": 48,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 128,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
SQUARE = SIZES | {"hidden_size": 64}  # as wide as its heads
STRETCHED = {
    "rope_type": "yarn",
    "rope_theta": 1e4,
    "factor": 8.0,
    "original_max_position_embeddings": 16,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
    "llama_4_scaling_beta": 0.1,
}
MIXTURE = {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "norm_topk_prob": True}
HYBRID = MIXTURE | {
    "head_dim": 32,
    "shared_expert_intermediate_size": 40,
    "layer_types": ["linear_attention", "full_attention"],
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 6,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
}
MODELS: dict[str, Callable[[], PreTrainedModel]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES)),
    "mixtral": lambda: MixtralForCausalLM(MixtralConfig(**SIZES, num_local_experts=6)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SQUARE)),
    "gemma3": lambda: Gemma3ForCausalLM(
        Gemma3TextConfig(**SIZES, query_pre_attn_scalar=16, sliding_window=8)
    ),
    "mistral3": lambda: Ministral3ForCausalLM(Ministral3Config(**SIZES, rope_parameters=STRETCHED)),
    "phi3": lambda: Phi3ForCausalLM(Phi3Config(**SQUARE, pad_token_id=0)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SIZES)),
    "qwen3moe": lambda: Qwen3MoeForCausalLM(Qwen3MoeConfig(**SIZES, **MIXTURE)),
    "qwen35moe": lambda: Qwen3_5MoeForCausalLM(Qwen3_5MoeTextConfig(**SIZES | HYBRID)),
}
ADAPTED = (
    Role.ATTENTION,
    Role.LINEAR_ATTENTION,
    Role.FEED_FORWARD,
    Role.SHARED_EXPERT,
    Role.ROUTED_EXPERT,
)
NOT_ADAPTED = {Role.EMBEDDING, Role.HEAD, Role.NORM, Role.ROUTER, Role.CONVOLUTION}
TOKENS = torch.tensor([[5, 9, 100, 31, 31, 7, 200, 250, 1, 64, 12, 9]])


def save(model: PreTrainedModel, folder: Path) -> Path:
    model.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer()))
    return folder


def converted(folder: Path) -> ModelFile:
    out = folder.with_suffix(".gguf")
    convert(folder, out)
    return open_model(out)


def targets(model: ModelFile) -> Iterator[Tensor]:
    for tensor in model.tensors:
        if tensor.role in ADAPTED and len(tensor.shape) > 1 and tensor.name.endswith(".weight"):
            yield tensor


def random_lora(model: ModelFile, alpha: float = 12, rank: Callable[[str], int] = lambda name: 3) -> Lora:
    random, pairs = np.random.default_rng(0), {}
    for tensor in targets(model):
        n_in, n_out, *stack = tensor.shape
        a = random.normal(0, n_in**-0.5, (*stack, rank(tensor.name), n_in)).astype(np.float32)
        b = random.normal(0, 0.02, (*stack, n_out, rank(tensor.name))).astype(np.float32)
        pairs[tensor.name] = a, b
    return Lora(model.architecture, alpha, pairs)


def values(model: ModelFile) -> dict[str, Floats]:
    return {tensor.name: dequantise(read_tensor(model, tensor), tensor) for tensor in model.tensors}


def logits(model: Any) -> Floats:
    with torch.inference_mode():
        return model.eval()(TOKENS).logits.numpy()


def adapted(hf: PreTrainedModel, folder: Path) -> PeftModel:
    """By PEFT, which must find a place for every tensor and a tensor for every place."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*adapter keys.*|.*target_modules.*|.*target_parameters.*")
        return PeftModel.from_pretrained(hf, str(folder))


def check(hf: PreTrainedModel, model: ModelFile, lora: Lora, folder: Path) -> None:
    """Logits and weights; the effect is far above what is tolerated."""
    assert write_peft(folder / "peft", model, lora) == ""
    before = logits(hf)
    tuned = adapted(hf, folder / "peft")
    after = logits(tuned)
    merged = tuned.merge_and_unload()
    # Which processor it is decides how sums round: up to 1.05e-5 of 15 was seen.
    nearly = 1e-6 * max(10, np.abs(after).max())
    assert np.abs(after - logits(merged)).max() < nearly < 1e-2 < np.abs(after - before).max()
    found, wanted = values(converted(save(merged, folder / "merged"))), values(model)
    for name, (a, b) in lora.pairs.items():
        delta = np.float32(lora.alpha / a.shape[-2] or 1) * (b @ a)
        assert np.abs(delta).std() > 1e-3, name
        wanted[name] = wanted[name] + delta.reshape(wanted[name].shape)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert np.abs(found[name] - value).max() < 1e-6, name


def build(architecture: str, folder: Path) -> tuple[PreTrainedModel, ModelFile]:
    torch.manual_seed(1)
    hf = MODELS[architecture]()
    return hf, converted(save(hf, folder / "base"))


@pytest.mark.parametrize("architecture", MODELS)
def test_peft_merges_what_the_gguf_would(architecture: str, tmp_path: Path) -> None:
    """Every matrix of every layer."""
    hf, model = build(architecture, tmp_path)
    lora = random_lora(model)
    assert {tensor.role for tensor in targets(model)} == {
        tensor.role for tensor in model.tensors
    } - NOT_ADAPTED
    check(hf, model, lora, tmp_path)


def test_the_trained_model(shared_model: Path, tmp_path: Path) -> None:
    """As its authors' files have it, against the GGUF that llama.cpp's converter made of it."""
    hf, model = (
        AutoModelForCausalLM.from_pretrained(shared_model.parent, dtype=torch.float32),
        open_model(shared_model),
    )
    check(hf, model, some(random_lora(model), "blk.2.", "blk.7."), tmp_path)


def some(lora: Lora, *words: str) -> Lora:
    """Only the pairs whose tensor's name has one of the words in it."""
    pairs = {name: pair for name, pair in lora.pairs.items() if any(word in name for word in words)}
    return replace(lora, pairs=pairs)


PARTS = {
    "one parameter of an expert": ("blk.0.ffn_up_exps",),
    "the other": ("blk.1.ffn_down_exps",),
    "different ones by layer": ("blk.0.ffn_down_exps", "blk.1.ffn_gate_exps", "blk.1.attn_k"),
    "no experts": ("shexp", "ssm_out"),
}


@pytest.mark.parametrize("part", PARTS)
def test_a_part_of_the_matrices(part: str, tmp_path: Path) -> None:
    hf, model = build("qwen35moe", tmp_path)
    check(hf, model, some(random_lora(model), *PARTS[part]), tmp_path)


@pytest.mark.parametrize("architecture", ["qwen3", "qwen3moe"])
def test_every_tensor_may_have_a_rank_of_its_own(architecture: str, tmp_path: Path) -> None:
    """Of gate and up too, which share a scale in PEFT."""
    hf, model = build(architecture, tmp_path)
    lora = random_lora(model, alpha=7, rank=lambda name: 1 + sum(name.encode()) % 4)
    assert {a.shape[-2] for a, _ in lora.pairs.values()} == {1, 2, 3, 4}
    check(hf, model, lora, tmp_path)


def test_the_head(tmp_path: Path) -> None:
    hf, model = build("llama", tmp_path)
    random = np.random.default_rng(0)
    a, b = (random.normal(0, 0.1, shape).astype(np.float32) for shape in ((2, 48), (272, 2)))
    check(hf, model, Lora("llama", 4, {"output.weight": (a, b)}), tmp_path)


def test_what_has_no_place_is_named(tmp_path: Path) -> None:
    """Routers are no Linear in transformers 5."""
    _, model = build("qwen3moe", tmp_path)
    lora = some(random_lora(model), "attn")
    router = {"blk.1.ffn_gate_inp.weight": (np.ones((2, 48), np.float32), np.ones((6, 2), np.float32))}
    notice = write_peft(tmp_path / "peft", model, replace(lora, pairs=lora.pairs | router))
    assert "1 of 9 tensors, such as blk.1.ffn_gate_inp.weight" in notice
    assert len(load_file(tmp_path / "peft" / "adapter_model.safetensors")) == 2 * len(lora.pairs)
    with pytest.raises(UsageError, match="no place"):
        write_peft(tmp_path / "none", model, replace(lora, pairs=router))
    assert not (tmp_path / "none").exists()


def test_an_alpha_of_nothing_means_a_scale_of_one(tmp_path: Path) -> None:
    """As llama.cpp takes it; ranks that differ do not change it."""
    hf, model = build("qwen3moe", tmp_path)
    check(hf, model, random_lora(model, alpha=0, rank=lambda name: 1 + sum(name.encode()) % 4), tmp_path)


def test_an_adapter_of_another_model(tmp_path: Path) -> None:
    _, model = build("qwen3", tmp_path)
    lora = random_lora(model)
    for other in (replace(lora, architecture="llama"), some(Lora("qwen3", 1, wider(lora)), "blk.0.attn_q.")):
        with pytest.raises(ModelFileError, match="adapter"):
            write_peft(tmp_path / "none", model, other)
    assert not (tmp_path / "none").exists()


def wider(lora: Lora) -> dict[str, tuple[Floats, Floats]]:
    return {name: (np.concatenate((a, a), axis=-1), b) for name, (a, b) in lora.pairs.items()}


def test_the_base_is_named_and_other_files_stay(tmp_path: Path) -> None:
    _, model = build("qwen3", tmp_path)
    (tmp_path / "README.md").write_text("mine")
    for base_name in ("owner/model", ""):
        write_peft(tmp_path, model, random_lora(model), base_name)
        config = json.loads((tmp_path / "adapter_config.json").read_text())
        assert config["base_model_name_or_path"] == (base_name or None)
    names = {"README.md", "adapter_config.json", "adapter_model.safetensors", "base", "base.gguf"}
    assert {path.name for path in tmp_path.iterdir()} == names


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    _, model = build("qwen3", tmp_path)
    with pytest.raises(UsageError, match="cannot write"):
        write_peft(tmp_path / "base.gguf", model, random_lora(model))
