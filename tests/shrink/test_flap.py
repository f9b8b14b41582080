"""What stays, and that files of every form compute what a dense model with dead channels and biases does."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from sixgig.calibration.moments import Moments
from sixgig.errors import UsageError
from sixgig.families import Role
from sixgig.modelfile import open_model
from sixgig.planning import Task
from sixgig.pruning.dense_tensors import attention_parts, feed_forward_parts
from sixgig.pruning.flap import Compensation, Form, Target, channel_losses, flap, group_losses
from sixgig.weights.cut import Cut, CutWeights
from sixgig.weights.stored import Floats, WeightInfo, Weights
from tests.null.test_plan_context import assert_equal
from tests.shrink.cut_models import CLOSE, Drawn, header, logits, write

N_ROWS = 300
NONE, MEAN, REGRESSION = Compensation.NONE, Compensation.MEAN, Compensation.REGRESSION


@dataclass
class Known:
    """Statistics of drawn inputs: some channels vary much, some hardly."""

    weights: Weights
    rows: dict[str, Floats] = field(default_factory=dict)

    def samples(self, name: str, matrix: int = 0) -> Floats:
        if name not in self.rows:
            n_in = next(info.row_length for info in self.weights.tensors if info.name == name)
            random = np.random.default_rng(len(self.rows))
            related = random.standard_normal((N_ROWS, n_in // 4)) @ random.standard_normal((n_in // 4, n_in))
            self.rows[name] = (related * random.lognormal(size=n_in) / n_in + 0.5).astype(np.float32)
        return self.rows[name]

    def moments(self, name: str) -> Moments:
        rows = self.samples(name)
        counts = np.array([len(rows)])
        return Moments(counts, rows.sum(axis=0)[None], np.square(rows).sum(axis=0)[None])


@pytest.fixture
def llama(tmp_path: Path) -> Drawn:
    return Drawn(header("llama", tmp_path / "header.gguf"))


def removed(weights: Weights, cut: Cut) -> float:
    """Share of the matrices of attention and feed-forward that is gone."""
    sizes = [
        sum(info.n_elements for info in of.tensors if _is_matrix(info))
        for of in (CutWeights(weights, cut), weights)
    ]
    return 1 - sizes[0] / sizes[1]


def _is_matrix(info: WeightInfo) -> bool:
    return info.role in (Role.ATTENTION, Role.FEED_FORWARD) and len(info.shape) > 1


class Dense(Drawn):
    """The whole model, with what a cut leaves of each output matrix and nothing in its other columns."""

    def __init__(self, base: Drawn, cut: Cut) -> None:
        super().__init__(base.model.parts[0])
        left = CutWeights(base, cut)
        for name, change in cut.tensors.items():
            if change.columns is not None and not name.endswith("bias"):
                self.rows(name, 0, 1)
                whole = self._made[name]
                whole[:] = 0.0
                whole[:, change.columns] = left.rows(name, 0, len(whole))
        self._biases = CutWeights(self, Cut(replaced=cut.replaced))

    def write(self, path: Path) -> Path:
        return write(self._biases, path)


@pytest.mark.parametrize(
    ("form", "compensation", "fraction"),
    [
        (Form.ADAPTIVE, REGRESSION, 0.5),
        (Form.ADAPTIVE, MEAN, 0.2),
        (Form.UNIFORM, REGRESSION, 0.2),
        (Form.UNIFORM, NONE, 0.5),
    ],
)
def test_a_llama_computes_what_the_dense_one_with_dead_channels_does(
    llama: Drawn, form: Form, compensation: Compensation, fraction: float, tmp_path: Path
) -> None:
    cut = flap(llama, Known(llama), Target(fraction, form, compensation), tmp_path)
    path = write(CutWeights(llama, cut), tmp_path / "cut.gguf")
    assert open_model(path).architecture == ("deci" if form is Form.ADAPTIVE else "llama")
    assert bool(cut.replaced) == (compensation is not NONE)
    difference = logits(path) - logits(Dense(llama, cut).write(tmp_path / "dense.gguf"))
    assert np.abs(difference).max() < CLOSE
    step = max(part.unit_weights for part in attention_parts(llama)) / 2
    sizes = sum(info.n_elements for info in llama.tensors if _is_matrix(info))
    slack = step if form is Form.ADAPTIVE else 4 * feed_forward_parts(llama)[0].unit_weights / 2
    assert abs(removed(llama, cut) - fraction) <= slack / sizes + 1e-9


@pytest.mark.parametrize("family", ["qwen3", "qwen2", "qwen35", "seed_oss"])
def test_without_biases_the_mean_is_folded(family: str, tmp_path: Path) -> None:
    base = Drawn(header(family, tmp_path / "header.gguf"))
    cut = flap(base, Known(base), Target(0.3), tmp_path)
    assert not any(name.endswith(("attn_output.bias", "ffn_down.bias")) for name in cut.replaced)
    path = write(CutWeights(base, cut), tmp_path / "cut.gguf")
    difference = logits(path) - logits(Dense(base, cut).write(tmp_path / "dense.gguf"))
    assert open_model(path).architecture == family and np.abs(difference).max() < CLOSE
    with pytest.raises(UsageError, match="no bias for a mean"):
        flap(base, Known(base), Target(0.3, compensation=MEAN), tmp_path)
    with pytest.raises(UsageError, match="adaptive form"):
        flap(base, Known(base), Target(0.3, Form.ADAPTIVE), tmp_path)


def test_the_engine_gives_a_deci_file_the_context_that_is_planned(llama: Drawn, tmp_path: Path) -> None:
    cut = flap(llama, Known(llama), Target(0.4), tmp_path)
    heads = cut.metadata["deci.attention.head_count_kv"]
    assert isinstance(heads, list) and len(set(heads)) > 1
    model = open_model(write(CutWeights(llama, cut), tmp_path / "cut.gguf"))
    assert_equal(model, Task(context=300), Task(context=4096, ubatch=128, type_k="Q8_0", type_v="F32"))


@pytest.mark.parametrize("form", Form)
def test_what_stays_are_multiples(llama: Drawn, form: Form, tmp_path: Path) -> None:
    cut = flap(llama, Known(llama), Target(0.4, form, multiple=64), tmp_path)
    for name, change in cut.tensors.items():
        assert change.columns is None or len(change.columns) % 64 == 0, name


@pytest.mark.parametrize("compensation", Compensation)
def test_more_compensation_leaves_less_error(
    llama: Drawn, compensation: Compensation, tmp_path: Path
) -> None:
    """On the sampled inputs: the error of each output is what the method promises."""
    known = Known(llama)
    target = Target(0.5, Form.UNIFORM, compensation)
    cut = flap(llama, known, target, tmp_path)
    left = CutWeights(llama, cut)
    for part in feed_forward_parts(llama):
        name, x = part.output.name, known.samples(part.output.name)
        matrix, columns = llama.rows(name, 0, part.output.n_rows), cut.tensors[name].columns
        bias = cut.replaced.get(name.replace("weight", "bias"), np.zeros(1, np.float32))
        error = x @ matrix.T - x[:, columns] @ left.rows(name, 0, part.output.n_rows).T - bias
        gone = np.setdiff1d(np.arange(part.n_units), columns)
        moved = x[:, gone] - (0 if compensation is NONE else x[:, gone].mean(axis=0))
        plain = np.square(moved @ matrix[:, gone].T).sum()
        found = np.square(error).sum()
        assert found < 0.9 * plain if compensation is REGRESSION else np.isclose(found, plain, rtol=1e-3)


def test_a_bias_that_was_there_stays(tmp_path: Path) -> None:
    base = Drawn(header("llama", tmp_path / "header.gguf"))
    name = "blk.1.ffn_down.bias"
    biased = CutWeights(base, Cut(replaced={name: np.full(base.model.n_embd, 0.5, np.float32)}))
    known = Known(base)
    cuts = [flap(one, known, Target(0.5, compensation=MEAN), tmp_path) for one in (base, biased)]
    assert np.allclose(cuts[1].replaced[name] - cuts[0].replaced[name], 0.5)


def test_scores_are_mean_squared_errors() -> None:
    random = np.random.default_rng(3)
    x, w = random.standard_normal((500, 8)) @ random.standard_normal((8, 8)), random.standard_normal((5, 8))
    deviations = x - x.mean(axis=0)
    errors = [np.square(np.outer(deviations[:, j], w[:, j])).sum() / 500 for j in range(8)]
    assert np.allclose(channel_losses(w, x.var(axis=0)), errors)
    pairs = [np.square(deviations[:, j : j + 2] @ w[:, j : j + 2].T).sum() / 500 for j in range(0, 8, 2)]
    assert np.allclose(group_losses(w, x.var(axis=0), deviations, 4), pairs)
    unrelated = np.add.reduceat(errors, range(0, 8, 2))
    assert np.allclose(group_losses(w, x.var(axis=0), np.empty((0, 8)), 4), unrelated)


def test_what_is_refused(llama: Drawn, tmp_path: Path) -> None:
    for fraction in (-0.1, 0.9999, 1.5):
        with pytest.raises(UsageError, match="cannot be pruned; at most"):
            flap(llama, Known(llama), Target(fraction), tmp_path)
    cut = flap(llama, Known(llama), Target(0.2), tmp_path)
    with pytest.raises(UsageError, match="not calibrated as it is"):
        flap(CutWeights(llama, cut), Known(llama), Target(0.2), tmp_path)
