"""What past runs teach: factors, errors, and from whose runs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sixgig.plan.learning import LATEST, LEAST, MOST, Lesson, Record, lesson, process_bytes
from tests.null.planned import GIB, record


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
