"""The peers' types are those that llama-quantize gives, by its own tables; their sizes add up."""

from math import prod
from pathlib import Path

import pytest

from bench.quantising.check_mixtures import MODELS, ORACLE, PEERS, recorded
from bench.quantising.mixtures import MIXTURES, mixture
from bench.quantising.peers import file_bytes, peer_types
from sixgig.errors import UsageError
from sixgig.families import Role
from sixgig.modelfile import TYPE_BY_NAME, ModelFile, open_model

DEMO = MODELS["pep-moe-31m"](Path())


def made(name: str, folder: Path) -> ModelFile:
    return open_model(MODELS[name](folder / f"{name}.gguf"))


@pytest.mark.parametrize("name", MODELS)
def test_every_peer_is_what_llama_quantize_makes(name: str, tmp_path: Path) -> None:
    model, table = made(name, tmp_path), recorded(name)
    assert tuple(table) == PEERS
    for peer in PEERS:
        assert peer_types(model, peer) == table[peer], peer


def test_every_table_belongs_to_a_model() -> None:
    assert {path.stem for path in ORACLE.glob("*.json")} == set(MODELS)


def test_the_tables_tell_the_mixtures_apart() -> None:
    """Otherwise they would prove little: all differ somewhere, and each mixture of types uses several."""
    tables = {name: recorded(name) for name in MODELS}
    columns = {peer: tuple(tuple(table[peer].items()) for table in tables.values()) for peer in PEERS}
    assert len(set(columns.values())) == len(PEERS)
    for peer in set(MIXTURES) - {"Q6_K", "Q8_0"}:
        assert len({kind for table in tables.values() for kind in table[peer].values()}) >= 6, peer


def test_routed_experts_alone_change_with_their_type() -> None:
    model = open_model(DEMO)
    small, large = peer_types(model, "routed:IQ2_XXS"), peer_types(model, "routed:Q5_K")
    changed = {tensor.name for tensor in model.tensors if small[tensor.name] != large[tensor.name]}
    assert changed == {tensor.name for tensor in model.tensors if tensor.role is Role.ROUTED_EXPERT}


def test_a_files_own_types_give_its_own_size() -> None:
    model = open_model(DEMO)
    types = {tensor.name: tensor.type.name for tensor in model.tensors}
    assert file_bytes(model, types, model.alignment) == model.size_bytes


def test_size_counts_padded_tensors(tmp_path: Path) -> None:
    model = made("tiny-mixtral", tmp_path)
    types = mixture("Q4_K_M", model)
    kinds = [TYPE_BY_NAME[types[tensor.name]] for tensor in model.tensors]
    sizes = [
        prod(tensor.shape) // kind.block_elements * kind.block_bytes
        for tensor, kind in zip(model.tensors, kinds, strict=True)
    ]
    for alignment in (32, 4096):
        expected = sum(-(-size // alignment) * alignment for size in sizes)
        header = file_bytes(model, types, alignment) - expected
        assert 0 < header <= model.tensors[0].offset + 64 + alignment


@pytest.mark.parametrize("peer", ["Q9_K", "uniform:Q9_K", "uniform", "both:Q4_K"])
def test_what_is_no_peer_is_refused(peer: str) -> None:
    with pytest.raises(UsageError, match="is no peer"):
        peer_types(open_model(DEMO), peer)
