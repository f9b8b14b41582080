"""Fixtures for all tests."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.tiny.models import build

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before the engine loads: spinning starves others

# A busy machine is no failure: pytest's timeout ends what hangs.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

# Measurements and records of runs go to a folder of this session's own, never to the user's.
_HOME = tempfile.mkdtemp(prefix="sixgig-tests-")
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
os.environ["XDG_CACHE_HOME"] = f"{_HOME}/cache"
os.environ["XDG_DATA_HOME"] = f"{_HOME}/data"

SHARED = Path(__file__).resolve().parents[2] / "shared" / "models" / "pep-moe-31m" / "pep-moe-31m-BF16.gguf"


@pytest.fixture(autouse=True)
def nobody_types(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """stdin is empty, for what runs within the tests' own process."""
    with open(os.devnull) as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        yield


def pytest_addoption(parser: pytest.Parser) -> None:
    """For tests/stock, which run below a llama.cpp that is not ours, and tests/real."""
    parser.addoption(
        "--llama-server", help="a llama-server with dynamic backends (python -m bench.stock_server)"
    )
    parser.addoption(
        "--all-models",
        action="store_true",
        help="tests/real: with all models of scripts/fixtures",
    )


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`tiny("qwen35moe", "Q4_K", n_experts=16)`: as tests.tiny.models.build, each made once. Read only."""
    made: dict[object, Path] = {}

    def make(architecture: str, type_name: str = "Q4_0", **options: int) -> Path:
        key = (architecture, type_name, *sorted(options.items()))
        if key not in made:
            made[key] = build(
                architecture, tmp_path_factory.mktemp("tiny") / f"{architecture}.gguf", type_name, **options
            )
        return made[key]

    return make


@pytest.fixture(scope="session")
def shared_model() -> Path:
    """The trained model beside the checkout."""
    if not SHARED.is_file():
        pytest.skip("the trained model is not beside this checkout (../shared/models)")
    return SHARED
