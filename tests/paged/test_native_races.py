"""native/ under the thread sanitizer: races/driver.cpp loads, computes and closes from several threads.

The engine's own library is not instrumented: races/fake_ggml.cpp stands in for it.
"""

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = (*sorted((ROOT / "native").glob("*.cpp")), *sorted(Path(__file__).with_name("races").glob("*.cpp")))
FLAGS = ("-std=c++17", "-O1", "-g1", "-fsanitize=thread", "-pthread", "-Wall", "-Wextra", "-Werror")
# The sanitizer's memory map does not go with every kernel's random addresses.
FIXED_ADDRESSES = ("setarch", "-R")


def succeeds(*command):
    return shutil.which(command[0]) and subprocess.run(command, capture_output=True).returncode == 0


def compiled(*arguments):
    done = subprocess.run([*compiler(), *FLAGS, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def compiler():
    return (os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++") or "").split()


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    """The command that runs it."""
    folder = tmp_path_factory.mktemp("races")
    probe = folder / "probe"
    probe.with_suffix(".cpp").write_text("int main() {}\n")
    if not compiler() or not succeeds(*compiler(), *FLAGS, str(probe) + ".cpp", "-o", str(probe)):
        pytest.skip("the C++ compiler has no thread sanitizer")
    ways = [way for way in ((), FIXED_ADDRESSES) if succeeds(*way, str(probe))]
    if not ways:
        pytest.skip("the thread sanitizer does not run on this kernel")
    with ThreadPoolExecutor(2) as pool:
        objects = [folder / f"{source.stem}.o" for source in SOURCES]
        works = [
            pool.submit(compiled, "-I", ROOT / "native", "-c", source, "-o", made)
            for source, made in zip(SOURCES, objects, strict=True)
        ]
        for work in works:
            work.result()
    compiled(*objects, "-o", folder / "driver")
    return (*ways[0], str(folder / "driver"), str(folder))


@pytest.mark.parametrize("loader", [(), ("foreign",)], ids=["ours", "foreign"])
def test_the_thread_sanitizer_finds_no_race(driver, loader):
    done = subprocess.run([*driver, *loader], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (0, "right\n"), done.stderr[-6000:]
