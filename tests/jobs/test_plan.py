"""sixgig.jobs.plan: figures as plain attributes, from Python, in silence and from threads."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import pytest

from sixgig.cli.main import main
from sixgig.errors import BudgetError, Cancelled, EngineError, ModelFileError, UsageError
from sixgig.hardware import Absent, Machine, load_machine, save_machine
from sixgig.inference import dry_load, trial
from sixgig.jobs import machines
from sixgig.jobs.candidates import Candidate, recommended
from sixgig.jobs.plan import PlanRequest, PlanResult, plan
from sixgig.modelfile import offers
from sixgig.planning import Refusal, Tier
from tests.described import write
from tests.jobs.reporters import Canceller, Recorder

OLD_CARD, OLD_BOX = "gtx-1060-6g-24g", "cpu-box-2c-24g"
GIB = 1 << 30


@pytest.fixture(scope="module")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write("qwen3-30b", tmp_path_factory.mktemp("mixture") / "model-Q4_K.gguf", routed="Q4_K")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two quantisations, and what is none."""
    made = tmp_path_factory.mktemp("folder")
    for kind in ("Q2_K", "Q4_K"):
        write("qwen3-30b", made / f"model-{kind}.gguf", routed=kind, dense="Q6_K")
    (made / "broken.gguf").write_bytes(b"GGUF and nothing else")
    return made


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A profile stands in for this machine, so that nothing is measured."""
    machine = load_machine(OLD_BOX)
    monkeypatch.setattr(machines, "this_machine", lambda *_, **__: machine)
    return machine


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((dry_load, "engine_figures"), (trial, "require_openable"), (machines, "survey")):
        monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("asked for the engine or measured"))


@pytest.mark.parametrize("task", ["run", "tune", "shrink"])
def test_attributes_are_the_figures_of_the_verbs_document(
    mixture: Path, capsys: pytest.CaptureFixture[str], task: Any
) -> None:
    model = mixture if task != "tune" else write("qwen3-8b", mixture.with_name("dense.gguf"))
    best = plan(model, ram=20 * GIB, vram=0, task=task, machine=OLD_CARD).recommended
    arguments = [str(model), "--ram", "20G", "--vram", "0", "--task", task, "--machine", OLD_CARD, "--json"]
    assert main(["plan", *arguments]) == 0
    told = json.loads(capsys.readouterr().out)["recommended"]
    for name in ("mode", "ram_bytes", "vram_bytes", "disk_bytes", "margin_bytes", "decode_tokens_per_s"):
        assert getattr(best, name) == told[name], name
    for name in ("time_to_first_token_s", "explanation", "quantisation", "size_bytes", "expected_kld"):
        assert getattr(best, name) == told[name], name
    assert best.prompt_tokens_per_s == told.get("prompt_tokens_per_s")
    assert best.work_s == (told.get("seconds_per_step") or told.get("seconds_per_run"))
    assert best.confirmed is told["confirmed_by_engine"] is False
    assert 0 < best.ram_bytes + best.margin_bytes <= 20 * GIB
    assert (task == "run") == isinstance(best.decode_tokens_per_s, float) != isinstance(best.work_s, float)


def test_the_result_is_frozen_and_says_what_it_holds_for(mixture: Path) -> None:
    machine = load_machine(OLD_CARD)
    made = plan(mixture, ram=20 * GIB, vram=4 * GIB, context=2048, machine=machine)
    assert isinstance(made, PlanResult) and made.machine is machine
    assert (made.ram_budget_bytes, made.vram_budget_bytes) == (20 * GIB, 4 * GIB)
    assert made.recommended is made.candidates[0] and made.refused == ()
    assert made.recommended.plan.task.context == 2048
    assert made.alternatives and all(isinstance(other, Candidate) for other in made.alternatives)
    assert (made.lesson, made.disturbances, made.versus) == (None, (), None)
    with pytest.raises(FrozenInstanceError):
        made.name = "another"  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        made.recommended.ram_bytes = 0  # type: ignore[misc]


@pytest.mark.usefixtures("no_engine")
def test_another_machine_needs_no_engine_and_is_a_profile_a_file_or_a_machine(
    mixture: Path, tmp_path: Path
) -> None:
    machine, saved = load_machine(OLD_CARD), tmp_path / "mine.json"
    save_machine(machine, saved)
    first, *others = (plan(mixture, machine=one).recommended for one in (OLD_CARD, saved, machine))
    assert first.decode_tokens_per_s and not first.confirmed
    assert [other.decode_tokens_per_s for other in others] == [first.decode_tokens_per_s] * 2


def test_another_machine_is_planned_for_where_no_engine_is_installed(mixture: Path) -> None:
    code = (
        "import sys, importlib.metadata as m\n"
        "real = m.version\n"
        "def version(name):\n"
        "    if name == 'xllamacpp': raise m.PackageNotFoundError(name)\n"
        "    return real(name)\n"
        "m.version = version\n"
        "sys.modules['xllamacpp'] = None\n"
        "from sixgig.jobs.plan import plan\n"
        f"print(plan(sys.argv[1], machine={OLD_CARD!r}).recommended.decode_tokens_per_s)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(mixture)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == plan(mixture, machine=OLD_CARD).recommended.decode_tokens_per_s


def test_what_is_not_known_is_none_and_the_explanation_says_why(mixture: Path) -> None:
    machine = replace(load_machine(OLD_BOX), disk=Absent("no readable disk"))
    best = plan(mixture, ram=8 * GIB, machine=machine).recommended
    assert best.decode_tokens_per_s is best.prompt_tokens_per_s is best.time_to_first_token_s is None
    assert "no readable disk" in best.explanation and best.mode == "paged"


def test_of_a_folder_what_fits_and_what_is_refused_stand_apart(folder: Path) -> None:
    made = plan(folder, ram=30 * GIB, vram=0, machine=OLD_CARD)
    assert [one.quantisation for one in made.candidates] == ["Q2_K", "Q4_K"]
    assert made.recommended is made.candidates[1] is recommended(made.candidates)
    (refused,) = made.refused
    assert refused.model is None and isinstance(refused.error, ModelFileError)
    assert refused.size_bytes == len(b"GGUF and nothing else")
    assert made.alternatives == () and not made.is_alone


@pytest.mark.usefixtures("here")
def test_what_the_engine_says_stands_in_the_one_recommended_and_among_the_candidates(
    tmp_path: Path,
) -> None:
    made = plan(ram=GIB, context=512)
    assert made.name == "the demo model" and made.recommended.confirmed
    assert made.candidates == (made.recommended,) and made.lesson is not None
    assert not plan(ram=GIB, context=512, dry_load=False).recommended.confirmed


def test_a_second_model_is_planned_within_the_same_budgets(mixture: Path, tmp_path: Path) -> None:
    small = write("qwen3-8b", tmp_path / "small.gguf")
    made = plan(small, versus=mixture, machine=OLD_CARD)
    assert made.versus is not None and made.versus.recommended.model.name != made.recommended.model.name
    assert made.versus.ram_budget_bytes == made.ram_budget_bytes
    alone = plan(mixture, machine=OLD_CARD)
    assert made.versus.recommended.ram_bytes == alone.recommended.ram_bytes


@pytest.mark.usefixtures("here")
def test_nothing_is_printed_and_a_word_about_the_budget_goes_to_the_reporter(
    capfd: pytest.CaptureFixture[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = Recorder()
    for reporter in ({}, {"reporter": heard}):
        plan(folder, ram=1 << 50, dry_load=False, **reporter)
    assert capfd.readouterr() == ("", "")
    assert heard.words("progress") == ["reading headers"]
    (warning,) = heard.words("warn")
    assert "1024.00 TiB" in warning or "1.00 PiB" in warning


@pytest.mark.usefixtures("here")
def test_it_works_from_a_thread_also_where_the_engine_is_asked() -> None:
    found = list[PlanResult]()
    worker = threading.Thread(target=lambda: found.append(plan(ram=GIB, context=512)))
    worker.start()
    worker.join()
    assert [one.recommended.ram_bytes for one in found] == [plan(ram=GIB, context=512).recommended.ram_bytes]
    assert found[0].recommended.confirmed


def test_cancelled_while_headers_are_read_it_reads_no_further(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(16):
        write("qwen3-8b", tmp_path / f"model-{number:02}.gguf")
    canceller, read = Canceller("reading headers"), list[str]()
    kind = type(offers(str(tmp_path))[0])
    really_open = kind.open
    monkeypatch.setattr(kind, "open", lambda self, *rest: read.append(self.name) or really_open(self, *rest))
    with pytest.raises(Cancelled):
        plan(tmp_path, machine=OLD_CARD, reporter=canceller)
    assert len(read) < 16 and len(canceller.fractions) == 1


def test_cancelled_before_it_begins_it_does_nothing(mixture: Path) -> None:
    heard = Recorder()
    heard.cancel()
    with pytest.raises(Cancelled):
        plan(mixture, machine=OLD_CARD, reporter=heard)


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ({"ram": 0}, "--ram of 0 is not possible"),
        ({"ram": "6G"}, "--ram of '6G' is not possible; a whole number is needed"),
        ({"ram": 6.5}, "--ram of 6.5 is not possible"),
        ({"vram": -1}, "--vram of -1 is not possible"),
        ({"context": 0}, "--context of 0 is not possible"),
        ({"context": 1 << 40}, "--context of"),
        ({"prompt_tokens": 0}, "--prompt-tokens of 0 is not possible"),
        ({"ubatch": 0}, "--ubatch of 0 is not possible"),
        ({"task": "cook"}, "there is no task 'cook'; one of run, tune, shrink"),
    ],
)
def test_what_cannot_be_is_refused_when_the_request_is_made(named: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        PlanRequest("model.gguf", **named)


@pytest.mark.parametrize(
    ("named", "kind", "words"),
    [
        ({"model": "nowhere.gguf"}, ModelFileError, "does not exist"),
        ({"machine": "no-such-machine"}, UsageError, "no-such-machine"),
        ({"trace": "nothing.trace"}, UsageError, "no trace file"),
        ({"machine": "raspberry-pi-5-16g", "vram": GIB}, UsageError, "has no GPU with memory of its own"),
    ],
)
def test_what_is_not_there_is_an_error_of_its_kind(named: dict[str, Any], kind: Any, words: str) -> None:
    with pytest.raises(kind, match=words):
        plan(**{"machine": OLD_CARD} | named)


def test_where_nothing_fits_the_error_has_the_smallest_budget_that_does(folder: Path) -> None:
    with pytest.raises(BudgetError, match="even as Q2_K") as refused:
        plan(folder, ram=GIB, vram=0, machine=OLD_CARD)
    assert isinstance(refused.value, Refusal) and refused.value.tier is Tier.RAM
    smallest = refused.value.smallest_bytes
    assert plan(folder, ram=smallest, vram=0, machine=OLD_CARD).recommended.quantisation == "Q2_K"


@pytest.mark.usefixtures("here")
def test_without_an_engine_what_does_not_fit_is_refused_for_that(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise EngineError("xllamacpp is not installed")

    monkeypatch.setattr(dry_load, "engine_figures", lambda *_: fail)
    monkeypatch.setattr(trial, "require_openable", fail)
    with pytest.raises(Refusal):
        plan(ram=20 << 20, vram=0)


def made(quantisation: str, pace: float | None, kld: float | None, weights: float = 1.0) -> Candidate:
    """A candidate of so many billion weights; what rules of recommending do not look at is left out."""
    nothing: Any = None
    size = int(weights * 1e9)
    return Candidate(
        quantisation, quantisation, size, size, kld, "paged", 1, 1, 1, "", nothing, nothing, nothing,
        decode_tokens_per_s=pace,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("on_offer", "best"),
    [
        ([made("small", 20.0, 0.1), made("exact", 11.0, 0.01)], "exact"),
        ([made("small", 20.0, 0.1), made("exact", 9.0, 0.01)], "small"),  # half as fast is too slow
        ([made("lossy", 20.0, 0.4), made("exact", 1.0, 0.01)], "exact"),  # loses too much beside another
        ([made("lossy", 20.0, 0.4), made("worse", 30.0, 0.5)], "lossy"),  # no other: the lesser evil
        ([made("8b", 20.0, 0.01, 8), made("30b", 6.0, 0.1, 30)], "30b"),  # the largest at reading pace
        ([made("8b", 20.0, 0.01, 8), made("30b", 4.0, 0.1, 30)], "8b"),
        ([made("8b", 3.0, 0.01, 8), made("30b", 4.0, 0.1, 30)], "30b"),  # none at that pace: the fastest
        ([made("8b", None, None, 8), made("30b", None, None, 30)], "8b"),  # no speed at all: the first
        ([made("unknown", 10.0, None, 1.0), made("also", 10.0, None, 1.04)], "also"),  # by size
    ],
)
def test_the_one_recommended(on_offer: list[Candidate], best: str) -> None:
    assert recommended(on_offer).quantisation == best
