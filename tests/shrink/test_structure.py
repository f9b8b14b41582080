"""What families declare of mixtures: each cut loads in the engine, and what is cut had done nothing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sixgig.errors import UsageError
from sixgig.families import families as declared
from sixgig.modelfile import open_model
from sixgig.pruning.expert_limits import possible_counts, possible_widths, require_count, require_width
from sixgig.pruning.expert_tensors import ExpertShapes
from sixgig.pruning.experts import keep_experts
from sixgig.pruning.structure import expert_cuts, gates_shift
from sixgig.pruning.widths import keep_channels
from sixgig.weights.cut import CutWeights
from sixgig.weights.stored import Floats, WeightInfo, Weights
from tests.described import families
from tests.shrink.cut_models import CLOSE, Drawn, header, kill, logits, write
from tests.tiny.models import MIXTURES

MOE = [*dict.fromkeys((*(name for name in families.FAMILIES if name not in families.DENSE), *MIXTURES))]
DEAD, KEPT = (1, 4, 6), (0, 2, 3, 5, 7)


def channels(info: WeightInfo) -> np.ndarray:
    """The half of each expert's channels that does something, [experts, width / 2], each its own."""
    random = np.random.default_rng(info.layer)
    width = info.row_length
    return np.sort([random.permutation(width)[: width // 2] for _ in range(info.n_matrices)], axis=1)


def half_idle(info: WeightInfo, values: Floats) -> None:
    """DEAD experts are never chosen, and half of every expert's channels lead nowhere."""
    kill(DEAD)(info, values)
    if "ffn_down_exps.weight" in info.name:
        busy = np.zeros((info.n_matrices, info.row_length), bool)
        np.put_along_axis(busy, channels(info), True, axis=1)
        values *= busy[:, None, :]


def without_dead(weights: Weights, kept: tuple[int, ...] = KEPT) -> CutWeights:
    layers = ExpertShapes(weights).layers
    cut = keep_experts(weights, {layer.number: np.array(kept) for layer in layers}, "test")
    return CutWeights(weights, cut)


def without_idle(weights: Weights, experts: tuple[int, ...] = tuple(range(8))) -> CutWeights:
    whole = {info.name: info for info in Drawn(weights.model.parts[0]).tensors}
    kept = {
        layer.number: channels(whole[layer.down.name])[list(experts)]
        for layer in ExpertShapes(weights).layers
    }
    return CutWeights(weights, keep_channels(weights, kept, {}))


@pytest.mark.parametrize("family", MOE)
def test_experts_that_are_never_chosen_and_channels_that_lead_nowhere(family: str, tmp_path: Path) -> None:
    model = Drawn(header(family, tmp_path / "header.gguf"), half_idle)
    whole = logits(write(model, tmp_path / "whole.gguf"))
    assert np.isfinite(whole).all() and whole.std() > 0.5
    fewer = without_dead(model)
    assert np.abs(logits(write(fewer, tmp_path / "fewer.gguf")) - whole).max() < CLOSE
    others = without_dead(model, (0, 1, 2, 3, 4))
    assert np.abs(logits(write(others, tmp_path / "others.gguf")) - whole).max() > 0.1
    if family == "llama4":
        return
    narrower = without_idle(model)
    assert np.abs(logits(write(narrower, tmp_path / "narrower.gguf")) - whole).max() < CLOSE
    both = without_idle(fewer, KEPT)
    written = open_model(write(both, tmp_path / "both.gguf"))
    assert np.abs(logits(tmp_path / "both.gguf") - whole).max() < CLOSE
    assert (written.n_experts, ExpertShapes(both).width) == (5, ExpertShapes(model).width // 2)


def test_llama4_takes_its_shared_experts_width_from_the_routed(tmp_path: Path) -> None:
    model = Drawn(header("llama4", tmp_path / "header.gguf"))
    with pytest.raises(UsageError, match="llama4"):
        without_idle(model)


def test_llama4_of_128_experts_is_another_graph(tmp_path: Path) -> None:
    """By that number llama.cpp leaves the norm of queries and keys out."""
    shapes = ExpertShapes(Drawn(header("llama4", tmp_path / "header.gguf")))
    assert possible_counts(shapes) == list(range(1, 9))
    layer = replace(shapes.layers[0], down=replace(shapes.layers[0].down, shape=(128, 256, 128)))
    shapes.layers = (layer,)
    assert possible_counts(shapes) == [128]


@pytest.mark.parametrize("kept", [(0, 2, 3, 5, 6, 7), (0, 3, 5, 7)])
def test_experts_in_groups(kept: tuple[int, ...], tmp_path: Path) -> None:
    keys = {"expert_group_count": 2, "expert_group_used_count": 1}
    dead = [expert for expert in range(8) if expert not in kept]
    model = Drawn(header("bailingmoe2", tmp_path / "header.gguf", **keys), kill(dead))
    whole = logits(write(model, tmp_path / "whole.gguf"))
    fewer = without_dead(model, kept)
    assert np.abs(logits(write(fewer, tmp_path / "fewer.gguf")) - whole).max() < CLOSE
    assert possible_counts(ExpertShapes(model)) == [4, 6, 8]
    with pytest.raises(UsageError, match="nearest: 4, 6"):
        without_dead(model, KEPT)


@pytest.mark.parametrize("family", ["qwen3moe", "qwen2moe", "gpt-oss", "deepseek2"])
def test_fewer_experts_than_a_token_used(family: str, tmp_path: Path) -> None:
    model = Drawn(header(family, tmp_path / "header.gguf"))
    one = without_dead(model, (3,))
    written = open_model(write(one, tmp_path / "one.gguf"))
    assert (written.n_experts, written.n_experts_used) == (1, 1)
    assert np.isfinite(logits(tmp_path / "one.gguf")).all()


def test_widths_that_shared_experts_allow(tmp_path: Path) -> None:
    """Two counted shared experts of 128 stay what they are at any routed width that divides 256."""
    shapes = ExpertShapes(Drawn(header("glm4moe", tmp_path / "glm.gguf")))
    assert (shapes.shared_width, possible_widths(shapes)) == (128, [32, 64, 128])
    with pytest.raises(UsageError, match="nearest: 64, 128"):
        require_width(shapes, 96)
    own = ExpertShapes(Drawn(header("qwen3next", tmp_path / "next.gguf")))
    assert possible_widths(own) == [32, 64, 96, 128]


def test_each_declaration_of_experts_is_loaded_and_compared() -> None:
    described = {"llama" if name == "mixtral" else name for name in MOE}
    assert described == {name for name, one in declared().items() if one.expert_cuts}


def test_experts_that_are_not_there_cannot_go(tmp_path: Path) -> None:
    dense = Drawn(header("qwen3", tmp_path / "dense.gguf"))
    with pytest.raises(UsageError, match="no experts"):
        ExpertShapes(dense)
    with pytest.raises(UsageError, match="no experts"):
        expert_cuts(dense.model)
    shapes = ExpertShapes(Drawn(header("qwen3moe", tmp_path / "moe.gguf")))
    for keep in (0, 9):
        with pytest.raises(UsageError, match="8 values from 1 to 8"):
            require_count(shapes, keep)


def test_where_dropping_experts_moves_the_gates_of_others(tmp_path: Path) -> None:
    shifts = {name for name in MOE if gates_shift(open_model(header(name, tmp_path / f"{name}.gguf")))}
    assert shifts == {"deepseek", "olmoe", "qwen2moe"}
