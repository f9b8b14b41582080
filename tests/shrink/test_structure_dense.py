"""What families declare of dense models: heads and channels that do nothing go, biases come."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from sixgig.families import DenseCuts, Freedom, Role, families, family
from sixgig.weights.cut import Cut, CutWeights, TensorCut
from sixgig.weights.stored import Floats, WeightInfo, Weights
from tests.shrink.cut_models import CLOSE, Drawn, header, logits, write

HEAD, N_GROUPS, GROUP = 64, 2, 2
FAMILIES = [name for name, one in families().items() if one.dense_cuts and name != "deci"]
Kept = dict[int, list[int]]


def stem(info: WeightInfo) -> str:
    return info.name.split(".", 2)[2].rsplit(".", 1)[0] if info.layer is not None else ""


def idle(channels: Kept, groups: Kept) -> Callable[[WeightInfo, Floats], None]:
    """What is not kept leads nowhere: columns of ffn_down and attn_output are nothing."""

    def change(info: WeightInfo, values: Floats) -> None:
        kept = {"ffn_down": channels, "attn_output": {n: heads(g, GROUP) for n, g in groups.items()}}
        wanted = kept.get(stem(info), {}).get(info.layer if info.layer is not None else -1)
        if wanted is not None and len(info.shape) > 1:
            busy = np.zeros(info.row_length, bool)
            busy[wanted] = True
            values *= busy

    return change


def heads(groups: Iterable[int], heads_each: int, rows_per_head: int = HEAD) -> list[int]:
    """Rows of the heads of some groups."""
    size = heads_each * rows_per_head
    return [group * size + row for group in groups for row in range(size)]


def narrow(weights: Weights, channels: Kept, metadata: dict[str, object]) -> CutWeights:
    """Without channels."""
    tensors = {}
    for info in weights.tensors:
        if info.role is Role.FEED_FORWARD and info.layer in channels:
            kept = np.array(channels[info.layer])
            down = stem(info) == "ffn_down"
            tensors[info.name] = TensorCut(columns=kept) if down else TensorCut(rows=kept)
    return CutWeights(weights, Cut(tensors, metadata=metadata))


def behead(weights: Weights, groups: Kept, metadata: dict[str, object]) -> CutWeights:
    """Without key-value groups and their queries; queries with a gate have twice the rows."""
    tensors = {}
    for info in weights.tensors:
        if info.layer not in groups or info.role is not Role.ATTENTION:
            continue
        n_out = info.row_length if len(info.shape) == 1 else info.rows_per_matrix
        part = {"attn_q": n_out // N_GROUPS, "attn_k": HEAD, "attn_v": HEAD, "attn_output": GROUP * HEAD}
        kept = np.array(heads(groups[info.layer], 1, part[stem(info)]))
        inputs = stem(info) == "attn_output" or len(info.shape) == 1
        tensors[info.name] = TensorCut(columns=kept) if inputs else TensorCut(rows=kept)
    return CutWeights(weights, Cut(tensors, metadata=metadata))


def attending(weights: Weights) -> list[int]:
    return [info.layer for info in weights.tensors if stem(info) == "attn_k" and info.layer is not None]


def declared(name: str) -> DenseCuts:
    cuts = family(name).dense_cuts
    assert cuts is not None
    return cuts


@pytest.mark.parametrize("name", FAMILIES)
def test_the_same_width_and_heads_in_every_layer(name: str, tmp_path: Path) -> None:
    path = header(name, tmp_path / "header.gguf")
    layers = range(Drawn(path).model.n_layers)
    channels = {layer: list(range(layer, layer + 192)) for layer in layers}
    groups = {layer: [layer % N_GROUPS] for layer in layers}
    model = Drawn(path, idle(channels, groups))
    whole = logits(write(model, tmp_path / "whole.gguf"))
    narrower = narrow(model, channels, {f"{name}.feed_forward_length": 192})
    assert np.abs(logits(write(narrower, tmp_path / "narrower.gguf")) - whole).max() < CLOSE
    key = f"{name}.attention.head_count"
    both = write(behead(narrower, groups, {key: GROUP, f"{key}_kv": 1}), tmp_path / "both.gguf")
    assert declared(name).widths is Freedom.UNIFORM
    if declared(name).heads is Freedom.UNIFORM:
        assert np.abs(logits(both) - whole).max() < CLOSE
    else:
        with pytest.raises(AssertionError, match="wrong shape"):
            logits(both)


def test_its_own_width_and_heads_in_every_layer_as_deci(tmp_path: Path) -> None:
    path = header("llama", tmp_path / "header.gguf")
    n_layers = Drawn(path).model.n_layers
    widths, counts = [256, 64, 160, 32], [2, 1, 2, 1]
    channels = {layer: list(range(widths[layer])) for layer in range(n_layers)}
    groups = {layer: list(range(2 - counts[layer], 2)) for layer in range(n_layers)}
    model = Drawn(path, idle(channels, groups))
    whole = logits(write(model, tmp_path / "whole.gguf"))
    metadata = renamed(model, "deci") | {
        "deci.feed_forward_length": widths,
        "deci.attention.head_count": [GROUP * count for count in counts],
        "deci.attention.head_count_kv": counts,
    }
    carried = behead(narrow(model, channels, {}), groups, metadata)
    assert np.abs(logits(write(carried, tmp_path / "deci.gguf")) - whole).max() < CLOSE
    biased = with_biases(carried, 0.5)
    assert np.abs(logits(write(biased, tmp_path / "biased.gguf")) - whole).max() > 0.1
    assert declared("llama").carrier == "deci" and declared("deci").widths is Freedom.PER_LAYER


def renamed(weights: Weights, carrier: str) -> dict[str, object]:
    """The metadata of another architecture with the same values."""
    old, found = weights.model.architecture, weights.model.metadata
    keys = [key for key in found if key.startswith(f"{old}.")]
    changes: dict[str, object] = {key: None for key in keys}
    changes |= {carrier + key.removeprefix(old): found.get(key) for key in keys}
    return changes | {"general.architecture": carrier}


def with_biases(weights: Weights, value: float) -> CutWeights:
    bias = np.full(weights.model.n_embd, value, np.float32)
    layers, stems = range(weights.model.n_layers), ("attn_output", "ffn_down")
    return CutWeights(weights, Cut(replaced={f"blk.{n}.{stem}.bias": bias for n in layers for stem in stems}))


@pytest.mark.parametrize("name", FAMILIES)
def test_biases_that_were_not_there(name: str, tmp_path: Path) -> None:
    """They count where the table says they load; elsewhere the file is refused or they do nothing."""
    model = Drawn(header(name, tmp_path / "header.gguf"))
    whole = logits(write(model, tmp_path / "whole.gguf"))
    biased = write(with_biases(model, 0.5), tmp_path / "biased.gguf")
    try:
        moved = bool(np.abs(logits(biased) - whole).max() > 0.1)
    except AssertionError:
        moved = False
    assert moved == declared(name).output_bias
