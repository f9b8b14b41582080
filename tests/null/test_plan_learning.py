"""What past runs teach: factors, errors, and from whose runs."""

from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sixgig.hardware.conditions import DISTURBED
from sixgig.planning.budget import Mode
from sixgig.planning.learning import LATEST, LEAST, MOST, Lesson, Record, basis_of, lesson, process_bytes
from sixgig.planning.nominal import NOMINAL_CORE
from tests.null.planned import BOX, GIB, NONE, record


def taught(*records: Record, model: str = "m") -> Lesson:
    return lesson(records, "here", model, GIB, "paged")


def runs(*decode_s: float) -> list[Record]:
    return [record(measured_decode_s=seconds) for seconds in decode_s]


def test_without_runs_nothing_is_corrected() -> None:
    assert taught() == Lesson()
    assert "uncorrected" in taught().explain()


def test_factors_are_medians_of_measured_over_predicted() -> None:
    told = taught(*runs(1.5, 4.0, 2.0))
    assert (told.decode_factor, told.prompt_factor, told.n_runs) == (2.0, 3.0, 3)


def test_only_the_latest_runs_count() -> None:
    told = taught(*runs(*[4.0] * 30, *[2.0] * LATEST))
    assert (told.decode_factor, told.n_runs) == (2.0, LATEST)


def test_runs_of_the_same_model_silence_all_others() -> None:
    others = [record(model="other", measured_decode_s=4.0)] * 20
    assert taught(*others).decode_factor == 4.0 and not taught(*others).same_model
    told = taught(*runs(1.5), *others)
    assert (told.decode_factor, told.n_runs, told.same_model) == (1.5, 1, True)
    assert "this model" in told.explain() and "other models" in taught(*others).explain()


RATIOS = st.floats(1e-3, 1e3)
NEAR = st.floats(0.8, 1.25)
DISTURBANCES = st.floats(0.0, 16.0)


def of_others(*decode_s: float, **changes: object) -> list[Record]:
    """One run each of as many other models."""
    return [
        record(model=f"o{number}", measured_decode_s=seconds, **changes)
        for number, seconds in enumerate(decode_s)
    ]


@given(st.lists(NEAR, max_size=15), RATIOS, DISTURBANCES, st.integers(0, 15))
def test_one_run_however_bad_never_moves_other_models_beyond_what_the_rest_says(
    good: list[float], bad: float, disturbance: float, place: int
) -> None:
    runs = of_others(*good)
    runs.insert(place, record(model="bad", measured_decode_s=bad, disturbance=disturbance))
    assert min([1.0, *good]) <= taught(*runs).decode_factor <= max([1.0, *good])


@given(st.lists(RATIOS, max_size=15), st.floats(DISTURBED, 16.0))
def test_runs_beside_other_work_teach_nothing_about_other_models(
    seconds: list[float], disturbance: float
) -> None:
    told = taught(*of_others(*seconds, disturbance=disturbance))
    assert (told.decode_factor, told.prompt_factor, told.n_runs) == (1.0, 1.0, 0)


@given(NEAR, st.lists(st.tuples(RATIOS, st.floats(0.5, 16.0)), max_size=20))
def test_a_calm_run_of_a_model_silences_its_runs_beside_other_work(
    calm: float, busy: list[tuple[float, float]]
) -> None:
    runs = [record(measured_decode_s=seconds, disturbance=much) for seconds, much in busy]
    for place in (0, len(runs)):
        told = taught(*runs[:place], record(measured_decode_s=calm), *runs[place:])
        assert (told.decode_factor, told.n_runs) == (calm, 1)


def test_where_no_run_was_calm_the_calmest_count() -> None:
    runs = [record(measured_decode_s=s, disturbance=d) for s, d in ((9.0, 4.0), (2.0, 0.5), (2.2, 0.6))]
    assert (taught(*runs).decode_factor, taught(*runs).n_runs) == (2.0, 2)


@given(st.lists(RATIOS, min_size=1, max_size=15))
def test_runs_that_were_predicted_from_other_measurements_teach_no_speed(seconds: list[float]) -> None:
    own = [record(measured_decode_s=each, basis="before", measured_peak_bytes=800) for each in seconds]
    told = taught(*own, *of_others(*seconds, basis="before"))
    assert (told.decode_factor, told.n_runs, told.same_model) == (1.0, 0, False)
    assert told.peak_error == pytest.approx(0.25), "memory does not rest on them"


def test_of_two_runs_of_a_model_the_quicker_counts() -> None:
    assert taught(*runs(1.1, 9.0)).decode_factor == taught(*runs(9.0, 1.1)).decode_factor == 1.1


def test_many_runs_of_other_models_do_teach() -> None:
    assert taught(*of_others(3.0, 3.0)).decode_factor == 1.0
    assert taught(*of_others(3.0, 3.0, 3.0)).decode_factor == 3.0


@pytest.mark.parametrize(
    ("change", "modes"),
    [
        ({"kernels": NONE}, ["paged", "unpaged"]),
        ({"memory": replace(BOX.memory, bandwidth_bytes_per_s=1e9)}, ["paged", "unpaged"]),
        ({"disk": replace(BOX.disk, reads=NONE)}, ["paged"]),
        ({"memory": replace(BOX.memory, available_bytes=5), "name": "other"}, []),
    ],
)
def test_a_basis_is_of_the_measurements_that_a_mode_rests_on(
    change: dict[str, Any], modes: list[Mode]
) -> None:
    box, every = replace(BOX, kernels=NOMINAL_CORE), get_args(Mode)
    assert [mode for mode in every if basis_of(replace(box, **change), mode) != basis_of(box, mode)] == [
        mode for mode in every if mode in modes
    ]


@pytest.mark.parametrize("change", [{"machine": "elsewhere"}, {"mode": "unpaged"}])
def test_other_machines_and_modes_teach_nothing(change) -> None:
    assert taught(record(measured_decode_s=4.0, **change)) == Lesson()
    assert taught(*runs(1.5), record(measured_decode_s=4.0, **change)).decode_factor == 1.5


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=20))
def test_factors_stay_within_bounds(seconds: list[float]) -> None:
    assert LEAST <= taught(*runs(*seconds)).decode_factor <= MOST
    assert taught(*runs(1e9)).decode_factor == MOST and taught(*runs(1e-9)).decode_factor == LEAST


def test_what_was_not_predicted_or_not_measured_is_no_ratio() -> None:
    nothing = [record(predicted_decode_s=0.0), record(measured_decode_s=0.0)]
    assert (taught(*nothing).decode_factor, taught(*nothing).typical_error) == (1.0, None)
    assert taught(*runs(4.0), *nothing).decode_factor == 4.0
    assert taught(record(measured_prompt_s=0.0)).prompt_factor == 1.0


def test_the_typical_error_is_of_predictions_with_the_factor_known_before_each() -> None:
    first = taught(*runs(2.0))
    assert first.typical_error == pytest.approx(0.5)  # said 1 s, took 2 s
    third = taught(*runs(2.0, 2.0, 2.0))
    assert third.typical_error == 0.0  # errors 0.5, 0 and 0
    assert taught(*runs(2.0, 4.0)).typical_error == pytest.approx(0.5)  # said 1, then 2


def test_the_error_of_peak_memory_is_a_median_too() -> None:
    peaks = [record(measured_peak_bytes=peak) for peak in (0, 800, 1000, 1250)]
    assert taught(*peaks).peak_error == pytest.approx(0.2)  # 0.25, 0 and 0.2; none of what was not measured
    assert taught(record(measured_peak_bytes=0)).peak_error is None


def test_joules_come_from_metered_runs_of_the_same_model_only() -> None:
    metered = [record(joules_per_token=joules) for joules in (1.0, None, 5.0, 3.0)]
    assert taught(*metered).joules_per_token == 3.0
    assert taught(record(model="other", joules_per_token=9.0)).joules_per_token is None


def test_the_process_is_as_large_as_in_its_latest_run_here() -> None:
    latest = record(process_bytes=70, program_bytes=40, mode="unpaged", model="other")
    others = [record(machine="elsewhere", process_bytes=99), record(process_bytes=0)]
    assert process_bytes([record(), latest, *others], "here") == (70, 40)
    assert process_bytes(others, "here") is None
