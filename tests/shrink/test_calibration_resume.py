"""A calibration that is killed goes on, and ends with the same bits."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from sixgig.calibration.calibrate import Calibrator, default_samples
from sixgig.calibration.calibration import FILE, SAMPLES, Calibration
from sixgig.errors import ModelFileError
from sixgig.evaluate import cut
from sixgig.inference.engine import Engine
from sixgig.inference.options import EngineOptions
from sixgig.modelfile import open_model
from sixgig.modelfile.arrays import read_arrays

OPTIONS = EngineOptions(context=256, ubatch=32, threads=2, extra_buffers=False)
N_WINDOWS = 12
TOKENS = [3 + i * i * 7 % 251 for i in range(32 * N_WINDOWS)]


def run_in(folder, path, after=lambda number: None, save_every_s=0.0, settings="", tokens=TOKENS):
    """The calibration, and how many windows this run fed; `after` is called between feeding and saving."""
    model = open_model(path)
    samples = default_samples(model, 10, 6)
    run = Calibrator(model, cut(tokens, 32), folder, samples, settings=settings)
    fed = []
    with Engine(path, OPTIONS, observe=run.collector) as engine:

        def feed(window):
            engine.clear()
            engine.feed(window)
            fed.append(window)
            after(run.progress.n_done)

        return run.run(feed, save_every_s=save_every_s), len(fed)


def assert_same_bits(first: Path, second: Path):
    for name in (FILE, SAMPLES):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_a_killed_run_goes_on_to_the_same_bits(tiny, tmp_path):
    """Killed twice by the system, each time with a window in sums and samples that is not saved."""
    path = tiny("qwen3moe")
    run_in(tmp_path / "straight", path)
    done = []
    for _ in range(2):
        kill_during(path, tmp_path / "killed")
        done.append(Calibration.load(tmp_path / "killed").progress.n_done)
    assert done == [4, 8]
    found, fed = run_in(tmp_path / "killed", path)
    assert fed == N_WINDOWS - done[1] and found.progress.complete
    assert_same_bits(tmp_path / "straight", tmp_path / "killed")


def kill_during(path, folder):
    """Runs this file on `folder`; SIGKILL when a window was read and not saved."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    child = subprocess.Popen(
        [sys.executable, __file__, str(path), str(folder)], stdout=subprocess.PIPE, env=environment
    )
    try:
        assert child.stdout.readline() == b"now\n"
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()


def test_an_interrupt_between_windows_keeps_what_was_saved(tiny, tmp_path):
    path = tiny("llama")

    def stop(number):
        if number == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_in(tmp_path / "w", path, stop)
    _, fed = run_in(tmp_path / "w", path)
    assert fed == N_WINDOWS - 5


def test_a_complete_run_feeds_nothing(tiny, tmp_path):
    path = tiny("llama")
    first, _ = run_in(tmp_path, path)
    again, fed = run_in(tmp_path, path)
    assert fed == 0 and again.progress == first.progress
    assert Calibrator(
        open_model(path), cut(TOKENS, 32), tmp_path, default_samples(open_model(path), 10, 6)
    ).complete


@pytest.mark.parametrize("change", [{"settings": "other"}, {"tokens": TOKENS[::-1]}])
def test_another_run_is_begun_anew(tiny, tmp_path, change):
    path = tiny("llama")
    run_in(tmp_path, path)
    _, fed = run_in(tmp_path, path, **change)
    assert fed == N_WINDOWS


@pytest.mark.parametrize("lost", [FILE, SAMPLES])
def test_a_run_whose_files_are_lost_is_begun_anew(tiny, tmp_path, lost):
    path = tiny("llama")
    first, _ = run_in(tmp_path / "a", path)
    run_in(tmp_path / "b", path)
    (tmp_path / "b" / lost).unlink()
    _, fed = run_in(tmp_path / "b", path)
    assert fed == N_WINDOWS and first.progress.complete
    assert_same_bits(tmp_path / "a", tmp_path / "b")


def test_begun_anew_it_leaves_nothing_of_before(tiny, tmp_path):
    """Killed before its first save, the new run must not be taken for the old, whose samples are gone."""
    path = tiny("llama")
    run_in(tmp_path, path)
    Calibrator(open_model(path), cut(TOKENS, 32), tmp_path, default_samples(open_model(path), 3, 3))
    _, fed = run_in(tmp_path, path)
    assert fed == N_WINDOWS


def test_saves_come_now_and_then(tiny, tmp_path):
    path, saved = tiny("llama"), []

    def look(number):
        saved.append((tmp_path / FILE).exists())

    run_in(tmp_path, path, look, save_every_s=3600)
    assert not any(saved) and (tmp_path / FILE).exists()


def test_progress_rises_to_one(tiny, tmp_path):
    path, told = tiny("llama"), []
    run = Calibrator(open_model(path), cut(TOKENS, 32), tmp_path)
    with Engine(path, OPTIONS, observe=run.collector) as engine:

        def feed(tokens):
            engine.clear()
            engine.feed(tokens)

        run.run(feed, told.append)
    assert told == sorted(told) and told[-1] == 1.0 and len(told) == N_WINDOWS


def test_damaged_files_are_refused(tiny, tmp_path):
    run_in(tmp_path, tiny("llama"))
    path, whole = tmp_path / FILE, (tmp_path / FILE).read_bytes()
    random = np.random.default_rng(2)
    for _ in range(60):
        raw = bytearray(whole)
        for place in random.integers(0, 6000, 3):
            raw[place] = random.integers(0, 256)
        path.write_bytes(raw)
        try:
            Calibration.load(tmp_path)
        except ModelFileError:
            continue
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelFileError):
        Calibration.load(tmp_path)


def test_the_state_is_a_plain_file_of_arrays(tiny, tmp_path):
    run_in(tmp_path, tiny("qwen3moe"))
    header, arrays = read_arrays(tmp_path / FILE)
    assert header.metadata.text("general.type") == "sixgig-calibration"
    assert arrays["blk.0.ffn_down_exps.weight.squares"].shape == (8, 256)
    assert arrays["blk.2.expert_norms"].dtype == np.float64


if __name__ == "__main__":
    model_path, work = map(Path, sys.argv[1:])
    begun = Calibration.load(work).progress.n_done if (work / FILE).exists() else 0

    def pause(number: int) -> None:
        """With four windows saved and the fifth in the sums and samples, wait for the end."""
        if number >= begun + 4:
            print("now", flush=True)
            time.sleep(60)

    run_in(work, model_path, pause)
