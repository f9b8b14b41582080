"""A llama-server of the pinned build with dynamic backends, and a model whose experts outweigh all else."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.synthetic.shape import Shape
from bench.synthetic.writer import write_model
from tests.stock.llama_server import MIB


@pytest.fixture(scope="session")
def llama_server(request: pytest.FixtureRequest) -> Path:
    named = request.config.getoption("--llama-server")
    if named is None:
        pytest.skip("needs --llama-server PATH; python -m bench.stock_server builds it")
    return Path(named)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """About 200 MiB, nearly all of it experts."""
    path = tmp_path_factory.mktemp("stock") / "model.gguf"
    write_model(Shape(n_layers=4, n_embd=768, n_experts=128, expert_width=256, n_vocab=4096), path)
    assert path.stat().st_size > 160 * MIB
    yield path
    path.unlink()


@pytest.fixture(scope="session")
def experts(model: Path) -> Path:
    """What `python -m sixgig.pager.manifest` writes for it, with a cache of 40 MiB."""
    path = model.with_suffix(".experts")
    command = [sys.executable, "-m", "sixgig.pager.manifest", str(model), "--cache", "40M"]
    path.write_bytes(subprocess.run(command, check=True, capture_output=True).stdout)
    return path
