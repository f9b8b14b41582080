"""`sixgig.jobs.tune.tune`: called from Python, it is the verb's work without a word of its own."""

import dataclasses
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from sixgig.cli.main import main
from sixgig.cli.tune_tables import tune_document
from sixgig.errors import BudgetError, Cancelled, ModelFileError, UsageError
from sixgig.finetune.state import load_state
from sixgig.finetune.verdict import Outcome
from sixgig.jobs.reporter import HeldOutLoss, Reporter, TuneStep
from sixgig.jobs.tune import TuneRequest, TuneResult, tune
from sixgig.modelfile import open_model
from tests.serve.ollama_server import rewritten
from tests.tune.tune_command import HALVED, N_LAYERS, Capture, digest, half_demo, tuned

SMALL = {"context": 64, "batch": 128, "rank": 4, "threads": 2}
N_STEPS = 3
MEASURED = ("joules", "seconds", "seconds_per_step", "bytes_read", "adapter", "output", "within_budget")


def job(data: Path, out: Path, **options: Any) -> TuneResult:
    return tune(half_demo(), data, out, **{"steps": N_STEPS, **SMALL, **options})


class Recording(Reporter):
    """Keeps what it is told; on_step is called after each step."""

    def __init__(self, on_step: Callable[[], object] = lambda: None) -> None:
        super().__init__()
        self.words, self.steps, self.losses = list[str](), list[TuneStep](), list[HeldOutLoss]()
        self._on_step = on_step

    def say(self, words: str) -> None:
        self.words.append(words)

    def plan(self, words: str) -> None:
        self.words.append(words)

    def warn(self, words: str) -> None:
        self.words.append(words)

    def step(self, step: TuneStep) -> None:
        self.steps.append(step)
        self._on_step()

    def held_out(self, loss: HeldOutLoss) -> None:
        self.losses.append(loss)


@pytest.fixture(scope="module")
def heard() -> Recording:
    """By who listened to `whole`."""
    return Recording()


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory, heard: Recording) -> TuneResult:
    """A run that nothing cut short; strings are paths too."""
    return job(str(data), str(tmp_path_factory.mktemp("whole") / "out"), reporter=heard)


def test_a_call_from_a_thread_gives_what_the_verb_gives_and_prints_nothing(
    data: Path, tmp_path: Path, capfd: Capture
) -> None:
    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(job, data, tmp_path / "thread").result()
    assert capfd.readouterr() == ("", "")
    told = tuned(capfd, data, tmp_path / "verb", "--steps", str(N_STEPS))
    assert digest(tmp_path / "thread") == digest(tmp_path / "verb")
    document = json.loads(json.dumps(tune_document(result)))
    assert document.keys() == told.keys()
    for name in document.keys() - {*MEASURED}:
        if not name.endswith("_bytes"):
            assert document[name] == told[name], name


def test_the_result_is_typed_and_frozen(whole: TuneResult) -> None:
    folder = whole.folder
    assert whole.adapter == folder / "adapter.gguf" and whole.adapter.is_file() and whole.merged is None
    assert whole.steps == len(whole.losses) == whole.recipe.steps == N_STEPS
    assert whole.held_out[0] == (0, whole.loss_before)
    assert (whole.best_step, whole.loss_after) == min(whole.held_out, key=lambda seen: seen[1])
    assert isinstance(whole.verdict.outcome, Outcome)
    assert 0 < whole.peak_memory_bytes <= whole.plan.ram_budget_bytes
    assert whole.targets == ("attention", "dense", "shared") and (whole.rank, whole.alpha) == (4, 8.0)
    assert whole.seconds_per_step > 0 and whole.bytes_read > 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        whole.steps = 7  # type: ignore[misc]


def test_the_reporter_hears_of_every_step_and_every_held_out_loss(
    whole: TuneResult, heard: Recording
) -> None:
    assert [(step.step, step.planned) for step in heard.steps] == [(1, 3), (2, 3), (3, 3)]
    assert tuple(step.loss for step in heard.steps) == whole.losses
    assert sum(step.tokens for step in heard.steps) == whole.tokens
    assert tuple((loss.step, loss.loss) for loss in heard.losses) == whole.held_out
    assert [loss.step for loss in heard.losses if loss.is_lowest][-1] == whole.best_step
    assert any("predicted peak" in words for words in heard.words)


def test_a_run_cancelled_from_another_thread_goes_on_to_the_same_bits(
    data: Path, tmp_path: Path, whole: TuneResult
) -> None:
    second = threading.Event()
    reporter = Recording(lambda: second.set() if len(reporter.steps) == 2 else None)
    out = tmp_path / "out"
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(job, data, out, reporter=reporter)
        assert second.wait(300)
        reporter.cancel()
        with pytest.raises(Cancelled):
            running.result()
    assert "--resume" in reporter.words[-1] and not (out / "adapter.gguf").exists()
    assert 2 <= load_state(out / "state.safetensors").progress.step < N_STEPS
    result = job(data, out, resume=True)
    assert digest(out) == digest(whole.folder)
    assert (result.losses, result.held_out) == (whole.losses, whole.held_out)


class Impatient(Recording):
    """Cancels the job at its n-th look, where that is after so many steps."""

    def __init__(self, looks: int, after: int) -> None:
        super().__init__()
        self._looks, self._after = looks, after

    def check(self) -> None:
        if len(self.steps) >= self._after:
            self._looks -= 1
        if not self._looks:
            self.cancel()
        super().check()


@pytest.mark.parametrize(("looks", "where"), [(3, "loss"), (28, "_backward")])
def test_a_run_cancelled_within_a_step_forgets_that_step_alone(
    data: Path, tmp_path: Path, whole: TuneResult, looks: int, where: str
) -> None:
    out = tmp_path / "out"
    with pytest.raises(Cancelled) as raised:
        job(data, out, reporter=Impatient(looks, after=1))
    assert where in [entry.name for entry in raised.traceback]
    assert load_state(out / "state.safetensors").progress.step == 1
    job(data, out, resume=True)
    assert digest(out) == digest(whole.folder)


@pytest.mark.parametrize("looks", [1, 30])
def test_a_run_cancelled_before_its_first_step_leaves_nothing(data: Path, tmp_path: Path, looks: int) -> None:
    with pytest.raises(Cancelled):
        job(data, tmp_path / "out", reporter=Impatient(looks, after=0))
    assert not (tmp_path / "out").exists()


def test_merging_that_is_cancelled_is_done_again_by_resuming(
    data: Path, tmp_path: Path, whole: TuneResult
) -> None:
    class NoMerging(Reporter):
        def shown(
            self, label: str, begins: bool, size_bytes: int | None
        ) -> AbstractContextManager[Callable[[float], object]]:
            return nullcontext((lambda fraction: self.cancel()) if "merging" in label else float)

    out, merged = tmp_path / "out", tmp_path / "merged.gguf"
    with pytest.raises(Cancelled):
        job(data, out, merge=merged, reporter=NoMerging())
    assert not merged.exists()
    result = job(data, out, merge=merged, resume=True)
    assert result.merged == merged and open_model(merged).size_bytes > 0
    assert digest(out) == digest(whole.folder) and "merged into" in result.findings[0]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"targets": ("wheels", "dense")}, "'wheels,dense' names no part"),
    ({"targets": ()}, "names no part"),
    ({"targets": "attention,dense"}, "names no part"),
    ({"optimizer": "sgd"}, "'sgd'; known: adamw, muon"),
    ({"ram": 0}, "--ram"),
    ({"ram": 1 << 70}, "--ram"),
    ({"ram": "8G"}, "--ram of '8G' is not possible; a whole number is needed; sizes are bytes"),
    ({"steps": 2.5}, "--steps of 2.5 is not possible; a whole number"),
    ({"seed": "7"}, "--seed"),
    ({"vram": -1}, "--vram"),
    ({"rank": 0}, "--rank"),
    ({"context": 1}, "--context"),
    ({"epochs": 0}, "--epochs"),
    ({"learning_rate": float("nan")}, "--learning-rate"),
    ({"alpha": float("inf")}, "--alpha"),
    ({"save_every_s": -1.0}, "--save-every"),
    ({"merge": "out/merged.gguf"}, "among the adapter's own files"),
    ({"merge": "nowhere/merged.gguf"}, "no folder"),
]


@pytest.mark.parametrize(("options", "named"), REFUSED, ids=lambda value: str(value)[:30])
def test_what_cannot_be_is_refused_when_it_is_asked_for(options: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        TuneRequest("model.gguf", "data.jsonl", "out", **options)


def test_a_single_part_may_be_named_by_itself() -> None:
    assert TuneRequest("m", "d", "o", targets="attention").parts == ("attention",)


@pytest.mark.parametrize(
    ("options", "error", "named"),
    [
        ({"ram": 300 << 20}, BudgetError, "try --ram"),
        ({"context": 1 << 20}, UsageError, "trained for"),
        ({"resume": True}, UsageError, "no run to go on with"),
        ({"vram": 8 << 30}, UsageError, "no GPU"),
        ({"held_out": ""}, UsageError, "cannot read"),
    ],
)  # fmt: skip
def test_what_only_reading_can_tell_is_refused_and_leaves_nothing(
    data: Path, tmp_path: Path, options: dict[str, Any], error: type[Exception], named: str
) -> None:
    with pytest.raises(error, match=named):
        job(data, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_no_model_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError):
        tune(data, data, tmp_path / "out")


def test_by_default_documents_are_no_longer_than_the_model_was_trained_for(
    data: Path, tmp_path: Path, capfd: Capture
) -> None:
    """It used to be refused as if 1024 had been asked for."""
    model = rewritten(tmp_path / "short.gguf", HALVED | {"qwen35moe.context_length": 256}, N_LAYERS)
    command = ["tune", str(model), str(data), "-o", str(tmp_path / "out"), "--steps", "1", "--batch", "128"]
    assert main([*command, "--context", "1024"]) == 2
    assert "--context of 1024 is longer than the model was trained for; 256 tokens" in capfd.readouterr().err
    assert main([*command, "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert told["steps"] == 1 and told["tokens_per_step"] <= 256


def test_asking_imports_no_pytorch() -> None:
    code = (
        "import sys; from sixgig.jobs.tune import TuneRequest, TuneResult, tune; "
        "TuneRequest('m.gguf', 'd.jsonl', 'out', targets=('experts',), optimizer='muon'); "
        "assert not {'torch', 'safetensors', 'rich'} & sys.modules.keys(), sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100)
