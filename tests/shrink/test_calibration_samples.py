"""Which rows a sample keeps: uniformly, by their number alone, whatever is killed in between."""

import numpy as np
import pytest

from sixgig.calibration.samples import MAPPED_BYTES, SampleFile, SampleLayout, chosen_slots
from sixgig.errors import BudgetError, ModelFileError

LAYOUT = SampleLayout.of({"a": (2, 5, 3), "b": (1, 4, 2)})


def rows(count, width=3, start=0):
    return (start + np.arange(count, dtype=np.float32))[:, None] * np.ones(width, np.float32)


def test_places_follow_each_other():
    assert (LAYOUT.places["a"].start, LAYOUT.places["b"].start, LAYOUT.size_bytes) == (0, 30, 76)


def test_all_rows_stay_while_there_is_room(tmp_path):
    file = SampleFile(tmp_path / "s", LAYOUT)
    file.offer("a", 1, rows(3))
    file.offer("b", 0, rows(2, 2, 7))
    assert np.array_equal(file.read("a", 1), rows(3)) and np.array_equal(file.read("b", 0), rows(2, 2, 7))
    assert file.read("a", 0).shape == (0, 3)


@pytest.mark.parametrize("step", [1, 2, 7, 50, 100])
def test_the_cut_into_calls_changes_nothing(tmp_path, step):
    whole, pieces = (SampleFile(tmp_path / name, LAYOUT) for name in "wp")
    whole.offer("a", 0, rows(100))
    for start in range(0, 100, step):
        pieces.offer("a", 0, rows(100)[start : start + step])
    assert np.array_equal(whole.read("a", 0), pieces.read("a", 0))
    assert whole.seen["a"].tolist() == pieces.seen["a"].tolist() == [100, 0]


def test_going_on_from_an_older_count_writes_the_same_rows(tmp_path):
    straight, killed = (SampleFile(tmp_path / name, LAYOUT) for name in "sk")
    straight.offer("a", 0, rows(60))
    killed.offer("a", 0, rows(20))
    saved = {name: seen.copy() for name, seen in killed.seen.items()}
    killed.offer("a", 0, rows(60)[20:45])
    again = SampleFile(tmp_path / "k", LAYOUT, saved)
    again.offer("a", 0, rows(60)[20:])
    assert np.array_equal(again.read("a", 0), straight.read("a", 0))


def test_every_row_is_as_likely_to_stay():
    """Over many keys row n of 40 stays with probability 10 / 40, within four deviations."""
    stays, trials = np.zeros(40), 4000
    for key in range(trials):
        slots, kept = chosen_slots(np.arange(40), 10, key * 0x1234567), {}
        for number, slot in enumerate(slots):
            if slot < 10:
                kept[slot] = number
        stays[list(kept.values())] += 1
    deviation = np.sqrt(0.25 * 0.75 / trials)
    assert np.abs(stays / trials - 0.25).max() < 4 * deviation


def test_slots_are_below_the_number_of_rows_seen():
    numbers = np.concatenate([np.arange(5000), 10**12 + np.arange(50)])
    slots = chosen_slots(numbers, 4, 99)
    assert (slots >= 0).all() and (slots <= numbers).all() and slots[:4].tolist() == [0, 1, 2, 3]


def test_values_beyond_float16_are_clipped(tmp_path):
    file = SampleFile(tmp_path / "s", LAYOUT)
    file.offer("b", 0, np.array([[1e9, -1e9]], np.float32))
    assert file.read("b", 0).tolist() == [[65504, -65504]]


def test_little_of_the_file_stays_in_memory(tmp_path):
    file = SampleFile(tmp_path / "s", SampleLayout.of({"a": (40, 100, 4096)}))
    for matrix in range(40):
        file.offer("a", matrix, rows(100, 4096, matrix))
        assert file._touched_bytes <= MAPPED_BYTES
    assert all(np.array_equal(file.read("a", m), rows(100, 4096, m)) for m in (0, 19, 39))


def test_what_is_not_met_takes_no_disk(tmp_path):
    layout = SampleLayout.of({"a": (1000, 1000, 100)})
    file = SampleFile(tmp_path / "s", layout)
    file.offer("a", 3, rows(2, 100))
    file.sync()
    assert file.path.stat().st_size == layout.size_bytes == 2 * 10**8
    assert file.path.stat().st_blocks * 512 < 10**6


def test_a_disk_without_room_is_a_budget_error(tmp_path):
    with pytest.raises(BudgetError, match=r"no room for samples.*needed.*free"):
        SampleFile(tmp_path / "s", SampleLayout.of({"a": (10**6, 10**6, 10**4)}))


def test_samples_cut_short_are_refused(tmp_path):
    file = SampleFile(tmp_path / "s", LAYOUT)
    file.offer("b", 0, rows(4, 2))
    file.sync()
    with file.path.open("r+b") as raw:
        raw.truncate(70)
    with pytest.raises(ModelFileError, match="cut short"):
        file.read("b", 0)
    file.path.unlink()
    with pytest.raises(ModelFileError, match="cannot be read"):
        file.read("b", 0)
