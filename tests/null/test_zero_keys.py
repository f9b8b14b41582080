"""Keys of 0: so the engine's own saver writes what a model has not. They are no damage and change nothing."""

from collections.abc import Callable
from pathlib import Path

import pytest

from sixgig.errors import ModelFileError
from sixgig.inference import Engine, EngineOptions, Sampler, SamplingOptions, generate
from sixgig.inference.dry_load import dry_load
from sixgig.inference.load import open_engine
from sixgig.modelfile import open_model
from sixgig.planning import anatomy
from tests.tiny.edited import edited
from tests.tiny.models import DENSE, MIXTURES

OPTIONS = EngineOptions(context=64, ubatch=32, threads=1)
ZEROS = (
    *("attention.key_length_mla", "attention.value_length_mla", "attention.kv_lora_rank"),
    *("attention.q_lora_rank", "attention.recurrent_layers", "attention.sliding_window"),
    *("ssm.conv_kernel", "ssm.state_size", "ssm.group_count", "ssm.time_step_rank", "ssm.inner_size"),
    *("expert_group_count", "expert_group_used_count", "expert_shared_count", "expert_gating_func"),
    *("expert_shared_feed_forward_length", "nextn_predict_layers", "leading_dense_block_count"),
    *("shortconv.l_cache", "attention.indexer.top_k", "wkv.head_size"),
)
Tiny = Callable[..., Path]


def with_zeros(tiny: Tiny, architecture: str, path: Path) -> Path:
    """The model with every key of ZEROS that it does not have."""
    source = tiny(architecture, "F32")
    model = open_model(source)
    zeros = dict.fromkeys(ZEROS, 0) | {"rope.scaling.factor": 0.0}
    named = {f"{model.architecture}.{name}": zero for name, zero in zeros.items()}
    absent = {key: zero for key, zero in named.items() if key not in model.metadata}
    if architecture in ("qwen35", "qwen35moe"):  # 0 for all layers would say that none is recurrent
        del absent[f"{architecture}.attention.recurrent_layers"]
    return edited(source, path, absent)


def greedy(path: Path) -> list[int]:
    with open_engine(path, None, OPTIONS) as engine:
        run = generate(
            engine, [70, 80, 90], 8, Sampler(engine, SamplingOptions(temperature=0)), ignore_end=True
        )
        list(run)
    return run.result.token_ids


@pytest.mark.parametrize("architecture", [*DENSE, *MIXTURES])
def test_keys_of_zero_are_as_if_they_were_not_there(tiny: Tiny, architecture: str, tmp_path: Path) -> None:
    source, path = tiny(architecture, "F32"), with_zeros(tiny, architecture, tmp_path / "zeros.gguf")
    plain, zeros = open_model(source), open_model(path)
    assert len(zeros.metadata) > len(plain.metadata)
    assert zeros.attention.latent == plain.attention.latent
    assert zeros.attention.recurrent == plain.attention.recurrent
    layers = [(layer.recurrent, layer.slides) for layer in anatomy(plain).layers]
    assert [(layer.recurrent, layer.slides) for layer in anatomy(zeros).layers] == layers
    assert greedy(path) == greedy(source)


@pytest.mark.parametrize("architecture", [*DENSE, *MIXTURES])
def test_a_trained_length_of_zero_is_no_damage(tiny: Tiny, architecture: str, tmp_path: Path) -> None:
    source = tiny(architecture, "F32")
    path = edited(source, tmp_path / "zero.gguf", {f"{open_model(source).architecture}.context_length": 0})
    assert open_model(path).context_length == 0
    with Engine(path, OPTIONS) as engine:
        engine.prefill([70, 80, 90])


def test_a_latent_width_that_cannot_be_is_damage_still(tiny: Tiny, tmp_path: Path) -> None:
    path = edited(
        tiny("deepseek2", "F32"), tmp_path / "wrong.gguf", {"deepseek2.attention.key_length_mla": 2}
    )
    with pytest.raises(ModelFileError, match=r"cannot open wrong\.gguf; deepseek2\.cpp"):
        dry_load(open_model(path), OPTIONS)
