"""What the converter says of Gemma, Ministral, Phi and their like: carried as it is, or refused by name."""

import json
from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFReader
from tokenizers import Tokenizer

from sixgig.checkpoint.settings import require_carried
from sixgig.errors import ModelFileError
from sixgig.families import recipes
from sixgig.families.terms.config import Config
from sixgig.families.terms.recipe import Keys
from sixgig.inference.converting import convert_checked
from sixgig.inference.tokenizer import open_tokenizer
from sixgig.modelfile import open_model
from tests.null.test_checkpoint_tokenizers import ESCAPE, folder_of, pieces

SIZES = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-6,
    "vocab_size": 320,
}
LONG = {"rope_type": "longrope", "long_factor": [2.0] * 8, "short_factor": [1.0] * 8}
PLAIN = {"rope_type": "default", "rope_theta": 1e4}
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 128}
MINISTRAL = {"model_type": "ministral3", "rope_parameters": YARN | {"llama_4_scaling_beta": 0.1}}
CHECKED_WITH_TENSORS = ("tie_word_embeddings", "attention_bias", "mlp_bias", "vocab_size", "rms_norm_eps")
GEMMA = {"query_pre_attn_scalar": 16}


def keys(name: str, sizes: dict[str, Any] = SIZES, **values: Any) -> Keys:
    """Of a small config.json of that class."""
    recipe = recipes()[name]
    config = Config({"architectures": [name], **sizes, **values}).or_else(recipe.defaults)
    config.hear(*CHECKED_WITH_TENSORS)
    recipe.extras(config)
    found = recipe.keys(config)
    require_carried(recipe, config)
    return found


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("Qwen2ForCausalLM", {"rope_scaling": LONG}, ("'longrope'", "other angles", "GGUF")),
        ("Qwen2ForCausalLM", {"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, ("'llama3'",)),
        ("Qwen3ForCausalLM", {"rope_scaling": YARN | {"beta_fast": 16.0}}, ("beta_fast is 16",)),
        ("Gemma3ForCausalLM", {"query_pre_attn_scalar": 99}, ("query_pre_attn_scalar is 99", "16")),
        ("Gemma3ForCausalLM", GEMMA | {"attn_logit_softcapping": 50.0}, ("attn_logit_softcapping",)),
        ("Gemma3ForCausalLM", GEMMA | {"use_bidirectional_attention": True}, ("bidirectional",)),
        ("Gemma3ForCausalLM", GEMMA | {"hidden_activation": "silu"}, ("hidden_activation",)),
        ("Gemma3ForCausalLM", GEMMA | {"rope_scaling": LONG}, ("'longrope'",)),
        (
            "Gemma3ForCausalLM",
            GEMMA | {"rope_parameters": {"full_attention": PLAIN, "sliding_attention": YARN}},
            ("window's positions", "yarn"),
        ),
        (
            "Gemma3ForCausalLM",
            GEMMA | {"rope_parameters": {"full_attention": YARN | {"attention_factor": 2.0}}},
            ("window's positions",),
        ),
        (
            "Gemma3ForCausalLM",
            GEMMA | {"rope_parameters": {"sliding_attention": PLAIN | {"partial_rotary_factor": 0.5}}},
            ("partial_rotary_factor is 0.5",),
        ),
        ("Gemma2ForCausalLM", GEMMA | {"tie_word_embeddings": False}, ("tie_word_embeddings",)),
        ("Gemma2ForCausalLM", GEMMA | {"final_logit_softcapping": None}, ("caps",)),
        ("Gemma2ForCausalLM", GEMMA | {"layer_types": ["full_attention"] * 4}, ("window",)),
        (
            "Ministral3ForCausalLM",
            {"model_type": "ministral3", "rope_parameters": YARN},
            ("llama_4_scaling",),
        ),
        ("Mistral3ForConditionalGeneration", {"model_type": "mistral4"}, ("'mistral4'",)),
        ("Phi3ForCausalLM", {"rope_scaling": YARN}, ("'yarn'", "longrope")),
        (
            "Phi3ForCausalLM",
            {"rope_scaling": LONG | {"long_factor": [2.0]}},
            ("long_factor", "1 values for 8"),
        ),
        ("Phi3ForCausalLM", {"rope_scaling": LONG | {"short_factor": [0] * 8}}, ("short_factor",)),
        ("Phi3ForCausalLM", {"head_dim": 32}, ("heads",)),
        ("SmolLM3ForCausalLM", {"no_rope_layers": [1, 1, 0, 1]}, ("turn no positions",)),
        ("Olmo3ForCausalLM", {"rope_parameters": {"sliding_attention": PLAIN}}, ("sliding layers turn",)),
        ("Cohere2ForCausalLM", {"use_qk_norm": True}, ("use_qk_norm",)),
    ],
)
def test_what_the_engines_graph_has_not_is_refused_by_name(
    name: str, values: dict[str, Any], words: tuple[str, ...]
) -> None:
    with pytest.raises(ModelFileError) as caught:
        keys(name, **values)
    for word in words:
        assert word in str(caught.value)


def test_configurations_as_the_hub_has_them() -> None:
    """Sparse ones of Gemma 3; Ministral's temperature; LongRoPE under its first name."""
    text = {"hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34, "sliding_window": 1024}
    scaling = {"rope_scaling": {"factor": 8.0, "rope_type": "linear"}}
    multimodal = {"text_config": text | scaling, "mm_tokens_per_image": 256}
    gemma = keys("Gemma3ForConditionalGeneration", {}, **multimodal)
    assert (gemma["attention.head_count"], gemma["attention.key_length"]) == (8, 256)
    assert (gemma["rope.freq_base"], gemma["rope.freq_base_swa"], gemma["rope.scaling.factor"]) == (
        1e6,
        1e4,
        8,
    )
    assert "attention.sliding_window_pattern" not in gemma
    ministral = keys("Ministral3ForCausalLM", **MINISTRAL)
    assert ministral["attention.temperature_scale"] == 0.1
    assert ministral["rope.scaling.original_context_length"] == 128
    phi = keys("Phi3ForCausalLM", rope_scaling=LONG | {"type": "su"}, original_max_position_embeddings=128)
    assert phi["rope.scaling.type"] == "longrope" and "rope.scaling.factor" not in phi


def added(*stripping: str) -> list[dict[str, Any]]:
    """LLaMA's three, and two that are Phi's."""
    found = pieces()["added_tokens"]
    for number, token in enumerate(("<|endoftext|>", "<|end|>"), 259):
        found.append({**found[0], "id": number, "content": token})
    return [one | {"rstrip": one["content"] in stripping} for one in found]


@pytest.mark.parametrize(
    ("folder", "stripping", "name"),
    [
        ("phi-3-mini", ("</s>", "<|end|>"), "phi-3-mini"),
        ("mine", ("</s>", "<|end|>"), "phi-3 mine"),
        ("PHI3-distilled", (), "PHI 3-distilled"),
    ],
)
def test_tokens_take_up_the_space_behind_them_where_the_tokenizer_says_so_whatever_the_folder_is_called(
    tmp_path: Path, folder: str, stripping: tuple[str, ...], name: str
) -> None:
    content = pieces(normalizer=ESCAPE, added_tokens=added(*stripping))
    for one in content["added_tokens"][3:]:
        content["model"]["vocab"][one["content"]] = one["id"]
    vocab = content["model"]["vocab"]
    content["model"]["vocab"] = {token: number for number, token in enumerate(_spread(vocab))}
    for one in content["added_tokens"]:
        one["id"] = content["model"]["vocab"][one["content"]]
    convert_checked(folder_of(tmp_path / folder, content), tmp_path / "out.gguf")
    assert GGUFReader(tmp_path / "out.gguf").fields["general.name"].contents() == name
    library = Tokenizer.from_str(json.dumps(content))
    with open_tokenizer(open_model(tmp_path / "out.gguf")) as opened:
        for text in ("<|end|>  \n a", "</s> a<|endoftext|> b", "a <|end|> <s> b</s>\n\n"):
            wanted = library.encode(text, add_special_tokens=False).ids
            assert opened.vocabulary.tokenize(text) == wanted


def _spread(vocab: dict[str, int]) -> list[str]:
    """Each token once, those that were added last at the end."""
    return sorted(vocab, key=lambda token: (token in ("<|endoftext|>", "<|end|>"), vocab[token]))


def test_space_behind_other_tokens_is_told_and_the_rest_proven(tmp_path: Path) -> None:
    """As of Phi 4 mini, whose tokens llama.cpp has no name for."""
    content, lines = pieces(normalizer=ESCAPE), list[str]()
    content["added_tokens"][1]["rstrip"] = True
    convert_checked(folder_of(tmp_path / "phi3", content), tmp_path / "out.gguf", tell=lines.append)
    assert len(lines) == 1 and "rstrip is true of <s>" in lines[0]
    assert GGUFReader(tmp_path / "out.gguf").fields["general.name"].contents() == "phi 3"


def test_gemmas_cut_at_spaces_of_which_none_is_left_is_no_cut(tmp_path: Path) -> None:
    split = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}
    content = pieces(normalizer=ESCAPE, pre_tokenizer=split)
    convert_checked(folder_of(tmp_path / "m", content), tmp_path / "m.gguf")
    content["normalizer"] = None
    with pytest.raises(ModelFileError, match="Split"):
        convert_checked(folder_of(tmp_path / "n", content), tmp_path / "n.gguf")
