"""Errors by type against plain numpy on the same rows."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sixgig.compress import distortion as measuring
from sixgig.compress import types
from sixgig.compress.distortion import Distortion, measure_distortions, rounding_of_inputs
from sixgig.compress.types import bits, can_be_quantised, candidates
from sixgig.families import Role
from sixgig.llamacpp.blocks import dequantise_rows, quantise_rows
from sixgig.modelfile import TYPE_BY_NAME, open_model
from sixgig.weights.stored import Floats, StoredWeights, WeightInfo

Tiny = Callable[..., Path]
SIZES = {"n_layers": 1, "n_experts": 4}
QUICK = ("Q2_K", "Q3_K", "Q4_K", "Q6_K")


@pytest.fixture(scope="module")
def weights(tiny: Tiny) -> StoredWeights:
    return StoredWeights(open_model(tiny("qwen3moe", "F16", **SIZES)))


def importance(name: str) -> Floats | None:
    if "embd" in name:
        return None
    shape = (SIZES["n_experts"], 256) if "exps" in name else (1, 256)
    return np.random.default_rng(len(name)).uniform(0.01, 9, shape).astype(np.float32)


@pytest.fixture(scope="module")
def found(weights: StoredWeights) -> Mapping[str, Distortion]:
    return measured(weights)


def measured(weights: StoredWeights, threads: int = 2, **options: Any) -> Mapping[str, Distortion]:
    """Without the types whose tables take seconds, and of few rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(types, "_SUPER_BLOCKS", QUICK)
        patch.setattr(measuring, "SAMPLE_ELEMENTS", options.pop("elements", 1 << 14))
        return measure_distortions(weights, importance, threads, **options)


def direct(weights: StoredWeights, info: WeightInfo, type_name: str) -> float:
    """Over all rows: the error of products over the products, in float64."""
    kind, wrong, whole = TYPE_BY_NAME[type_name], 0.0, 0.0
    inputs = importance(info.name)
    for matrix in range(info.n_matrices):
        first = matrix * info.rows_per_matrix
        rows = weights.rows(info.name, first, first + info.rows_per_matrix)
        row = None if inputs is None else np.ascontiguousarray(inputs[min(matrix, len(inputs) - 1)])
        size = len(rows), info.row_length // kind.block_elements * kind.block_bytes
        blocks, back = np.empty(size, np.uint8), np.empty_like(rows)
        quantise_rows(kind.id, rows, row, blocks)
        dequantise_rows(kind.id, blocks, back)
        squares = np.ones(info.row_length) if row is None else row.astype(float)
        wrong += float(((back.astype(float) - rows) ** 2 @ squares).sum())
        whole += float((rows.astype(float) ** 2 @ squares).sum())
    return wrong / whole


def test_errors_are_those_of_numpy_on_all_rows(
    weights: StoredWeights, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = ("blk.0.ffn_down_exps.weight", "blk.0.attn_q.weight", "token_embd.weight")
    monkeypatch.setattr(weights, "tensors", tuple(i for i in weights.tensors if i.name in wanted))
    found = measured(weights, elements=1 << 30)
    for info in weights.tensors:
        for name in ("Q2_K", "Q4_K", "Q5_1", "IQ4_NL", "Q8_0"):
            error = found[info.name].errors[name] - rounding_of_inputs(TYPE_BY_NAME[name])
            # Rows come in eight runs of neighbours, which need not be all of them.
            assert error == pytest.approx(direct(weights, info, name), rel=0.01), (info.name, name)
        assert found[info.name].errors["F16"] == 0


def test_samples_give_about_the_whole(weights: StoredWeights, found: Mapping[str, Distortion]) -> None:
    info = next(info for info in weights.tensors if info.name == "blk.0.ffn_up_exps.weight")
    error = found[info.name].errors["Q3_K"]
    assert error == pytest.approx(direct(weights, info, "Q3_K"), rel=0.05)


def test_power_is_the_mean_square_of_a_product(
    weights: StoredWeights, found: Mapping[str, Distortion]
) -> None:
    for info in weights.tensors:
        if not can_be_quantised(info) or "exps" not in info.name:
            continue
        rows = weights.rows(info.name, 0, info.n_rows).astype(float)
        inputs = importance(info.name)
        assert inputs is not None
        squares = np.repeat(inputs.astype(float), info.rows_per_matrix, axis=0)
        assert found[info.name].power == pytest.approx((rows**2 * squares).sum(axis=1).mean(), rel=0.05)


def test_more_bits_of_a_kind_are_less_wrong(found: Mapping[str, Distortion]) -> None:
    errors = found["blk.0.ffn_down_exps.weight"].errors
    assert errors["Q2_K"] > errors["Q3_K"] > errors["Q4_K"] > errors["Q6_K"] > errors["Q8_0"] > 0


def test_what_cannot_change_has_no_error(weights: StoredWeights, found: Mapping[str, Distortion]) -> None:
    assert set(found) == {info.name for info in weights.tensors}
    for info in weights.tensors:
        if not can_be_quantised(info):
            assert found[info.name] == Distortion({info.type.name: 0.0}, 0.0)


def test_what_is_known_is_taken_and_the_rest_measured(
    weights: StoredWeights, found: Mapping[str, Distortion], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {name: Distortion({"Q8_0": 7.0}, 3.0) for name in list(found)[:-2]}
    asked: list[str] = []
    rows = weights.rows
    monkeypatch.setattr(weights, "rows", lambda name, *place: asked.append(name) or rows(name, *place))
    told: list[float] = []
    again = measured(weights, known=known, progress=told.append)
    assert {name: again[name] for name in known} == known
    assert {name: again[name] for name in again if name not in known} == {
        name: found[name] for name in found if name not in known
    }
    assert set(asked) <= set(found) - set(known) and told[-1] == 1


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_change_nothing(
    weights: StoredWeights, found: Mapping[str, Distortion], threads: int
) -> None:
    assert measured(weights, threads) == found


def test_memory_is_read_in_few_rows(weights: StoredWeights, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    rows = weights.rows

    def reading(name: str, first: int, last: int) -> Floats:
        read.append(last - first)
        return rows(name, first, last)

    monkeypatch.setattr(weights, "rows", reading)
    measured(weights, elements=256 * 64)
    assert max(read) <= 64


def test_candidates_fit_rows_and_end_in_the_source_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(types, "_SUPER_BLOCKS", QUICK)
    info = WeightInfo("blk.0.attn_q.weight", (96, 64), TYPE_BY_NAME["BF16"], Role.ATTENTION, 0)
    names = [kind.name for kind in candidates(info)]
    assert names == ["Q4_0", "IQ4_NL", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "BF16"]
    assert [bits(kind) for kind in candidates(info)] == sorted(bits(kind) for kind in candidates(info))
    small = WeightInfo("blk.0.attn_q.weight", (256, 64), TYPE_BY_NAME["Q4_K"], Role.ATTENTION, 0)
    assert [kind.name for kind in candidates(small)] == ["Q2_K", "Q3_K", "Q4_K"]


@pytest.mark.parametrize(
    ("name", "shape", "role"),
    [
        ("blk.0.attn_norm.weight", (256,), Role.NORM),
        ("blk.0.ffn_gate_inp.weight", (256, 8), Role.ROUTER),
        ("blk.0.ffn_down_exps.bias", (256, 8), Role.ATTENTION),
        ("blk.0.attn_q.weight", (256, 3), Role.ATTENTION),
        ("blk.0.attn_q.weight", (40, 64), Role.ATTENTION),
    ],
)
def test_what_steers_or_fits_no_block_keeps_its_type(name: str, shape: tuple[int, ...], role: Role) -> None:
    info = WeightInfo(name, shape, TYPE_BY_NAME["F32"], role, 0)
    assert not can_be_quantised(info) and candidates(info) == (TYPE_BY_NAME["F32"],)
