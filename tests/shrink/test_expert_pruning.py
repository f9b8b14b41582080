"""Which experts stay, what the cut takes out of the file, and routers that are refitted."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sixgig.calibration.calibration import Calibration, Progress
from sixgig.calibration.moments import ExpertUse, Moments, Stream
from sixgig.calibration.samples import SampleFile, SampleLayout
from sixgig.errors import UsageError
from sixgig.inference import Engine, EngineOptions
from sixgig.llamacpp.observe import Product
from sixgig.modelfile import open_model
from sixgig.pruning.damage import expert_damage
from sixgig.pruning.expert_formula import expert_outputs, softmax_gates
from sixgig.pruning.expert_tensors import ExpertShapes, source_experts
from sixgig.pruning.experts import (
    Criterion,
    best_experts,
    drop_experts,
    expert_scores,
    keep_experts,
    protected,
    super_experts,
)
from sixgig.pruning.rerouting import make_trial, recalibrate_routers, refit
from sixgig.weights.cut import CutWeights
from sixgig.weights.stored import StoredWeights
from tests.shrink.cut_models import Drawn, header, logits, write

N_ROWS = 400


def calibration(
    folder: Path,
    saliency: dict[int, list[float]],
    counts: dict[str, list[int]] | None = None,
    samples: dict[str, np.ndarray] | None = None,
) -> Calibration:
    """What a pass would have left: each expert met one token, and has this saliency.

    samples: [matrices, n, n_in] by weight.
    """
    experts = {
        layer: ExpertUse(np.ones(len(of), np.int64), np.array(of), np.array(of, np.float32))
        for layer, of in saliency.items()
    }
    moments = {
        name: Moments(np.array(of), *(np.zeros((len(of), 1), np.float32) for _ in range(2)))
        for name, of in (counts or {}).items()
    }
    layout = SampleLayout.of({name: rows.shape for name, rows in (samples or {}).items()})
    file = SampleFile(folder / "samples", layout)
    for name, rows in (samples or {}).items():
        for matrix, of_one in enumerate(rows):
            file.offer(name, matrix, of_one)
    file.sync()
    stream = Stream(np.zeros(1, np.int64), np.zeros(1))
    done = Progress("", 1, 1, 1, "")
    return Calibration(
        done, {name: name for name in moments}, moments, experts, stream, layout, file.seen, file.path
    )


def test_keeping_all_changes_no_byte(tiny: Callable[..., Path], tmp_path: Path) -> None:
    source = StoredWeights(open_model(tiny("gpt-oss")))
    every = {layer.number: np.arange(8) for layer in ExpertShapes(source).layers}
    whole = CutWeights(source, keep_experts(source, every, ""))
    assert dict(whole.changes) == {"gpt-oss.expert_count": 8}
    for info, cut in zip(source.tensors, whole.tensors, strict=True):
        assert info == cut
        before, after = (weights.rows(info.name, 0, info.n_rows) for weights in (source, whole))
        assert before.tobytes() == after.tobytes()


def test_everything_that_knows_experts_loses_the_same(tmp_path: Path) -> None:
    source = Drawn(header("gpt-oss", tmp_path / "m.gguf"))
    layers = ExpertShapes(source).layers
    less = CutWeights(source, keep_experts(source, {layer.number: np.array([2, 5]) for layer in layers}, ""))
    for info in source.tensors:
        before = source.rows(info.name, 0, info.n_rows).reshape(tuple(reversed(info.shape)))
        cut = next(other for other in less.tensors if other.name == info.name)
        after = less.rows(info.name, 0, cut.n_rows).reshape(tuple(reversed(cut.shape)))
        knows = "exps" in info.name or "ffn_gate_inp" in info.name
        assert np.array_equal(after, before[[2, 5]] if knows else before), info.name


def test_the_most_salient_stay(tmp_path: Path) -> None:
    source = Drawn(header("qwen3moe", tmp_path / "m.gguf"))
    saliency = {n: [float((e * 3 + n) % 8) for e in range(8)] for n in range(4)}
    cut = drop_experts(source, calibration(tmp_path, saliency), 4)
    for n in range(4):
        best = sorted(sorted(range(8), key=lambda e: -saliency[n][e])[:4])
        assert cut.tensors[f"blk.{n}.ffn_up_exps.weight"].experts.tolist() == best
    assert dict(cut.metadata) == {"qwen3moe.expert_count": 4} and "4 of 8" in cut.note


def test_layers_that_were_not_seen_go_by_counts_and_then_by_order(tmp_path: Path) -> None:
    source = Drawn(header("qwen3moe", tmp_path / "m.gguf"))
    counts = {"blk.1.ffn_down_exps.weight": [0, 9, 0, 8, 1, 1, 7, 0]}
    cut = drop_experts(source, calibration(tmp_path, {0: [8.0, *range(7)]}, counts), 3)
    kept = [cut.tensors[f"blk.{n}.ffn_gate_exps.weight"].experts.tolist() for n in range(3)]
    assert kept == [[0, 6, 7], [1, 3, 6], [0, 1, 2]]


def test_a_second_drop_knows_where_its_experts_come_from(tmp_path: Path) -> None:
    source = Drawn(header("qwen3moe", tmp_path / "m.gguf"))
    found = calibration(tmp_path, {n: [1.0, 9.0, 2.0, 8.0, 3.0, 7.0, 4.0, 6.0] for n in range(4)})
    once = CutWeights(source, drop_experts(source, found, 6))
    twice = CutWeights(once, drop_experts(once, found, 3))
    assert source_experts(twice, "blk.0.ffn_down_exps.weight").tolist() == [1, 3, 5]
    straight = CutWeights(source, drop_experts(source, found, 3))
    for info in straight.tensors:
        assert np.array_equal(twice.rows(info.name, 0, info.n_rows), straight.rows(info.name, 0, info.n_rows))


def test_super_experts_are_outliers_and_stay() -> None:
    random = np.random.default_rng(0)
    peaks = [random.uniform(1, 2, 64) for _ in range(8)]
    assert not any(layer.any() for layer in super_experts(peaks))
    peaks[1][7] = 500.0
    found = super_experts(peaks)
    assert [np.flatnonzero(layer).tolist() for layer in found] == [[], [7], *[[]] * 6]
    saliency = np.linspace(1, 2, 64)
    assert 7 in best_experts(protected(saliency, found[1]), 8) and 7 not in best_experts(saliency, 8)
    assert super_experts([]) == []


@given(st.lists(st.floats(0, 1e6), min_size=12, max_size=12), st.sampled_from([1, 2, 3]), st.integers(1, 4))
def test_best_experts_of_each_group(scores: list[float], n_groups: int, each: int) -> None:
    kept = best_experts(np.array(scores), each * n_groups, n_groups)
    assert len(kept) == each * n_groups and (np.diff(kept) > 0).all()
    size = 12 // n_groups
    for group in range(n_groups):
        inside = [index for index in kept if index // size == group]
        outside = [index for index in range(group * size, (group + 1) * size) if index not in inside]
        assert len(inside) == each
        assert not outside or min(scores[i] for i in inside) >= max(scores[i] for i in outside)


class Seen:
    """What the engine computes in the first layer: the router's inputs, and what each expert then adds."""

    def __init__(self, router: str) -> None:
        self.weights = [router]
        self.inputs, self.outputs, self.ids = (np.empty(0, np.float32) for _ in range(3))

    def begin(self) -> None: ...

    def product(self, product: Product) -> None:
        self.inputs = product.inputs.copy()

    def weighted(self, layer: int, outputs: np.ndarray, ids: np.ndarray) -> None:
        if layer == 0:
            self.outputs, self.ids = outputs.copy(), ids.copy()

    def stream(self, layer: int, values: np.ndarray) -> None: ...


def test_experts_and_gates_are_the_engines_own(tmp_path: Path) -> None:
    source = Drawn(header("qwen3moe", tmp_path / "m.gguf"))
    path = write(source, tmp_path / "written.gguf")
    layer = ExpertShapes(source).layers[0]
    seen = Seen(layer.router.name)
    with Engine(path, EngineOptions(64, 64, 1, extra_buffers=False), observe=seen) as engine:
        engine.feed([70, 80, 90, 100, 110])
    gates = softmax_gates(seen.inputs @ source.rows(layer.router.name, 0, 8).T, 2)
    for token, ids in enumerate(seen.ids):
        assert sorted(ids) == np.flatnonzero(gates[token]).tolist()
        for place, expert in enumerate(ids):
            found = gates[token, expert] * expert_outputs(source, layer, expert, seen.inputs[[token]])[0]
            assert np.allclose(found, seen.outputs[token, place], rtol=1e-3, atol=1e-4)


def test_damage_is_what_the_layer_loses(tmp_path: Path) -> None:
    source = Drawn(header("qwen3moe", tmp_path / "m.gguf"))
    layer = ExpertShapes(source).layers[0]
    inputs = np.random.default_rng(4).standard_normal((40, 256), np.float32)
    outputs = np.stack([expert_outputs(source, layer, e, inputs) for e in range(8)], axis=1)
    logits_of_all = inputs @ source.rows(layer.router.name, 0, 8).T
    whole = np.einsum("ne,ned->nd", softmax_gates(logits_of_all, 2), outputs)
    expected = np.zeros(8)
    for expert in range(8):
        without = logits_of_all.copy()
        without[:, expert] = -np.inf
        left = np.einsum("ne,ned->nd", softmax_gates(without, 2), outputs)
        expected[expert] = np.square(whole - left).sum()
    assert np.allclose(expert_damage(source, layer, inputs, 2), expected, rtol=1e-3)
    assert expert_damage(source, layer, inputs, 8).shape == (8,)


def test_damage_ranks_where_it_can_be_computed(tmp_path: Path) -> None:
    inputs = np.random.default_rng(5).standard_normal((1, N_ROWS, 256), np.float32)
    for family, ranked in (("qwen3moe", True), ("gpt-oss", False)):
        source = Drawn(header(family, tmp_path / f"{family}.gguf"))
        layer = ExpertShapes(source).layers[1]
        found = calibration(tmp_path, {1: [1.0] * 8}, samples={layer.router.name: inputs})
        scores = expert_scores(ExpertShapes(source), found, layer, Criterion.DAMAGE)
        assert (len(set(scores)) == 8) == ranked
        assert set(expert_scores(ExpertShapes(source), found, layer, Criterion.SALIENCY)) == {1.0}


def test_a_refitted_router_does_better_on_tokens_it_has_not_seen(tmp_path: Path) -> None:
    source = Drawn(header("qwen3moe", tmp_path / "m.gguf"))
    layer = ExpertShapes(source).layers[0]
    random = np.random.default_rng(2)
    mix = random.standard_normal((6, 256), np.float32)
    inputs, fresh = (random.standard_normal((n, 6), np.float32) @ mix / 2 for n in (1000, 500))
    kept = np.array([0, 1, 3, 6, 7])
    before = make_trial(source, layer, kept, fresh, 2)
    change = refit(make_trial(source, layer, kept, inputs, 2))
    assert before.error(before.logits + fresh @ change.T) < 0.98 * before.error(before.logits)
    every = make_trial(source, layer, np.arange(8), inputs, 2)
    assert every.error(every.logits) < 1e-6 and np.abs(refit(every)).max() < 1e-6


def test_a_recalibrated_cut_loads(tmp_path: Path) -> None:
    source = Drawn(header("qwen3moe", tmp_path / "m.gguf"))
    inputs = np.random.default_rng(3).standard_normal((1, N_ROWS, 256), np.float32)
    names = [layer.router.name for layer in ExpertShapes(source).layers]
    found = calibration(tmp_path, {}, samples={name: inputs for name in names[:2]})
    cut = drop_experts(source, found, 5)
    refitted = recalibrate_routers(source, found, cut)
    assert set(refitted.replaced) <= set(names[:2]) and refitted.tensors == cut.tensors
    assert all(router.shape == (5, 256) for router in refitted.replaced.values())
    path = write(CutWeights(source, refitted), tmp_path / "cut.gguf")
    assert np.isfinite(logits(path)).all()


@pytest.mark.parametrize("family", ["gpt-oss", "deepseek2", "olmoe", "llama4"])
def test_families_whose_routers_are_not_refitted(family: str, tmp_path: Path) -> None:
    source = Drawn(header(family, tmp_path / "m.gguf"))
    found = calibration(tmp_path, {})
    with pytest.raises(UsageError, match="without recalibration"):
        recalibrate_routers(source, found, drop_experts(source, found, 4))
