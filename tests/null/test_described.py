"""The described models are as published: weights by role, sizes, and holes instead of weights."""

from math import prod
from pathlib import Path

import pytest

from sixgig.families import Role
from sixgig.modelfile import ModelFile, open_model
from tests import described
from tests.described import NAMES, families
from tests.null import planned


def billions(model: ModelFile, *roles: Role) -> float:
    return sum(prod(tensor.shape) for tensor in model.tensors if tensor.role in roles) / 1e9


@pytest.mark.parametrize(
    ("name", "total"),
    [
        ("deepseek-v2-lite", 15.7),
        ("gpt-oss-20b", 20.9),
        ("llama-8b", 8.03),
        ("mixtral-8x7b", 46.7),
        ("qwen3-30b", 30.5),
        ("qwen3-8b", 8.19),
        ("qwen3.5-122b", 122.1),
        ("qwen3.5-35b", 34.7),
    ],
)
def test_they_have_as_many_weights_as_published(name: str, total: float) -> None:
    assert billions(planned.model(name), *Role) == pytest.approx(total, rel=0.005)


def test_every_description_is_checked() -> None:
    assert len(NAMES) == 8


@pytest.mark.parametrize(
    ("roles", "published"),
    [
        ((Role.ROUTED_EXPERT,), 116.0),
        ((Role.LINEAR_ATTENTION,), 3.17),
        ((Role.EMBEDDING, Role.HEAD), 1.53),
        ((Role.ATTENTION,), 0.94),
        ((Role.SHARED_EXPERT,), 0.45),
        ((Role.ROUTER,), 0.04),
    ],
)
def test_the_122b_model_by_role(roles: tuple[Role, ...], published: float) -> None:
    assert billions(planned.model("qwen3.5-122b"), *roles) == pytest.approx(
        published, abs=0.005 * published + 0.01
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_tensor_has_a_declared_role(name: str) -> None:
    undeclared = {t.name for t in planned.model(name).tensors if t.role is Role.OTHER}
    assert all(tensor.endswith("_exps.bias") for tensor in undeclared)  # gpt-oss: OTHER by design


@pytest.mark.parametrize("name", families.FAMILIES)
def test_small_families_have_undeclared_tensors_only_where_they_predict_or_norm(name: str) -> None:
    undeclared = {t.name for t in planned.family(name).tensors if t.role is Role.OTHER}
    assert all("nextn" in n or "layer_output_norm" in n or n == "token_embd_norm.weight" for n in undeclared)


def test_types_are_replaced_by_group_and_the_last_projection_alone(tmp_path: Path) -> None:
    path = described.write("qwen3-30b", tmp_path / "m.gguf", routed="Q4_K", dense="Q8_0", down="Q6_K")
    kinds = {tensor.name: tensor.type.name for tensor in open_model(path).tensors}
    assert (kinds["blk.0.ffn_gate_exps.weight"], kinds["blk.47.ffn_up_exps.weight"]) == ("Q4_K", "Q4_K")
    assert kinds["blk.9.ffn_down_exps.weight"] == "Q6_K"
    assert (kinds["blk.0.attn_q.weight"], kinds["output.weight"]) == ("Q8_0", "Q8_0")
    assert (kinds["blk.0.ffn_gate_inp.weight"], kinds["output_norm.weight"]) == ("F32", "F32")


def test_weights_are_a_hole() -> None:
    header = planned.model("qwen3.5-122b").parts[0].stat()
    assert header.st_size > 60e9 and header.st_blocks * 512 < 1e6
