"""llama.cpp's own server with dynamic backends, of exactly the pinned build: `python -m bench.stock_server`.

Fetches the sources that the pinned wheel was made from, checks them, builds llama-server in the user's cache
folder and prints its path; what is there already is not built again. Needs CMake, a C++ compiler and, on two
cores, a quarter of an hour. tests/stock runs with it: `scripts/test stock --llama-server PATH`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from platformdirs import user_cache_path

from sixgig.errors import EngineError, SixgigError
from sixgig.llamacpp.pin import WHEEL, WHEEL_VERSION

SDIST_SHA256 = "c17ee1163006f70726abb9f72137830818f3d8cb60bfc34cb232d08428eaa22b"
_SOURCES = Path("thirdparty/llama.cpp")
SERVER, GENERATOR = "llama-server", "test-llama-archs"
FOLDER = user_cache_path("sixgig") / "stock"
_OFF = ("GGML_NATIVE", "LLAMA_BUILD_UI", "LLAMA_CURL", "LLAMA_OPENSSL", "LLAMA_BUILD_EXAMPLES")
_ON = ("BUILD_SHARED_LIBS", "GGML_BACKEND_DL", "LLAMA_BUILD_SERVER", "LLAMA_BUILD_TOOLS")


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(
        description="build llama-server with dynamic backends from the pinned sources"
    )
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where to build")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="compilers side by side")
    options = parser.parse_args(arguments)
    try:
        print(stock_program(SERVER, options.folder, options.jobs))
    except SixgigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def stock_program(name: str, folder: Path = FOLDER, jobs: int = os.cpu_count() or 1) -> Path:
    """SERVER or GENERATOR, built below `folder` where it is not there yet. EngineError: what failed."""
    place = folder / f"{WHEEL}-{WHEEL_VERSION}"
    program = place / "build" / "bin" / name
    if not program.is_file():
        place.mkdir(parents=True, exist_ok=True)
        _build(_sources(place), place / "build", jobs, name)
    return program


def _sources(place: Path) -> Path:
    """llama.cpp's tree inside the wheel's source distribution, which pip checks against the pinned hash."""
    unpacked = place / f"{WHEEL}-{WHEEL_VERSION}" / _SOURCES
    if unpacked.is_dir():
        return unpacked
    with tempfile.TemporaryDirectory(dir=place) as work:
        wanted = Path(work) / "wanted.txt"
        wanted.write_text(f"{WHEEL}=={WHEEL_VERSION} --hash=sha256:{SDIST_SHA256}\n")
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        _run([*pip, "--no-binary", ":all:", "--require-hashes", "-r", str(wanted), "-d", work])
        with tarfile.open(next(Path(work).glob("*.tar.gz"))) as archive:
            archive.extractall(Path(work) / "tree", filter="data")
        shutil.move(Path(work) / "tree" / f"{WHEEL}-{WHEEL_VERSION}", place)
    return unpacked


def _build(sources: Path, build: Path, jobs: int, name: str) -> None:
    cmake = shutil.which("cmake")
    if cmake is None:
        raise EngineError("CMake is missing", "looked for cmake in PATH", "pip install cmake ninja")
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    switches = [*(f"-D{switch}=OFF" for switch in _OFF), *(f"-D{switch}=ON" for switch in _ON)]
    switches.append(f"-DLLAMA_BUILD_TESTS={'ON' if name == GENERATOR else 'OFF'}")
    _run([cmake, "-S", str(sources), "-B", str(build), *generator, "-DCMAKE_BUILD_TYPE=Release", *switches])
    _run([cmake, "--build", str(build), "--parallel", str(jobs), "--target", name, "ggml-cpu"])


def _run(command: list[str]) -> None:
    """Its output is for who waits; EngineError with the command when it fails."""
    done = subprocess.run(command, stdout=sys.stderr)
    if done.returncode:
        raise EngineError(
            "a command failed", f"status {done.returncode}: {' '.join(command[:6])}", "see above"
        )


if __name__ == "__main__":
    sys.exit(main())
