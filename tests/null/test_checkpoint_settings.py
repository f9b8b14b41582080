"""What config.json says is in the GGUF, or the conversion is refused by the name of the field."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFReader

from sixgig.checkpoint import convert
from sixgig.checkpoint.settings import require_carried
from sixgig.errors import ModelFileError
from sixgig.families import recipes
from sixgig.families.terms.config import Config
from sixgig.families.terms.rotary import sections
from tests.null.test_checkpoint import (
    CONFIG,
    HEAD,
    MIXTRAL,
    N_HEADS,
    N_TOKENS,
    WIDTH,
    Random,
    Tensors,
    _mixture,
    llama_tensors,
    write_folder,
)

MISTRAL = CONFIG | {"architectures": ["MistralForCausalLM"]}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}


def told(folder: Path) -> tuple[list[str], GGUFReader]:
    lines: list[str] = []
    out = folder.parent / f"{folder.name}.gguf"
    convert(folder, out, tell=lines.append)
    return lines, GGUFReader(out)


def refused(folder: Path, *words: str) -> None:
    with pytest.raises(ModelFileError) as caught:
        convert(folder, folder.parent / "out.gguf")
    assert not (folder.parent / "out.gguf").exists()
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"hidden_act": "gelu"}, ("hidden_act is gelu", "silu")),
        ({"attn_logit_softcapping": 50.0}, ("attn_logit_softcapping is 50.0",)),
        ({"final_logit_softcapping": 30.0}, ("final_logit_softcapping",)),
        ({"partial_rotary_factor": 0.5}, ("partial_rotary_factor is 0.5",)),
        ({"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}}, ("partial_rotary_factor",)),
        ({"rope_scaling": {"rope_type": "longrope", "short_factor": [1.0]}}, ("longrope", "GGUF")),
        ({"rope_scaling": {"rope_type": "proportional"}}, ("proportional",)),
        ({"rope_scaling": YARN | {"surprise_scale": 2.0}}, ("surprise_scale is 2.0",)),
        (
            {"rope_scaling": {"factor": 2.0}, "rope_parameters": {"rope_theta": 1e4, "factor": 4.0}},
            ("disagree", "factor is 2.0 and 4.0"),
        ),
        ({"attention_multiplier": 0.2}, ("attention_multiplier is 0.2", "take it out")),
        ({"embedding_multiplier": 12.0}, ("embedding_multiplier",)),
        ({"residual_multiplier": 0.2}, ("residual_multiplier",)),
        ({"logits_scaling": 8.0}, ("logits_scaling",)),
        ({"use_qk_norm": True}, ("use_qk_norm is True",)),
        ({"layer_types": ["linear_attention", "full_attention"]}, ("layer_types", "linear_attention")),
        ({"attention_bias": True}, ("attention_bias is true", "attn_q.bias")),
        ({"mlp_bias": True}, ("mlp_bias is true",)),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, ("gptq", "BF16")),
        ({"quantization_config": {"quant_method": "fp8"}}, ("quantization_config (fp8)",)),
        ({"vocab_size": N_TOKENS + 8}, ("model.embed_tokens.weight has (264, 32)", "(272, 32)")),
        ({"clip_qkv": 8.0}, ("clip_qkv",)),
        ({"is_causal": False}, ("is_causal is False", "has True")),
        ({"scoring_func": "sigmoid"}, ("scoring_func is sigmoid", "no place")),
        ({"router_scores": "sigmoid"}, ("router_scores",)),
        ({"activation_function": "gelu"}, ("activation_function",)),
        ({"causal_mask": False}, ("causal_mask",)),
        ({"alibi": True}, ("alibi",)),
    ],
)
def test_a_value_that_no_gguf_of_llama_carries_is_refused_by_name(
    tmp_path: Path, values: dict[str, Any], words: tuple[str, ...]
) -> None:
    refused(write_folder(tmp_path / "m", CONFIG | values), "config.json", *words)


@pytest.mark.parametrize(
    "values",
    [
        {
            "transformers_version": "4.38.0",
            "torch_dtype": "bfloat16",
            "use_cache": True,
            "_name_or_path": "x",
        },
        {
            "initializer_range": 0.02,
            "attention_dropout": 0.1,
            "pretraining_tp": 2,
            "output_hidden_states": False,
        },
        {
            "attention_bias": False,
            "mlp_bias": False,
            "hidden_act": "silu",
            "head_dim": HEAD,
            "is_causal": True,
        },
        {"rope_scaling": None, "sliding_window": None, "quantization_config": None, "clip_qkv": None},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 1.0}},
        {"id2label": {"0": "LABEL_0"}, "temperature": 0.6, "top_p": 0.9, "auto_map": {"AutoConfig": "x"}},
        {"unsloth_version": "2025.1", "router_jitter_noise": 0.0, "pruned_heads": {}, "bad_words_ids": None},
    ],
)
def test_what_transformers_writes_and_changes_nothing_goes_through_in_silence(
    tmp_path: Path, values: dict[str, Any]
) -> None:
    lines, _ = told(write_folder(tmp_path / "m", CONFIG | values))
    assert lines == []


def test_an_unknown_value_that_sounds_harmless_is_told_by_name(tmp_path: Path) -> None:
    lines, _ = told(write_folder(tmp_path / "m", CONFIG | {"my_remark": "hello"}))
    assert len(lines) == 1 and "my_remark is hello" in lines[0]


@pytest.mark.parametrize(
    ("values", "context"),
    [
        ({"sliding_window": 32}, 32),
        ({"sliding_window": 128}, 128),
        ({"sliding_window": None}, 128),
        ({"sliding_window": 32, "use_sliding_window": False}, 128),
        ({"sliding_window": 32, "use_sliding_window": True, "max_window_layers": 2}, 128),
        ({"sliding_window": 32, "layer_types": ["full_attention"] * 2}, 128),
        ({"sliding_window": 32, "layer_types": ["full_attention", "sliding_attention"]}, 32),
        ({"max_position_embeddings": 8192}, 4096),  # the class's own window
    ],
)
def test_a_context_ends_where_the_window_would_begin_to_slide(
    tmp_path: Path, values: dict[str, Any], context: int
) -> None:
    lines, file = told(write_folder(tmp_path / "m", MISTRAL | values))
    assert file.fields["llama.context_length"].contents() == context
    assert [f"sliding_window is {context}" in line for line in lines] == [True] * (context in (32, 4096))


def test_dynamic_scaling_is_carried_as_far_as_it_changes_nothing(tmp_path: Path) -> None:
    scaling = {"rope_scaling": {"type": "dynamic", "factor": 2.0}}
    lines, file = told(write_folder(tmp_path / "m", CONFIG | scaling))
    assert file.fields["llama.context_length"].contents() == 128 and "dynamic" in lines[0]


def test_yarn_that_keys_cannot_say_is_refused_where_no_tensor_says_it() -> None:
    for values, word in (({"beta_fast": 16.0}, "beta_fast is 16"), ({"beta_slow": 2.0}, "beta_slow is 2")):
        config = Config(CONFIG | {"rope_theta": 1e4, "rope_scaling": YARN | values})
        with pytest.raises(ModelFileError, match=word):
            recipes()["Qwen2ForCausalLM"].keys(config)
    llama3 = Config(CONFIG | {"rope_theta": 1e4, "rope_scaling": {"rope_type": "llama3", "factor": 8.0}})
    with pytest.raises(ModelFileError, match="llama3"):
        recipes()["Qwen2ForCausalLM"].keys(llama3)


@pytest.mark.parametrize(
    ("name", "values", "word"),
    [
        ("Qwen3MoeForCausalLM", {"norm_topk_prob": False}, "norm_topk_prob is False"),
        ("Qwen3MoeForCausalLM", {"mlp_only_layers": [0]}, "mlp_only_layers"),
        ("Qwen2MoeForCausalLM", {"decoder_sparse_step": 2}, "decoder_sparse_step is 2"),
        ("DeepseekV3ForCausalLM", {"scoring_func": "softmax"}, "scoring_func is softmax"),
        ("DeepseekV2ForCausalLM", {"topk_method": "group_limited_greedy"}, "topk_method"),
        ("Glm4MoeForCausalLM", {"scoring_func": "softmax"}, "scoring_func"),
        ("GptOssForCausalLM", {"swiglu_limit": 5.0}, "swiglu_limit is 5.0"),
        ("Lfm2MoeForCausalLM", {"conv_bias": True}, "conv_bias is True"),
        ("MiniMaxM2ForCausalLM", {"shared_intermediate_size": 64}, "shared_intermediate_size"),
        ("OlmoeForCausalLM", {"clip_qkv": 8.0}, "clip_qkv is 8.0"),
        ("Qwen3NextForCausalLM", {"attn_output_gate": False}, "attn_output_gate"),
    ],
)
def test_what_a_family_takes_for_granted_is_refused_where_it_is_said_otherwise(
    name: str, values: dict[str, Any], word: str
) -> None:
    with pytest.raises(ModelFileError, match=word):
        require_carried(recipes()[name], Config(values))


def flagged(n_layers: int = 2) -> Tensors:
    """Biases of queries, keys, values and output in every layer."""
    tensors, random = llama_tensors(n_layers), Random()
    rows = {"q": N_HEADS * HEAD, "k": 16, "v": 16, "o": WIDTH}
    for layer in range(n_layers):
        for name, extent in rows.items():
            tensors[f"model.layers.{layer}.self_attn.{name}_proj.bias"] = random.norm(extent)
    return tensors


def test_biases_that_config_json_passes_over_are_refused(tmp_path: Path) -> None:
    assert told(write_folder(tmp_path / "m", CONFIG | {"attention_bias": True}, flagged()))[0] == []
    refused(write_folder(tmp_path / "m", CONFIG, flagged()), "attention_bias is false or not there", "set")
    lacking = flagged()
    del lacking["model.layers.1.self_attn.v_proj.bias"]
    folder = write_folder(tmp_path / "m", CONFIG | {"attention_bias": True}, lacking)
    refused(folder, "layer 0 has attn_v.bias, layer 1 does not")


def test_a_missing_head_is_the_embedding_only_where_config_json_says_so(tmp_path: Path) -> None:
    tensors = llama_tensors()
    del tensors["lm_head.weight"]
    for values in ({"tie_word_embeddings": False}, {}):
        refused(
            write_folder(tmp_path / "m", CONFIG | values, tensors), "no lm_head.weight", "tie_word_embeddings"
        )
    lines, file = told(write_folder(tmp_path / "m", CONFIG | {"tie_word_embeddings": True}, tensors))
    assert lines == [] and "output.weight" not in {tensor.name for tensor in file.tensors}


def test_a_head_that_is_the_embedding_is_left_out_and_another_is_kept(tmp_path: Path) -> None:
    tied = CONFIG | {"tie_word_embeddings": True}
    lines, file = told(write_folder(tmp_path / "a", tied, llama_tensors()))
    assert "tie_word_embeddings" in lines[0] and "output.weight" in {tensor.name for tensor in file.tensors}
    same = llama_tensors()
    same["lm_head.weight"] = same["model.embed_tokens.weight"]
    lines, file = told(write_folder(tmp_path / "b", tied, same))
    assert lines == [] and "output.weight" not in {tensor.name for tensor in file.tensors}


def test_of_a_model_with_pictures_the_outer_word_on_the_head_counts() -> None:
    from sixgig.checkpoint.completeness import _tied

    inner = {"text_config": {"tie_word_embeddings": True}}
    assert _tied(Config(inner)) and not _tied(Config(inner | {"tie_word_embeddings": False}))


def test_weights_that_are_no_numbers_are_counted_and_told(tmp_path: Path) -> None:
    tensors = llama_tensors(feed_forward=_mixture)
    values = tensors["model.layers.1.self_attn.q_proj.weight"][1]
    values[0, :3] = (0x7FC0, 0x7F80, 0xFF80)  # NaN, infinity, its negative
    tensors["model.norm.weight"] = "F32", np.full(WIDTH, np.nan, np.float32)
    lines, _ = told(write_folder(tmp_path / "m", MIXTRAL, tensors))
    assert len(lines) == 1 and lines[0].startswith(f"{3 + WIDTH} weights are no finite numbers")
    assert "blk.1.attn_q.weight" in lines[0] and "output_norm.weight" in lines[0]


def test_tensors_that_are_left_out_are_told_and_unknown_ones_refused(tmp_path: Path) -> None:
    lines, _ = told(write_folder(tmp_path / "m", tensors=llama_tensors(3)))
    assert len(lines) == 1 and "9 tensors are left out" in lines[0] and "model.layers.2." in lines[0]
    more = llama_tensors() | {"lm_head.bias": Random().norm(N_TOKENS)}
    refused(write_folder(tmp_path / "m", tensors=more), "lm_head.bias")


def test_what_stays_away_in_config_json_does_so_in_text_config(tmp_path: Path) -> None:
    """A nested text_config is judged like any other."""
    inner = {key: value for key, value in CONFIG.items() if key != "architectures"}
    config = {"architectures": ["LlamaForCausalLM"], "text_config": inner | {"logits_scaling": 8.0}}
    refused(write_folder(tmp_path / "m", config), "logits_scaling is 8.0")
    del config["text_config"]["logits_scaling"]
    folder = write_folder(tmp_path / "m", config | {"vision_config": {"depth": 2}, "image_token_id": 7})
    assert told(folder)[0] == []
    assert json.loads((folder / "config.json").read_text())["vision_config"]


def sectioned(said: Any, n_rotary: int, **outer: Any) -> list[int]:
    config = Config(
        {"hidden_size": n_rotary * 2, "num_attention_heads": 1, "rope_parameters": {"mrope_section": said}}
        | outer
    )
    return sections(config, n_rotary, [11, 11, 10])


@pytest.mark.parametrize("vision", [{}, {"vision_config": {}}])
@pytest.mark.parametrize(
    ("said", "n_rotary"),
    [
        (None, 16),
        (None, 64),
        (None, 256),
        ([3, 3, 2], 16),
        ([2, 3, 3], 16),
        ([8, 0, 0], 16),
        ([0, 0, 0, 8], 16),
        ([11, 11, 10], 64),
        ([24, 20, 20], 128),
        ([0, 0, 1], 2),
    ],
)
def test_sections_of_rotary_positions_turn_every_pair_of_a_text(
    said: Any, n_rotary: int, vision: dict[str, Any]
) -> None:
    """By the rule of llama.cpp's kernel, whose assertion on their sum holds; those that do stay."""
    found = sectioned(said, n_rotary, **vision)
    assert sum(found) <= 2 * n_rotary
    sectors = [pair % sum(found) for pair in range(n_rotary // 2)]
    assert all(sector < 3 * found[sector % 3] for sector in sectors)
    if said in ([3, 3, 2], [11, 11, 10]):
        assert found == [*said, 0]


def test_sections_that_do_not_add_up_serve_text_and_are_refused_of_pictures() -> None:
    """Of text they mean nothing as long as every pair turns; where one would not, others are written."""
    assert sectioned([11, 11, 10], 16) == [11, 11, 10, 0]
    assert sectioned([2, 3, 2], 16) == sectioned([99, 0, 0], 16) == [3, 3, 2, 0]
    with pytest.raises(ModelFileError, match=r"mrope_section is \[2, 3, 2\], sum 7, of 8 pairs"):
        sectioned([2, 3, 2], 16, vision_config={})
    for said in ([1, 2, 3, 4, 5], ["3", 3, 2], [-1, 5, 4]):
        with pytest.raises(ModelFileError, match="no list of counts"):
            sectioned(said, 16)
    with pytest.raises(ModelFileError, match="rotary channels are no pairs; 15 of 30"):
        sectioned(None, 15)
