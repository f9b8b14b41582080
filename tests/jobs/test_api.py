"""What `import sixgig` offers, and that nothing reaches into the command line for it."""

import ast
import inspect
import os
import re
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest

import sixgig
from sixgig.inference import SamplingOptions
from sixgig.inference.sampling import MAX_SEED
from sixgig.jobs.opening import demo_path
from tests.cli.shrink_source import SMALL, written_text

ROOT = Path(__file__).parents[2]
JOBS = {
    "doctor": "DoctorRequest",
    "load": "LoadRequest",
    "plan": "PlanRequest",
    "score": "ScoreRequest",
    "serve": "ServeRequest",
    "shrink": "ShrinkRequest",
    "tune": "TuneRequest",
}
SNIPPET = """
import sixgig
with sixgig.load("model.gguf", ram=6 << 30, context=4096) as model:
    for piece in model.generate("The interpreter", max_tokens=64, temperature=0):
        print(piece, end="")
    print(model.stats.hit_rate, model.stats.peak_memory_bytes)
print(sixgig.plan("model.gguf", ram=6 << 30).recommended.decode_tokens_per_s)
print(sixgig.score("model.gguf", text="book.txt").perplexity)
"""
MANUAL = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", MANUAL, re.DOTALL)
# Shrinking takes minutes unless it is told to hurry, as the tests of the verb tell it.
HURRY = """
import pytest, sixgig
from tests.cli.shrink_source import quicken
quicken(pytest.MonkeyPatch())
"""
PATIENCE_S = 400  # the first plan measures this machine, again and again while others keep it busy
CHAT = '{"messages": [{"role": "user", "content": "%d?"}, {"role": "assistant", "content": "%d."}]}\n'


def program(code: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def folder(tmp_path: Path, tiny: Any) -> Path:
    """With all that the manual names."""
    (tmp_path / "model.gguf").symlink_to(demo_path())
    shutil.copy(tiny("qwen3moe", "F16", **SMALL), tmp_path / "model-BF16.gguf")
    (tmp_path / "book.txt").write_text("This PEP describes a change to the language. " * 200)
    (tmp_path / "mixed.txt").write_text(written_text(0, 130))
    (tmp_path / "chats.jsonl").write_text("".join(CHAT % (n, n) for n in range(9)))
    return tmp_path


def imports_of(path: Path) -> set[str]:
    """Modules that a file imports, wherever in it."""
    found = set[str]()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_importing_it_imports_nothing_heavy() -> None:
    code = "import sys; before = set(sys.modules); import sixgig; print(*sorted(set(sys.modules) - before))"
    loaded = program(code, ROOT).split()
    assert [name for name in loaded if name.partition(".")[0] == "sixgig"] == ["sixgig"]
    heavy = ("numpy", "ctypes", "gguf", "typer", "rich", "httpx", "pydantic", "psutil", "jinja2", "torch")
    assert not set(heavy) & set(loaded)


def test_names_are_listed_typed_and_found() -> None:
    stub = ast.parse(Path(sixgig.__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    typed = {alias.name for node in imports for alias in node.names}
    assert sorted(typed) == sorted(sixgig.__all__)
    assert typed == set(dir(sixgig))
    aliases = {"Message", "Thinking"}
    for name in sixgig.__all__:
        assert name in aliases or getattr(sixgig, name).__name__ == name
    assert all(get_origin(getattr(sixgig, name)) for name in aliases)
    with pytest.raises(AttributeError, match="sing"):
        _ = sixgig.sing  # type: ignore[attr-defined]


def test_no_room_takes_the_place_of_a_name() -> None:
    """A package that is imported becomes an attribute of the one it lies in."""
    assert not {path.stem for path in Path(sixgig.__file__).parent.iterdir()} & set(sixgig.__all__)


@pytest.mark.parametrize("name", JOBS)
def test_the_arguments_of_a_job_are_its_requests_fields_and_all_are_told(name: str) -> None:
    job, request = getattr(sixgig, name), getattr(sixgig, JOBS[name])
    named = {field.name for field in fields(request)}
    assert set(inspect.signature(job).parameters) == named
    told = inspect.getdoc(job) or ""
    assert not [field for field in named - {"reporter"} if not re.search(rf"\b{field}\b", told)]
    assert request.__dataclass_params__.frozen


def test_all_that_decides_how_tokens_are_chosen_is_told_with_its_default() -> None:
    told, options = inspect.getdoc(sixgig.Model.generate) or "", SamplingOptions()
    for name in sixgig.Sampling.__annotations__:
        assert re.search(rf"\b{name}\b", told)
    for name in ("temperature", "top_k", "top_p", "min_p", "xtc_threshold", "mirostat_tau", "mirostat_eta"):
        assert f"{name} ({getattr(options, name):g}" in told
    assert str(MAX_SEED) in told


@pytest.mark.parametrize("name", JOBS)
def test_only_what_a_job_works_on_is_told_apart_by_its_place(name: str) -> None:
    parameters = inspect.signature(getattr(sixgig, name)).parameters.values()
    placed = {one.name for one in parameters if one.kind is not one.KEYWORD_ONLY}
    assert placed <= {"model", "models", "data", "output", "disk"}


@pytest.mark.parametrize("name", JOBS)
def test_a_signature_shows_types_and_values_and_the_reporter_last(name: str) -> None:
    signature = inspect.signature(getattr(sixgig, name))
    shown = str(signature)
    assert not [one for one in signature.parameters.values() if isinstance(one.annotation, str)]
    assert not isinstance(signature.return_annotation, str)
    assert " at 0x" not in shown and "<factory>" not in shown
    assert list(signature.parameters)[-1] == "reporter"
    for method in (sixgig.Model.generate, sixgig.Model.chat, sixgig.Dialogue.ask):
        assert " at 0x" not in str(inspect.signature(method))


@pytest.mark.parametrize("name", JOBS)
def test_none_may_be_said_wherever_a_signature_shows_it(name: str) -> None:
    parameters = inspect.signature(getattr(sixgig, name)).parameters.values()
    allowing = [one for one in parameters if type(None) in get_args(one.annotation)]
    assert {"reporter"} <= {one.name for one in allowing if one.default is None}
    assert not [one for one in allowing if one.default is not None]


@pytest.mark.timeout(PATIENCE_S)
def test_the_first_program_runs_as_it_stands(folder: Path) -> None:
    *_, took, speed, perplexity = program(SNIPPET, folder).splitlines()
    hit_rate, peak_bytes = took.split()
    assert hit_rate == "None" and 0 < int(peak_bytes) < 6 << 30
    assert float(speed) > 0 and float(perplexity) > 1


@pytest.mark.timeout(PATIENCE_S)
def test_the_code_of_the_manual_runs_as_it_stands(folder: Path) -> None:
    assert len(BLOCKS) > 10
    program(HURRY + "\n".join(BLOCKS), folder)


def test_the_manual_tells_every_way_in_which_a_text_ends() -> None:
    (told,) = re.findall(r"`result.finish` is (.*?)\. `model.stats`", MANUAL, re.DOTALL)
    known = re.findall(r'"(\w*)"', (inspect.getdoc(sixgig.Generation) or "").partition("finish:")[2])
    assert set(re.findall(r'`"(\w*)"`', told)) == set(known) >= {"", "end", "length"}


def test_the_manual_says_what_requests_are_for() -> None:
    assert "`LoadRequest`" in MANUAL and "`sixgig.load(**vars(request))`" in MANUAL
    with sixgig.load(**vars(sixgig.LoadRequest(context=256))) as model:
        assert model.context == 256


def test_the_manual_says_which_verbs_are_functions() -> None:
    (told,) = re.findall(r"`sixgig run` is `sixgig.load`; (.*?)\. `import sixgig`", MANUAL, re.DOTALL)
    functions, verbs_only = (re.findall(r"`(\w+)`", part) for part in told.split(";"))
    assert {*functions, "load"} == set(JOBS)
    assert not set(verbs_only) & set(sixgig.__all__)


def test_the_manual_names_what_is_offered() -> None:
    offered = set(sixgig.__all__) - set(JOBS.values())
    kept = {
        "Answer",
        "Dialogue",
        "DoctorResult",
        "Generation",
        "Model",
        "ModelStats",
        "PagingOptions",
        "PlanResult",
    }
    results = {"ScoreResult", "Server", "ShrinkResult", "TuneResult"}
    assert [name for name in offered - kept - results if not re.search(rf"\b{name}\b", MANUAL)] == []


@pytest.mark.parametrize("room", ["bench", "examples", "sixgig"])
def test_nothing_imports_the_command_line(room: str) -> None:
    allowed = (ROOT / "sixgig" / "cli", ROOT / "sixgig" / "__main__.py")
    files = [
        path for path in (ROOT / room).rglob("*.py") if not any(path.is_relative_to(own) for own in allowed)
    ]
    assert len(files) > 4
    reach = {
        path: names
        for path in files
        if (names := {n for n in imports_of(path) if n.startswith("sixgig.cli")})
    }
    assert not reach


def test_jobs_neither_print_nor_read_what_is_typed_nor_look_at_a_terminal() -> None:
    words = re.compile(
        r"(?<![\w.])(print|input)\(|sys\.(stdin|stdout|stderr|exit)|isatty|parse_(size|memory)"
    )
    jobs = sorted((ROOT / "sixgig" / "jobs").glob("*.py"))
    assert len(jobs) > 10
    found = [
        (path.name, line) for path in jobs for line in path.read_text().splitlines() if words.search(line)
    ]
    assert not found
