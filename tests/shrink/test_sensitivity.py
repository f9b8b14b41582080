"""Two parts told apart by levels of noise; groups; resuming; and what follows for costs."""

from collections.abc import Callable, Mapping, Sequence
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sixgig.compress.distortion import Distortion
from sixgig.compress.sensitivity import (
    LEVELS,
    Noise,
    Sensitivity,
    _sensitivity,
    expected,
    grouped,
    marginal,
    measure_sensitivities,
    with_unreached,
)
from sixgig.compress.types import can_be_quantised
from sixgig.families import family
from sixgig.modelfile import TYPE_BY_NAME, open_model
from sixgig.weights.stored import StoredWeights, WeightInfo

Tiny = Callable[..., Path]
PARTS = st.floats(0, 50) | st.floats(1e-4, 1e-2)


def divergence(linear: float, routing: float, error: float) -> float:
    return linear * error + sqrt(routing * error)


@given(PARTS, PARTS, st.integers(1, 5))
def test_both_parts_come_back_from_the_levels(linear: float, routing: float, n: int) -> None:
    found = _sensitivity([divergence(linear, routing, level) for level in LEVELS], n)
    assert n * found.linear == pytest.approx(linear, rel=1e-4, abs=1e-5)
    assert n * found.routing == pytest.approx(routing, rel=1e-4, abs=1e-5)


@given(st.lists(st.floats(-0.01, 10), min_size=len(LEVELS), max_size=len(LEVELS)))
def test_whatever_was_measured_no_part_is_negative(found: list[float]) -> None:
    """Noise in the measurement: a high level below a low one, or any below nothing."""
    made = _sensitivity(found, 1)
    assert made.linear >= 0 and made.routing >= 0 and np.isfinite([made.linear, made.routing]).all()


@given(PARTS, st.floats(0.9, 1.1), st.floats(0.9, 1.1))
def test_a_tenth_of_noise_in_the_measurement_moves_the_whole_little(
    routing: float, first: float, second: float
) -> None:
    exact = [divergence(1.0, routing, level) for level in LEVELS]
    found = _sensitivity([exact[0] * first, exact[1] * second, *exact[2:]], 1)
    for level, nats in zip(LEVELS, exact, strict=True):
        assert divergence(found.linear, found.routing, level) == pytest.approx(nats, rel=0.25)


class Model:
    """Stands for a model under noise: errors of each tensor add up as the formula says."""

    def __init__(self, parts: Mapping[str, tuple[float, float]]) -> None:
        self.parts, self.levels, self.runs = parts, dict[str, float](), 0
        self.history: list[tuple[str, ...]] = []

    def set(self, levels: Mapping[str, float]) -> None:
        self.levels = dict(levels)
        self.history.append(tuple(levels))

    def divergence(self) -> float:
        self.runs += 1
        errors = [(*self.parts[name], level) for name, level in self.levels.items()]
        return sum(a * r for a, _, r in errors) + sqrt(sum(c * r for _, c, r in errors))


PARTS_OF: dict[str, tuple[float, float]] = {"a": (2.0, 0.01), "b": (0.5, 0.0), "c": (0.0, 3.0)}


def measured(model: Model, groups: Sequence[tuple[str, ...]], known: dict[str, float], **options: Any) -> Any:
    keep = options.pop("keep", lambda found: None)
    return measure_sensitivities(model, groups, model.divergence, known, keep, **options)  # type: ignore[arg-type]


def test_each_group_is_disturbed_by_itself_and_the_model_left_in_peace() -> None:
    model = Model(PARTS_OF)
    found = measured(model, [("a",), ("b",), ("c",)], {})
    for name, (linear, routing) in PARTS_OF.items():
        assert found[name].linear == pytest.approx(linear, abs=1e-5)
        assert found[name].routing == pytest.approx(routing, abs=1e-5)
    n = len(LEVELS)
    assert model.runs == 3 * n and model.levels == {}
    assert [names for names in model.history if names] == [("a",)] * n + [("b",)] * n + [("c",)] * n


def test_a_group_shares_what_was_measured_of_it() -> None:
    found = measured(Model({"a": (2.0, 0.02), "b": (2.0, 0.02)}), [("a", "b")], {})
    assert found["a"] == found["b"]
    assert found["a"].linear == pytest.approx(2.0) and found["a"].routing == pytest.approx(0.02)


def test_what_is_known_is_not_measured_again() -> None:
    """Killed at any group, the result is the same and only the rest is run."""
    groups = [("a",), ("b",), ("c",)]
    kept: list[dict[str, float]] = []
    told: list[float] = []
    whole = measured(Model(PARTS_OF), groups, {}, keep=lambda k: kept.append(dict(k)), progress=told.append)
    assert told == pytest.approx([1 / 3, 2 / 3, 1]) and len(kept) == 3
    for done, known in enumerate(kept, 1):
        model = Model(PARTS_OF)
        assert measured(model, groups, dict(known)) == whole
        assert model.runs == len(LEVELS) * (3 - done)


SENSITIVITIES = {name: Sensitivity(*parts) for name, parts in PARTS_OF.items()}


@given(st.dictionaries(st.sampled_from("abc"), st.floats(1e-4, 0.3)))
def test_expected_adds_linear_parts_and_squares_of_routing(errors: dict[str, float]) -> None:
    linear = sum(PARTS_OF[name][0] * r for name, r in errors.items())
    routing = sum(PARTS_OF[name][1] * r for name, r in errors.items())
    assert expected(SENSITIVITIES, errors) == pytest.approx(linear + sqrt(routing))


@given(st.fixed_dictionaries({name: st.floats(0.001, 0.3) for name in "abc"}), st.sampled_from("abc"))
def test_marginal_costs_are_the_derivative_of_what_is_expected(errors: dict[str, float], name: str) -> None:
    step = 1e-4 * errors[name]
    more = expected(SENSITIVITIES, {**errors, name: errors[name] + step})
    less = expected(SENSITIVITIES, {**errors, name: errors[name] - step})
    slope = (more - less) / (2 * step)
    assert marginal(SENSITIVITIES, errors)[name] == pytest.approx(slope, rel=1e-4, abs=1e-7)


def test_marginal_costs_are_finite_without_any_error() -> None:
    assert all(np.isfinite(cost) for cost in marginal(SENSITIVITIES, {}).values())
    assert marginal({}, {}) == {} and expected({}, {}) == 0


def kind(name: str) -> str:
    """Embedding and head are a kind each."""
    return name.split(".", 2)[-1] if name.startswith("blk.") else name


@pytest.mark.parametrize("most", [1, 12, 24, 1000])
@pytest.mark.parametrize("architecture", ["qwen3moe", "llama"])
def test_groups_hold_every_matrix_once_and_neighbours_of_a_kind(
    tiny: Tiny, architecture: str, most: int
) -> None:
    weights = StoredWeights(open_model(tiny(architecture)))
    layer = {info.name: info.layer for info in weights.tensors if can_be_quantised(info)}
    names = list(layer)
    groups = grouped(filter(can_be_quantised, weights.tensors), most)
    assert sorted(name for group in groups for name in group) == sorted(names)
    assert len(groups) <= max(most, len({kind(name) for name in names}))
    for group in groups:
        assert len({kind(name) for name in group}) == 1
        layers = [layer[name] for name in group]
        assert layers[0] is None or layers == list(range(layers[0], layers[0] + len(layers)))
    if most == 1000:
        assert all(len(group) == 1 for group in groups)


def test_what_the_text_does_not_reach_is_taken_for_as_sensitive_as_its_role() -> None:
    """Token prediction is not run, nor image experts: no divergence does not mean that they are of no use."""
    names = [f"blk.{at}.ffn_down.weight" for at in range(3)]
    names += ["blk.0.attn_q.weight", "blk.2.nextn.eh_proj.weight", "blk.0.vis_down.weight"]
    kind = TYPE_BY_NAME["F16"]
    tensors = [WeightInfo(name, (256, 64), kind, *family("any").classify(name)) for name in names]
    reached = {
        names[0]: Sensitivity(1.0, 0.0),
        names[1]: Sensitivity(3.0, 2.0),
        names[3]: Sensitivity(5.0, 4.0),
    }
    found = with_unreached(reached, tensors)
    assert list(found) == [*reached, names[2], names[4], names[5]]
    assert reached.items() <= found.items()
    assert found[names[2]] == found[names[5]] == Sensitivity(2.0, 1.0), "of its role"
    assert found[names[4]] == Sensitivity(3.0, 2.0), "of all"
    assert with_unreached({}, tensors)[names[0]] == Sensitivity(0.0, 0.0)


def test_noise_has_the_power_asked_for_and_depends_on_names_alone() -> None:
    noise = Noise(["a", "b"], {"a": Distortion({}, 4.0), "b": Distortion({}, 1.0)})
    outputs = []
    for levels in ({"a": 0.25}, {"a": 0.25}, {"a": 0.01}, {"b": 0.25}):
        noise.set(levels)
        assert [noise.wants(name) for name in "abc"] == [name in levels for name in "abc"]
        outputs.append(np.zeros((1, 1, 300, 200), np.float32))
        noise.disturb(next(iter(levels)), outputs[-1], False)
    powers = [float(np.mean(each.astype(float) ** 2)) for each in outputs]
    assert powers == pytest.approx([1.0, 1.0, 0.04, 0.25], rel=0.02)
    assert np.array_equal(outputs[0], outputs[1])
    assert np.allclose(outputs[2], outputs[0] / 5, rtol=1e-5)
    assert not np.allclose(outputs[3], outputs[0] / 2)


def test_noise_on_rows_looked_up_goes_by_their_own_power() -> None:
    noise = Noise(["a"], {"a": Distortion({}, 1e6)})
    noise.set({"a": 0.04})
    rows = np.full((1, 1, 100, 256), 3.0, np.float32)
    noise.disturb("a", rows, True)
    assert float(np.mean((rows - 3.0) ** 2)) == pytest.approx(0.04 * 9, rel=0.03)
