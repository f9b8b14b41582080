"""Every example runs as it stands, on the demo model, and says something.

The notebook's code cells run as one program: what a kernel adds (magics, displays) it does not use, and
ipykernel with nbclient would bring 25 packages into the tests' environment for one file.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
SAYS = {
    "cancel_a_job.py": "ended early: the job was cancelled",
    "chat.py": "prompt tokens evaluated]",
    "generate.py": "tokens/s, loaded in ",
    "plan_models.py": "the demo model: ",
    "score_two_files.py": "divergence (KL): 0.00000 nats a token",
    "serve_and_ask.py": "demo at http://127.0.0.1:",
}


def ran(folder: Path, *arguments: str, typed: str = "") -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"},
        input=typed,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def cells(path: Path) -> list[str]:
    made = json.loads(path.read_text(encoding="utf-8"))
    assert (made["nbformat"], made["nbformat_minor"]) == (4, 5)
    assert not any(cell.get("outputs") for cell in made["cells"]), "clear the outputs before committing"
    return ["".join(cell["source"]) for cell in made["cells"] if cell["cell_type"] == "code"]


def test_there_are_six_scripts_and_a_notebook() -> None:
    assert {path.name for path in SCRIPTS} == set(SAYS) and len(NOTEBOOKS) == 1


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_runs_as_it_stands(script: Path, tmp_path: Path) -> None:
    assert SAYS[script.name] in ran(tmp_path, str(script), typed="What is a PEP?\nAnd then?\n")


def test_a_job_that_ends_before_it_is_cancelled_gives_its_result(tmp_path: Path) -> None:
    assert "done before that: perplexity " in ran(
        tmp_path, str(EXAMPLES / "cancel_a_job.py"), "--after", "100"
    )


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_tells_how_it_is_used(script: Path, tmp_path: Path) -> None:
    told = ran(tmp_path, str(script), "--help")
    assert f"python examples/{script.name}" in told and "usage: " in told


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_runs_from_top_to_bottom(notebook: Path, tmp_path: Path) -> None:
    said = ran(tmp_path, "-c", "\n".join(cells(notebook)))
    assert "100% of the experts: " in said and "raspberry-pi-5-16g" in said
