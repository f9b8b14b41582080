"""A model that would compute something else than its blocks do is refused, with the tensor or the key."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sixgig.errors import ModelFileError
from sixgig.families import families
from sixgig.finetune.net import build_net
from sixgig.finetune.session import require_covered
from sixgig.modelfile import open_model
from sixgig.planning import anatomy
from sixgig.planning.pieces import pieces_of
from tests.tune.variants import ARCHITECTURES, tensors_of, write_variant

Tiny = Callable[..., Path]
SIZES = {"n_layers": 2, "n_experts": 4}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_blocks_read_each_tensor_of_the_layers_once(tiny: Tiny, architecture: str) -> None:
    """And find it in the pieces that are read for their visit."""
    model = open_model(tiny(architecture, "Q4_K"))
    net = build_net(model)
    read = [name for block in net.blocks for name in (*block.dense, *block.routed)]
    inside = [name for name in read if name.startswith("blk.")]
    assert sorted(inside) == sorted(tensor.name for tensor in model.tensors if tensor.layer is not None)
    assert [block.layer for block in net.blocks] == [n // 2 for n in range(2 * model.n_layers)]
    require_covered(net, pieces_of(anatomy(model)))


@pytest.mark.parametrize("architecture", ["gpt-oss", "deepseek2"])
def test_an_architecture_whose_blocks_nobody_declares_is_refused_with_those_there_are(
    tiny: Tiny, architecture: str
) -> None:
    known = ", ".join(sorted(name for name, one in families().items() if one.tuning))
    with pytest.raises(ModelFileError, match=rf"{architecture} cannot be tuned: .*{known}.*it runs, serves"):
        build_net(open_model(tiny(architecture, "Q4_0")))


@pytest.mark.parametrize(
    ("architecture", "name", "shape"),
    [
        ("llama", "blk.0.attn_sinks.weight", (4,)),
        ("llama", "blk.1.attn_q_norm.weight", (64,)),
        ("qwen3", "blk.0.attn_output.bias", (256,)),
        ("qwen3", "rope_freqs.weight", (32,)),
        ("qwen3moe", "blk.1.ffn_gate_up_exps.weight", (4, 512, 256)),
        ("qwen3moe", "blk.1.exp_probs_b.bias", (4,)),
        ("mixtral", "blk.0.ffn_up_shexp.weight", (256, 256)),
        ("qwen35moe", "blk.1.attn_gate.bias", (256,)),
        ("qwen35moe", "output.bias", (271,)),
    ],
)
def test_a_tensor_that_no_block_reads(
    tiny: Tiny, tmp_path: Path, architecture: str, name: str, shape: tuple[int, ...]
) -> None:
    source = tiny(architecture, "F32", **SIZES)
    tensors = tensors_of(source) | {name: np.ones(shape, np.float32)}
    path = write_variant(source, tmp_path / "more.gguf", tensors)
    with pytest.raises(ModelFileError, match=f"^{name}"):
        build_net(open_model(path))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_tensor_that_is_missing_or_has_another_shape(tiny: Tiny, tmp_path: Path, architecture: str) -> None:
    """Any of them. Without a head the embedding serves, and none needs biases or factors of frequencies;
    routers and stacks are checked on opening."""
    source = tiny(architecture, "F32", **SIZES)
    tensors = tensors_of(source)
    optional = ("q.bias", "k.bias", "v.bias", "long.weight", "short.weight")
    for name in tensors:
        rest = {key: values for key, values in tensors.items() if key != name}
        if name != "output.weight" and not name.endswith(optional):
            path = write_variant(source, tmp_path / "less.gguf", rest)
            with pytest.raises(ModelFileError, match=name.replace("qkv", "q(kv)?")):
                build_net(open_model(path))
        if "exps" not in name:
            longer = np.ones((*tensors[name].shape[:-1], tensors[name].shape[-1] + 32), np.float32)
            path = write_variant(source, tmp_path / "longer.gguf", rest | {name: longer})
            with pytest.raises(ModelFileError, match=name.split("_")[0]):
                build_net(open_model(path))


@pytest.mark.parametrize(
    ("architecture", "key", "value"),
    [
        ("llama", "rope.scaling.type", "dynamic"),
        ("llama", "rope.scaling.attn_factor", float("inf")),
        ("llama", "rope.scaling.factor", 1e-30),
        ("llama", "rope.freq_base", 0.0),
        ("mistral3", "rope.freq_base", 1.0),
        ("mistral3", "rope.scaling.yarn_beta_slow", 0.0),
        ("mistral3", "attention.temperature_scale", float("nan")),
        ("gemma3", "final_logit_softcapping", -30.0),
        ("gemma3", "rope.freq_base_swa", -1.0),
        ("gemma3", "rope.dimension_count_swa", 32),
        ("gemma3", "attention.key_length_swa", 32),
        ("phi3", "rope.dimension_count", 47),
        ("llama", "attention.causal", False),
        ("qwen3", "attention.layer_norm_rms_epsilon", None),
        ("qwen3", "attention.head_count_kv", 3),
        ("qwen3moe", "expert_group_count", 2),
        ("qwen3moe", "expert_used_count", [2, 1]),
        ("qwen35moe", "rope.dimension_sections", [0, 0, 0, 0]),
        ("qwen35moe", "rope.dimension_sections", None),
        ("qwen35moe", "ssm.time_step_rank", None),
        ("qwen35moe", "ssm.group_count", None),
    ],
)
def test_a_setting_that_is_not_computed(
    tiny: Tiny, tmp_path: Path, architecture: str, key: str, value: object
) -> None:
    source = tiny(architecture, "F32", **SIZES)
    changes = {f"{architecture}.{key}": value}
    if key == "expert_group_count":
        changes["qwen3moe.expert_group_used_count"] = 1
    path = write_variant(source, tmp_path / "set.gguf", tensors_of(source), changes)
    with pytest.raises(ModelFileError, match=rf"{architecture}\.({key}|ssm\.\*)"):
        build_net(open_model(path))
