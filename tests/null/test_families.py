"""Each family gives every tensor of its model a role, declared or by the engine's vocabulary alone."""

from collections.abc import Callable
from pathlib import Path

import pytest

import sixgig.families
from sixgig.families import Role, families, family
from sixgig.families.terms.names import inside_layer
from sixgig.modelfile import open_model
from tests.tiny.models import DENSE, MIXTURES

ROOT = Path(__file__).parents[2]
EXPERT_BIASES = {"ffn_gate_exps.bias", "ffn_up_exps.bias", "ffn_down_exps.bias"}
FACTORS = {"rope_factors_long.weight", "rope_factors_short.weight"}


def test_a_family_is_found_by_its_files_name() -> None:
    folder = Path(sixgig.families.__file__).parent
    files = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert len(families()) == len(files) > 20
    assert family("ernie4_5-moe").declared


def test_the_record_of_a_new_family_shows_its_file_as_it_is() -> None:
    (record,) = (ROOT / "docs" / "decisions").glob("*-one-declaration-a-family.md")
    shown = record.read_text().split("```python\n")[1].split("```")[0]
    assert shown == (ROOT / "sixgig" / "families" / "seedoss.py").read_text()


@pytest.mark.parametrize("architecture", [*MIXTURES, *DENSE])
def test_every_tensor_has_a_role(architecture: str, tiny: Callable[..., Path]) -> None:
    model = open_model(tiny(architecture, "F16", expert_width=64))
    others = {inside_layer(tensor.name) for tensor in model.tensors if tensor.role is Role.OTHER}
    assert others <= EXPERT_BIASES | FACTORS
    assert all((tensor.layer is None) == (not tensor.name.startswith("blk.")) for tensor in model.tensors)


@pytest.mark.parametrize("architecture", MIXTURES)
def test_the_router_rule_names_tensors_that_exist(architecture: str, tiny: Callable[..., Path]) -> None:
    model = open_model(tiny(architecture, "F16", expert_width=64))
    names = {tensor.name for tensor in model.tensors}
    router = model.family.router
    last = model.n_layers - 1
    for pattern in (router.weight, router.bias, router.selection_bias, router.input_norm):
        assert pattern is None or pattern.format(layer=last) in names


@pytest.mark.parametrize(
    ("name", "role", "layer"),
    [
        ("token_embd.weight", Role.EMBEDDING, None),
        ("output.weight", Role.HEAD, None),
        ("output_norm.weight", Role.NORM, None),
        ("blk.0.attn_qkv.weight", Role.LINEAR_ATTENTION, 0),
        ("blk.3.attn_q.weight", Role.ATTENTION, 3),
        ("blk.47.ffn_down_exps.weight", Role.ROUTED_EXPERT, 47),
        ("blk.47.ffn_gate_up_exps.weight", Role.ROUTED_EXPERT, 47),
        ("blk.47.ffn_down_exps.scale", Role.OTHER, 47),
        ("blk.47.ffn_down_exps.bias", Role.OTHER, 47),
        ("blk.1.ffn_gate_inp.weight", Role.ROUTER, 1),
        ("blk.1.ffn_gate_inp_shexp.weight", Role.SHARED_EXPERT, 1),
        ("blk.01.ffn_down_exps.weight", Role.OTHER, None),
        ("blk.-1.ffn_down_exps.weight", Role.OTHER, None),
        ("blk.٣.ffn_down_exps.weight", Role.OTHER, None),
        ("xblk.1.ffn_down_exps.weight", Role.OTHER, None),
        ("blk.{layer}.ffn_down_exps.weight", Role.OTHER, None),
        ("", Role.OTHER, None),
    ],
)
def test_roles_of_the_hybrid(name: str, role: Role, layer: int | None) -> None:
    assert family("qwen35moe").classify(name) == (role, layer)


@pytest.mark.parametrize("name", ["terms", "os", "__init__", "../qwen3", "gptoss", "", "gemma9\n"])
def test_any_other_name_is_an_architecture_without_a_declaration(name: str) -> None:
    found = family(name)
    assert (found.architecture, found.declared) == (name, False)
    assert found.classify("blk.2.ffn_gate_up_exps.weight") == (Role.ROUTED_EXPERT, 2)
    assert found.classify("blk.2.attn_qkv.weight") == (Role.ATTENTION, 2)
    assert found.classify("enc.blk.2.ffn_up.weight") == (Role.FEED_FORWARD, None)
