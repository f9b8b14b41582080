"""Narrower experts: which channels stay, and what the others did folded into the last projection."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sixgig.calibration.calibration import Calibration, Progress
from sixgig.calibration.moments import Moments, Stream
from sixgig.calibration.samples import SampleFile, SampleLayout
from sixgig.errors import UsageError
from sixgig.pruning.expert_formula import expert_outputs
from sixgig.pruning.expert_tensors import ExpertShapes
from sixgig.pruning.experts import keep_experts
from sixgig.pruning.widths import best_channels, keep_channels, narrow_experts, squared_columns
from sixgig.weights.cut import CutWeights
from sixgig.weights.cut_file import load_cut, save_cut
from sixgig.weights.stored import Floats, WeightInfo, Weights
from tests.shrink.cut_models import CLOSE, Drawn, header, logits, write

N_EXPERTS, WIDTH, N_SAMPLES = 8, 256, 300


def hidden(weights: Weights, expert: int, inputs: Floats) -> Floats:
    """What an expert's last projection reads, in the first layer."""
    parts = [info.name for info in ExpertShapes(weights).layers[0].inner]
    gate, up = (inputs @ weights.rows(n, expert * WIDTH, (expert + 1) * WIDTH).T for n in sorted(parts))
    return np.asarray(gate / (1 + np.exp(-gate)) * up, np.float32)


def calibrated(weights: Weights, folder: Path, inputs: Floats) -> Calibration:
    """All experts of the first layer met the same inputs; those of other layers none."""
    name = ExpertShapes(weights).layers[0].down.name
    met = [hidden(weights, expert, inputs) for expert in range(N_EXPERTS)]
    layout = SampleLayout.of({name: (N_EXPERTS, N_SAMPLES, WIDTH)})
    file, moments = SampleFile(folder / "samples", layout), Moments.empty(N_EXPERTS, WIDTH)
    for expert, rows in enumerate(met):
        file.offer(name, expert, rows)
        moments.add(expert, rows)
    file.sync()
    stream = Stream(np.zeros(1, np.int64), np.zeros(1))
    done = Progress("", 1, 1, 1, "")
    return Calibration(done, {name: name}, {name: moments}, {}, stream, layout, file.seen, file.path)


def drawn_inputs(n: int, seed: int) -> Floats:
    """Inputs with structure, as a trained model's are: a few directions carry most."""
    mixing = np.random.default_rng(0).standard_normal((12, WIDTH), np.float32) / 3
    random = np.random.default_rng(seed)
    noise = 0.1 * random.standard_normal((n, WIDTH), np.float32)
    return np.asarray(random.standard_normal((n, 12), np.float32) @ mixing + noise, np.float32)


@pytest.fixture
def source(tmp_path: Path) -> Drawn:
    return Drawn(header("qwen3moe", tmp_path / "m.gguf"))


def error(before: Weights, after: Weights, expert: int, inputs: Floats) -> float:
    """Relative squared error of an expert's output in the first layer."""
    whole = expert_outputs(before, ExpertShapes(before).layers[0], expert, inputs)
    cut = expert_outputs(after, ExpertShapes(after).layers[0], expert, inputs)
    return float(np.square(whole - cut).sum() / np.square(whole).sum())


def test_folding_lowers_the_error_on_inputs_not_seen(source: Drawn, tmp_path: Path) -> None:
    found = calibrated(source, tmp_path, drawn_inputs(N_SAMPLES, 1))
    plain = CutWeights(source, narrow_experts(source, found, 128, None))
    folded = CutWeights(source, narrow_experts(source, found, 128, tmp_path / "work"))
    first = [CutWeights(source, keep_channels(source, alike(source, range(128)), {})), plain, folded]
    fresh = drawn_inputs(200, 2)
    errors = np.array([[error(source, cut, e, fresh) for e in range(N_EXPERTS)] for cut in first])
    assert (errors[1] < errors[0]).all() and (errors[2] < 0.8 * errors[1]).all(), errors
    assert np.isfinite(logits(write(folded, tmp_path / "cut.gguf"))).all()


def alike(weights: Weights, kept: range) -> dict[int, np.ndarray]:
    return {
        layer.number: np.tile(np.array(kept), (layer.n_experts, 1)) for layer in ExpertShapes(weights).layers
    }


def test_foldings_are_made_once(source: Drawn, tmp_path: Path) -> None:
    found = calibrated(source, tmp_path, drawn_inputs(N_SAMPLES, 1))
    work = tmp_path / "work"
    first = narrow_experts(source, found, 128, work)
    stamps = {path: path.stat().st_mtime_ns for path in work.iterdir()}
    assert len(stamps) == 4 and all(path.suffix == ".npy" for path in stamps)
    again = narrow_experts(source, found, 128, work)
    assert {path: path.stat().st_mtime_ns for path in work.iterdir()} == stamps
    narrow_experts(source, found, 96, work)
    assert len(list(work.iterdir())) == 8
    save_cut(first, tmp_path / "cut.npz")
    name = "blk.0.ffn_down_exps.weight"
    rows = [
        CutWeights(source, cut).rows(name, 300, 310) for cut in (first, again, load_cut(tmp_path / "cut.npz"))
    ]
    assert np.array_equal(rows[0], rows[1]) and np.array_equal(rows[0], rows[2])


def test_experts_that_met_nothing_keep_their_largest_channels(source: Drawn, tmp_path: Path) -> None:
    found = calibrated(source, tmp_path, drawn_inputs(N_SAMPLES, 1))
    cut = narrow_experts(source, found, 64, tmp_path / "work")
    info = ExpertShapes(source).layers[2].down
    columns = cut.tensors[info.name].columns
    assert np.array_equal(columns, best_channels(squared_columns(source, info), 64))
    plain = CutWeights(source, keep_channels(source, {n: columns for n in range(4)}, {}))
    rows = [weights.rows(info.name, 256, 512) for weights in (CutWeights(source, cut), plain)]
    assert np.array_equal(*rows)


def test_experts_first_and_widths_then(source: Drawn, tmp_path: Path) -> None:
    found = calibrated(source, tmp_path, drawn_inputs(N_SAMPLES, 1))
    fewer = CutWeights(source, keep_experts(source, {n: np.array([1, 4, 6]) for n in range(4)}, ""))
    both = CutWeights(fewer, narrow_experts(fewer, found, 128, tmp_path / "work"))
    straight = CutWeights(source, narrow_experts(source, found, 128, tmp_path / "work"))
    for name in ("ffn_down_exps", "ffn_up_exps", "ffn_gate_exps"):
        info = next(i for i in straight.tensors if i.name == f"blk.0.{name}.weight")
        every = straight.rows(info.name, 0, info.n_rows).reshape(8, -1)
        few = both.rows(info.name, 0, info.n_rows * 3 // 8).reshape(3, -1)
        assert np.array_equal(few, every[[1, 4, 6]])
    with pytest.raises(UsageError, match="has been narrowed before"):
        narrow_experts(both, found, 64, None)


def test_keeping_all_channels_changes_no_byte(source: Drawn, tmp_path: Path) -> None:
    found = calibrated(source, tmp_path, drawn_inputs(N_SAMPLES, 1))
    whole = CutWeights(source, narrow_experts(source, found, WIDTH, tmp_path / "work"))
    for info, cut in zip(source.tensors, whole.tensors, strict=True):
        assert info == cut
        assert np.array_equal(source.rows(info.name, 0, info.n_rows), whole.rows(info.name, 0, info.n_rows))


class Fused:
    """Gate and up of every expert as one tensor."""

    def __init__(self, base: Weights) -> None:
        self.base, self.model, self.changes = base, base.model, base.changes
        renamed = [info for info in base.tensors if "ffn_gate_exps" not in info.name]
        self.tensors = tuple(self._fused(info) for info in renamed)

    @staticmethod
    def _fused(info: WeightInfo) -> WeightInfo:
        if "ffn_up_exps" not in info.name:
            return info
        name, (n_in, width, n_experts) = info.name.replace("ffn_up", "ffn_gate_up"), info.shape
        return WeightInfo(name, (n_in, 2 * width, n_experts), info.type, info.role, info.layer)

    def stored(self, name: str, first: int, last: int) -> None:
        return None

    def rows(self, name: str, first: int, last: int) -> Floats:
        if "ffn_gate_up_exps" not in name:
            return self.base.rows(name, first, last)
        info = next(info for info in self.tensors if info.name == name)
        parts = (name.replace("gate_up", part) for part in ("gate", "up"))
        halves = [
            self.base.rows(p, 0, info.n_rows // 2).reshape(N_EXPERTS, -1, info.row_length) for p in parts
        ]
        return np.concatenate(halves, axis=1).reshape(-1, info.row_length)[first:last]


def test_gate_and_up_in_one_tensor(tmp_path: Path) -> None:
    apart = Drawn(header("qwen35moe", tmp_path / "m.gguf"))
    fused = Fused(apart)
    random = np.random.default_rng(6)
    kept = {
        layer.number: np.sort([random.permutation(WIDTH)[:96] for _ in range(N_EXPERTS)], axis=1)
        for layer in ExpertShapes(apart).layers
    }
    found = []
    for number, weights in enumerate((apart, fused)):
        cut = CutWeights(weights, keep_channels(weights, kept, {}))
        found.append(logits(write(cut, tmp_path / f"{number}.gguf")))
    assert np.abs(found[0] - found[1]).max() < CLOSE
    inputs = drawn_inputs(3, 3)
    outputs = [expert_outputs(w, ExpertShapes(w).layers[1], 5, inputs) for w in (apart, fused)]
    assert np.allclose(*outputs, rtol=1e-4, atol=1e-4)


@given(
    st.lists(st.lists(st.floats(0, 1e9), min_size=9, max_size=9), min_size=1, max_size=4), st.integers(1, 9)
)
def test_best_channels(scores: list[list[float]], width: int) -> None:
    kept = best_channels(np.array(scores), width)
    assert kept.shape == (len(scores), width) and (np.diff(kept, axis=1) > 0).all()
    for row, chosen in zip(scores, kept, strict=True):
        others = [value for index, value in enumerate(row) if index not in chosen]
        assert not others or min(row[index] for index in chosen) >= max(others)
