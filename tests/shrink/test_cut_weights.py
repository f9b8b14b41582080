"""What is left of a model after a cut, row by row, against plain indexing of whole tensors."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sixgig.errors import ReadError
from sixgig.families import Role
from sixgig.modelfile import open_model
from sixgig.weights.cut import Cut, CutWeights, TensorCut
from sixgig.weights.stored import Floats, StoredWeights, WeightInfo

Tiny = Callable[..., Path]
EXPERTS = "blk.0.ffn_up_exps.weight"
N, ROWS, COLUMNS = 4, 256, 256


@pytest.fixture(scope="module")
def base(tiny: Tiny) -> StoredWeights:
    return StoredWeights(open_model(tiny("qwen3moe", "F16", n_layers=1, n_experts=N)))


def whole(weights: CutWeights | StoredWeights, name: str) -> Floats:
    return weights.rows(name, 0, info_of(weights, name).n_rows)


def info_of(weights: CutWeights | StoredWeights, name: str) -> WeightInfo:
    return next(info for info in weights.tensors if info.name == name)


def chosen(of: int, least: int = 1) -> st.SearchStrategy[np.ndarray]:
    """Indices, ascending."""
    sets = st.sets(st.integers(0, of - 1), min_size=least, max_size=min(of, 12))
    return sets.map(lambda found: np.array(sorted(found), np.int64))


@st.composite
def cuts(draw: st.DrawFn) -> TensorCut:
    """Any of the three axes; rows and columns for all experts alike or each its own."""
    experts = draw(st.none() | chosen(N))
    left = N if experts is None else len(experts)

    def axis(of: int) -> np.ndarray | None:
        kind, count = draw(st.sampled_from(["none", "alike", "own"])), draw(st.integers(1, 9))
        if kind == "none":
            return None
        random = np.random.default_rng(draw(st.integers(0, 99)))
        picked = [np.sort(random.permutation(of)[:count]) for _ in range(1 if kind == "alike" else left)]
        return picked[0] if kind == "alike" else np.stack(picked)

    return TensorCut(experts, axis(ROWS), axis(COLUMNS))


def oracle(base: StoredWeights, cut: TensorCut) -> Floats:
    values = whole(base, EXPERTS).reshape(N, ROWS, COLUMNS)
    values = values if cut.experts is None else values[cut.experts]
    left = []
    for number, matrix in enumerate(values):
        for axis, indices in ((0, cut.rows), (1, cut.columns)):
            if indices is not None:
                matrix = matrix.take(indices if indices.ndim == 1 else indices[number], axis)
        left.append(matrix)
    return np.concatenate(left)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts(), st.floats(0, 1), st.floats(0, 1))
def test_any_rows_of_any_cut_are_those_of_plain_indexing(
    base: StoredWeights, cut: TensorCut, start: float, stop: float
) -> None:
    weights, expected = CutWeights(base, Cut({EXPERTS: cut})), oracle(base, cut)
    info = info_of(weights, EXPERTS)
    assert (info.n_rows, info.row_length) == expected.shape
    assert info.n_matrices == (N if cut.experts is None else len(cut.experts))
    first, last = sorted((int(start * (info.n_rows - 1)), 1 + int(stop * (info.n_rows - 1))))
    last = max(last, first + 1)
    found = weights.rows(EXPERTS, first, last)
    assert found.dtype == np.float32 and found.flags.c_contiguous
    assert np.array_equal(found, expected[first:last])
    assert weights.stored(EXPERTS, first, last) is None


@pytest.mark.parametrize("kind", [np.float32, np.float16])
@pytest.mark.parametrize("own", [True, False])
def test_folded_columns_are_a_product_with_the_folding(
    base: StoredWeights, tmp_path: Path, own: bool, kind: type
) -> None:
    columns = np.arange(0, COLUMNS, 2)
    random = np.random.default_rng(0)
    folding = random.standard_normal((2 if own else 1, COLUMNS, len(columns))).astype(kind)
    np.save(tmp_path / "folding.npy", folding)
    cut = TensorCut(np.array([1, 3]), None, columns, tmp_path / "folding.npy")
    weights = CutWeights(base, Cut({EXPERTS: cut}))
    source = whole(base, EXPERTS).reshape(N, ROWS, COLUMNS)[[1, 3]]
    expected = np.concatenate(
        [matrix @ folding[at if own else 0].astype(np.float32) for at, matrix in enumerate(source)]
    )
    assert info_of(weights, EXPERTS).shape == (len(columns), ROWS, 2)
    assert np.allclose(weights.rows(EXPERTS, 200, 300), expected[200:300], atol=1e-4)


def test_whole_tensors_pass_through_to_the_byte(base: StoredWeights) -> None:
    weights = CutWeights(base, Cut({EXPERTS: TensorCut(np.array([0]))}))
    for info in base.tensors:
        if info.name != EXPERTS:
            assert info_of(weights, info.name) == info
            assert np.array_equal(whole(weights, info.name), whole(base, info.name))
            assert np.array_equal(weights.stored(info.name, 0, 1), base.stored(info.name, 0, 1))


def test_replaced_and_new_tensors_stand_as_given(base: StoredWeights) -> None:
    router, bias = "blk.0.ffn_gate_inp.weight", "blk.0.exp_probs_b.bias"
    given = {router: np.ones((3, 256), np.float32), bias: np.arange(3, dtype=np.float32)}
    weights = CutWeights(base, Cut(replaced=given, metadata={"qwen3moe.expert_count": 3}))
    names = [info.name for info in weights.tensors]
    assert names[: len(base.tensors)] == [info.name for info in base.tensors] and names[-1] == bias
    found = info_of(weights, router)
    assert (found.shape, found.type.name, found.role) == ((256, 3), "F32", Role.ROUTER)
    assert info_of(weights, bias).shape == (3,) and info_of(weights, bias).type.name == "F32"
    assert np.array_equal(whole(weights, router), given[router])
    assert np.array_equal(whole(weights, bias), given[bias].reshape(1, 3))
    assert weights.stored(router, 0, 1) is None
    assert weights.changes == {"qwen3moe.expert_count": 3}


def test_a_cut_of_a_cut(base: StoredWeights) -> None:
    first = CutWeights(base, Cut({EXPERTS: TensorCut(np.array([0, 2, 3]))}, metadata={"a": 1, "b": 1}))
    rows = np.arange(0, ROWS, 5)
    second = CutWeights(first, Cut({EXPERTS: TensorCut(np.array([1, 2]), rows)}, metadata={"b": 2}))
    expected = whole(base, EXPERTS).reshape(N, ROWS, COLUMNS)[[2, 3]][:, rows].reshape(-1, COLUMNS)
    assert np.array_equal(whole(second, EXPERTS), expected)
    assert second.changes == {"a": 1, "b": 2} and second.model is base.model


def test_rows_of_a_file_that_became_shorter_are_an_error(tiny: Tiny, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(tiny("llama", "F16", n_layers=1).read_bytes())
    weights = StoredWeights(open_model(path))
    last = weights.tensors[-1]
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size // 2)
    with pytest.raises(ReadError, match=rf"ends inside {last.name}"):
        whole(weights, last.name)
