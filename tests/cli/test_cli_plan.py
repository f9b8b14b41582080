"""`sixgig plan`: what it recommends, says and refuses; on made machines, and once on the one it runs on."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sixgig.cli.main import main
from sixgig.errors import ModelFileError
from sixgig.finetune.net import build_net
from sixgig.hardware import Machine, load_machine, this_processor
from sixgig.inference import dry_load
from sixgig.inference.history import past_runs
from sixgig.jobs import machines
from sixgig.modelfile import ModelFile, open_model
from tests.described import write
from tests.tiny.edited import edited
from tests.tiny.renamed import renamed

DEMANDED = {
    "vram_bytes", "ram_bytes", "disk_bytes", "peak_memory_bytes", "decode_tokens_per_s",
    "time_to_first_token_s", "explanation",
}  # fmt: skip
OLD_CARD = "gtx-1060-6g-24g"
Outcome = tuple[int, str, str]
Run = Callable[..., Outcome]


@pytest.fixture
def plan(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> Outcome:
        status = main(["plan", *arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """The box's profile stands in for this machine, so that nothing is measured."""
    machine = load_machine("cpu-box-2c-24g")
    monkeypatch.setattr(machines, "this_machine", lambda *_, **__: machine)
    monkeypatch.setattr(machines, "known_machine", lambda *_, **__: machine)
    monkeypatch.setattr("sixgig.jobs.lessons.known_machine", lambda *_, **__: machine)
    return machine


@pytest.fixture(scope="session")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write("qwen3.5-122b", tmp_path_factory.mktemp("big") / "big-Q4_K.gguf", routed="Q4_K")


def document(plan: Run, *arguments: str) -> dict[str, Any]:
    status, out, err = plan(*arguments, "--json")
    assert status == 0, err
    made: dict[str, Any] = json.loads(out)
    return made


def test_a_huge_model_on_an_old_card(plan: Run, big: Path) -> None:
    told = document(plan, str(big), "--machine", OLD_CARD)
    best = told["recommended"]
    assert set(best) >= DEMANDED
    assert best["mode"] == "paged" and best["gpu_layers"] == 48
    assert best["vram_bytes"] <= 6 << 30 and best["ram_bytes"] <= 24 << 30
    assert best["disk_bytes"] > 30e9
    assert best["disk_limit_cold_tokens_per_s"] < best["disk_limit_60_hits_tokens_per_s"]
    assert best["decode_tokens_per_s"] > 0 and best["confirmed_by_engine"] is False
    assert told["alternatives"] and all(set(other) >= DEMANDED for other in told["alternatives"])
    assert told["alternatives"][0]["gpu_layers"] == 0


def test_the_budget_is_kept_and_a_smaller_one_is_slower(plan: Run, big: Path) -> None:
    wide, narrow = (
        document(plan, str(big), "--machine", OLD_CARD, "--ram", ram, "--vram", "0")["recommended"]
        for ram in ("20G", "9G")
    )
    assert narrow["ram_bytes"] + narrow["margin_bytes"] <= 9 << 30
    assert narrow["decode_tokens_per_s"] < wide["decode_tokens_per_s"]


def test_an_impossible_budget_is_refused_with_the_smallest_that_works(plan: Run, big: Path) -> None:
    status, out, err = plan(str(big), "--machine", OLD_CARD, "--ram", "2G", "--vram", "0")
    assert (status, out) == (1, "")
    assert err.startswith("error: the model does not fit in 2.00 GiB") and err.count("\n") == 1
    smallest = err.rsplit("--ram ", 1)[1].split()[0]
    assert plan(str(big), "--machine", OLD_CARD, "--ram", smallest, "--vram", "0")[0] == 0


def test_of_a_folder_the_best_that_runs_well_is_recommended_and_the_rest_listed(
    plan: Run, tmp_path: Path
) -> None:
    for kind in ("Q2_K", "Q4_K", "Q6_K", "IQ1_S"):
        write("qwen3-30b", tmp_path / f"model-{kind}.gguf", routed=kind, dense="Q6_K")
    (tmp_path / "broken.gguf").write_bytes(b"GGUF and nothing else")
    told = document(plan, str(tmp_path), "--machine", OLD_CARD, "--ram", "30G", "--vram", "0")
    assert told["recommended"]["name"].endswith("model-Q6_K")
    assert {other["name"][-4:] for other in told["alternatives"]} == {"Q2_K", "Q4_K", "Q1_S"}
    assert [refused["name"] for refused in told["refused"]] == ["broken"]
    assert "GGUF" in told["refused"][0]["error"]
    tight = document(plan, str(tmp_path), "--machine", OLD_CARD, "--ram", "10G", "--vram", "0")
    assert tight["recommended"]["name"].endswith(("Q2_K", "Q4_K"))  # what pages far slower is not


def test_a_table_for_people_fits_a_terminal(plan: Run, big: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    (big.parent / "big-UD-IQ2_XXS.gguf").symlink_to(big)
    status, out, _ = plan(str(big.parent), "--machine", OLD_CARD)
    assert status == 0
    assert "tokens/s" in out and "first token" in out and "…" not in out
    assert "estimated from the header" in out and "VRAM:" in out and "hit rates:" in out


def test_a_context_beyond_the_trained_one_is_warned_of(plan: Run, tmp_path: Path) -> None:
    small = str(write("qwen3-8b", tmp_path / "small.gguf"))
    arguments = (small, "--machine", OLD_CARD, "--context")
    assert document(plan, *arguments, "4096")["warnings"] == []
    (warning,) = document(plan, *arguments, "50000")["warnings"]
    status, out, _ = plan(*arguments, "50000")
    assert status == 0 and warning in out and "trained for a context of 40960" in warning


def test_two_models_side_by_side(plan: Run, big: Path, tmp_path: Path) -> None:
    small = write("qwen3-8b", tmp_path / "small.gguf")
    told = document(plan, str(small), "--vs", str(big), "--machine", OLD_CARD)
    assert told["vs"]["ratio"]["memory"] > 3 and told["vs"]["ratio"]["decode_tokens_per_s"] < 0.5
    status, out, _ = plan(str(small), "--vs", str(big), "--machine", OLD_CARD)
    assert status == 0 and "times the memory" in out.splitlines()[-1]


@pytest.mark.parametrize("task", ["tune", "shrink"])
def test_other_work_is_estimated_and_says_so(plan: Run, big: Path, task: str) -> None:
    told = document(plan, str(big), "--task", task, "--machine", OLD_CARD)["recommended"]
    assert told["mode"] == task and told["confirmed_by_engine"] is False
    assert 0 < told["peak_memory_bytes"] + told["margin_bytes"] <= told["ram_budget_bytes"]
    assert told["explanation"].startswith("estimated: ")


def test_a_family_that_cannot_be_tuned_has_no_plan_of_it(plan: Run, tmp_path: Path) -> None:
    """What `tune` refuses is not estimated; other work of it is."""
    other = str(write("gpt-oss-20b", tmp_path / "other.gguf"))
    status, _, err = plan(other, "--task", "tune", "--machine", OLD_CARD)
    assert status == 1 and "gpt-oss cannot be tuned: no declaration of its blocks" in err
    assert plan(other, "--task", "shrink", "--machine", OLD_CARD)[0] == 0


def test_a_file_that_tune_refuses_has_no_plan_of_it(
    plan: Run, tiny: Callable[..., Path], tmp_path: Path
) -> None:
    """Of a family that can be tuned, with a setting that tuning does not compute: the same line."""
    source = tiny("qwen3", "Q8_0")
    path = edited(source, tmp_path / "odd.gguf", {"qwen3.rope.scaling.type": "none of ours"})
    with pytest.raises(ModelFileError) as refused:
        build_net(open_model(path))
    status, out, err = plan(str(path), "--task", "tune", "--machine", OLD_CARD)
    assert (status, out, err) == (1, "", f"error: {refused.value}\n")
    assert plan(str(source), "--task", "tune", "--machine", OLD_CARD)[0] == 0


def test_without_pytorch_tuning_is_planned_by_the_declaration(
    plan: Run, tiny: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert plan(str(tiny("qwen3", "Q8_0")), "--task", "tune", "--machine", OLD_CARD)[0] == 0
    status, _, err = plan(str(tiny("gpt-oss", "Q8_0")), "--task", "tune", "--machine", OLD_CARD)
    assert (status, "architecture gpt-oss cannot be tuned" in err) == (1, True)


@pytest.mark.usefixtures("here")
def test_a_folder_names_the_diffusion_model_that_run_refuses_and_goes_on(
    plan: Run, tiny: Callable[..., Path], tmp_path: Path
) -> None:
    shutil.copy(tiny("qwen3", "Q8_0"), tmp_path / "good.gguf")
    llada = renamed(tiny("llama", "Q8_0"), tmp_path / "llada.gguf", "llada", {})
    for task in ("run", "shrink"):
        told = document(plan, str(tmp_path), "--task", task, "--ram", "2G", "--context", "512")
        assert told["recommended"]["name"] == "good" and told["alternatives"] == []
        (refused,) = told["refused"]
        assert refused["name"] == "llada" and "is a diffusion model (llada)" in refused["error"]
        status, _, err = plan(str(llada), "--task", task, "--ram", "2G", "--context", "512")
        assert status == 1 and err == f"error: {refused['error']}\n"


def test_what_goes_through_the_weights_is_named_by_where_they_are(plan: Run, tmp_path: Path) -> None:
    small = str(write("qwen3-8b", tmp_path / "small.gguf", dense="Q4_K"))
    for vram, who in (
        ("6G", "the GPU goes"),
        ("2G", "the processor and the GPU go"),
        ("0", "the processor goes"),
    ):
        told = document(plan, small, "--machine", OLD_CARD, "--vram", vram)["recommended"]
        assert f"as fast as {who} through the weights" in told["explanation"]


@pytest.mark.usefixtures("here")
def test_the_engine_confirms_a_file_that_is_here(plan: Run) -> None:
    told = document(plan, "--ram", "1G")["recommended"]
    assert told["confirmed_by_engine"] is True and told["mode"] == "unpaged"
    estimate = document(plan, "--ram", "1G", "--no-dry-load")["recommended"]
    assert estimate["confirmed_by_engine"] is False
    tiers = [{tier["name"]: tier["size_bytes"] for tier in plan["ram_tiers"]} for plan in (told, estimate)]
    for name in ("dense weights", "KV cache"):
        assert tiers[0][name] == tiers[1][name]


@pytest.mark.usefixtures("here")
def test_a_run_teaches_the_next_plan(
    plan: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # beside other tests the machine may be calm only later: measured anew, it would be another basis
    monkeypatch.setattr("sixgig.hardware.measurements._is_worth_again", lambda *_, **__: False)
    before, n_runs = document(plan, "--ram", "1G"), len(past_runs())
    threads = str(
        this_processor().cores
    )  # fixed: beside other work fewer compute, and nothing is learned then
    assert (
        main(["bench", "--ram", "1G", "--prompt-tokens", "64", "--tokens", "32", "--threads", threads]) == 0
    )
    capsys.readouterr()
    runs = past_runs()
    assert len(runs) == n_runs + 1 and runs[-1].measured_decode_s > 0
    after = document(plan, "--ram", "1G")
    assert after["lesson"]["n_runs"] == (before["lesson"]["n_runs"] or 0) + 1
    assert "corrected by" in after["learned"]
    if n_runs == 0:
        uncorrected, corrected = (p["recommended"]["decode_tokens_per_s"] for p in (before, after))
        assert corrected == pytest.approx(uncorrected / after["lesson"]["decode_factor"])


def test_a_recorded_trace_gives_the_hit_rates(
    plan: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = tmp_path / "routing.trace"
    words = ["-p", "PEP: 1\nTitle:", "--always-page", "-n", "60", "--temperature", "0", "--trace", str(trace)]
    assert main(["run", "--ram", "1G", *words]) == 0
    capsys.readouterr()
    told = document(plan, "--machine", OLD_CARD, "--trace", str(trace))
    assert told["hit_rates_from"] == "recorded in routing.trace"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.gguf"], "does not exist"),
        (["--machine", "no-such-machine"], "no-such-machine"),
        (["--ram", "lots"], "is not a size"),
        (["--context", "0"], "--context of 0"),
        (["--prompt-tokens", "0"], "--prompt-tokens of 0"),
        (["--machine", "raspberry-pi-5-16g", "--vram", "4G"], "has no GPU"),
        (["--trace", "nothing.trace", "--machine", OLD_CARD], "no trace file"),
        (["--task", "cook"], "cook"),
    ],
)
@pytest.mark.usefixtures("here")
def test_bad_input_is_one_line(plan: Run, arguments: list[str], said: str) -> None:
    status, out, err = plan(*arguments)
    assert status in (1, 2) and out == ""
    assert err.startswith("error: ") and said in err and err.count("\n") == 1


def test_a_machine_without_a_disk_or_with_little_memory_gets_an_answer(
    plan: Run, big: Path, tmp_path: Path
) -> None:
    profile = json.loads(_profile("cpu-box-2c-24g"))
    profile["disk"] = {"reason": "no readable disk"}
    without = tmp_path / "without.json"
    without.write_text(json.dumps(profile))
    told = document(plan, str(big), "--machine", str(without))["recommended"]
    assert told["decode_tokens_per_s"] is None and "no readable disk" in told["explanation"]
    profile["memory"].update(available_bytes=100 << 20, cgroup_limit_bytes=100 << 20)
    without.write_text(json.dumps(profile))
    status, _, err = plan(str(big), "--machine", str(without))
    assert status == 1 and "does not fit" in err


def _profile(name: str) -> str:
    from sixgig.hardware.machine_file import _profile_path

    return _profile_path(name).read_text()


def test_a_copy_of_a_profile_is_the_profile(plan: Run, big: Path, tmp_path: Path) -> None:
    from sixgig.hardware.machine_file import _profile_path

    shutil.copy(_profile_path(OLD_CARD), tmp_path / "mine.json")
    one, other = (
        document(plan, str(big), "--machine", name)["recommended"]["decode_tokens_per_s"]
        for name in (OLD_CARD, str(tmp_path / "mine.json"))
    )
    assert one == other


@pytest.mark.usefixtures("here")
def test_what_the_engine_refuses_is_not_recommended(
    plan: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in ("Q4_K", "Q6_K"):
        write("qwen3-8b", tmp_path / f"model-{kind}.gguf", dense=kind)
    honest = dry_load.engine_figures

    def refusing(model: ModelFile, *rest: Any) -> Any:
        if "Q6_K" in model.parts[0].name:
            raise ModelFileError("llama.cpp cannot load it")
        return honest(model, *rest)

    monkeypatch.setattr(dry_load, "engine_figures", refusing)
    told = document(plan, str(tmp_path), "--ram", "12G")
    assert told["recommended"]["name"].endswith("Q4_K") and told["recommended"]["confirmed_by_engine"]
    assert [refused["error"] for refused in told["refused"]] == ["llama.cpp cannot load it"]


def test_of_several_models_the_largest_at_reading_pace_is_recommended(plan: Run, tmp_path: Path) -> None:
    for name in ("qwen3-8b", "qwen3-30b", "qwen3.5-122b"):
        write(name, tmp_path / f"{name}.gguf", routed="Q4_K", dense="Q4_K")
    told = document(plan, str(tmp_path), "--machine", OLD_CARD)
    assert told["recommended"]["name"].endswith("qwen3-30b")  # 122b pages at 3 tokens/s, 8b is smaller
    status, out, _ = plan(str(tmp_path), "--machine", OLD_CARD)
    assert status == 0 and all(name in out for name in ("qwen3-8b", "> qwen3-30b", "qwen3.5-122b"))
