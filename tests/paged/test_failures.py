"""Files cut, changed or unreadable while a model runs: an error that says where, never a wrong token."""

import os
import shutil
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from sixgig.errors import ReadError, SixgigError
from sixgig.inference.load import open_engine
from sixgig.inference.request import PagingOptions
from sixgig.modelfile import open_model
from tests.paged.engines import OPTIONS, PROMPT, logits_of, open_paged, share_of_experts, stock_logits
from tests.tiny.models import build

ROOT = Path(__file__).resolve().parents[2]
SHORT = PROMPT[:20]


@pytest.fixture
def model(tiny, tmp_path):
    """A copy that may be damaged."""
    return Path(shutil.copy(tiny("qwen3moe"), tmp_path / "model.gguf"))


@pytest.fixture
def expected(tiny):
    return stock_logits(tiny("qwen3moe"), OPTIONS, SHORT)


def cut(path):
    """At the first expert."""
    os.truncate(path, min(tensor.offset for tensor in open_model(path).routed_experts()) + 100)


def empty(path):
    os.truncate(path, 0)


def grow(path):
    with path.open("ab") as file:
        file.write(b"more")


def change(path):
    """One byte of every expert tensor; same size, new time."""
    with path.open("r+b") as file:
        for tensor in open_model(path).routed_experts():
            file.seek(tensor.offset + 50)
            file.write(b"\xaa")
    os.utime(path)


class Original:
    """Puts the file back, its time too."""

    def __init__(self, path):
        self.path, self.content, self.status = path, path.read_bytes(), path.stat()

    def restore(self):
        with self.path.open("r+b") as file:
            file.write(self.content)
            file.truncate()
        os.utime(self.path, ns=(self.status.st_atime_ns, self.status.st_mtime_ns))


@pytest.mark.parametrize("damage", [cut, empty, grow, change])
@pytest.mark.parametrize("share", [0.0, 0.25, 0.6])
def test_a_damaged_file_stops_the_request_and_a_restored_one_serves_the_next(model, expected, damage, share):
    original = Original(model)
    with open_paged(model, share_of_experts(model, share), read_ahead=True) as engine:
        assert np.array_equal(logits_of(engine, SHORT), expected)
        damage(model)
        for _ in range(2):
            with pytest.raises(ReadError) as error:
                logits_of(engine, SHORT)
            assert "file changed while running" in str(error.value) or "short read" in str(error.value)
            assert str(model) in str(error.value) and " at byte " in str(error.value)
            assert engine.tokens == []
        original.restore()
        for _ in range(2):
            assert np.array_equal(logits_of(engine, SHORT), expected)


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_a_file_damaged_between_two_tokens(model, expected, share):
    original = Original(model)
    with open_paged(model, share_of_experts(model, share)) as engine:
        engine.all_logits(SHORT)
        change(model)
        with pytest.raises(ReadError):
            for token in range(10, 30):
                engine.decode(token)
        original.restore()
        assert np.array_equal(logits_of(engine, SHORT), expected)


def test_what_is_resident_needs_no_file(model, expected):
    with open_paged(model, share_of_experts(model, 1.0)) as engine:
        for start in range(0, 256, 64):  # until every expert has been used
            engine.clear()
            engine.all_logits(tuple(range(start, start + 64)))
        resident = engine.pager.counters().resident_bytes
        if resident < share_of_experts(model, 1.0):
            pytest.skip("the tokens did not reach every expert")
        empty(model)
        assert np.array_equal(logits_of(engine, SHORT), expected)


def test_a_file_replaced_by_another_is_still_the_one_that_was_opened(model, expected, tmp_path):
    with open_paged(model, share_of_experts(model, 0.25)) as engine:
        os.replace(build("qwen3moe", tmp_path / "other.gguf", seed=1), model)
        assert np.array_equal(logits_of(engine, SHORT), expected)
        model.unlink()
        assert np.array_equal(logits_of(engine, SHORT), expected)


@pytest.mark.parametrize("always", [False, True])
@pytest.mark.parametrize("replace", [False, True])
def test_a_file_that_changes_while_it_is_opened_is_refused(model, tmp_path, always, replace):
    other = build("qwen3moe", tmp_path / "other.gguf", seed=1)

    def meddle(_plan):
        if replace:
            os.replace(other, model)
        else:
            shutil.copyfile(other, model)

    with pytest.raises(SixgigError, match="chang"):
        open_engine(model, 4 << 30, OPTIONS, PagingOptions(always=always), announce=meddle).close()


def test_a_file_that_is_cut_while_it_is_loaded(model):
    with pytest.raises(ReadError, match="at byte"):
        open_engine(model, 4 << 30, OPTIONS, PagingOptions(always=True), announce=lambda _plan: empty(model))


# A pread() that fails, or is slow, while a file of that name exists.
SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
typedef ssize_t (*pread_fn)(int, void *, size_t, off_t);
static ssize_t meddled(const char * name, int fd, void * to, size_t n, off_t at) {
    if (access(getenv("SHIM_FAIL"), F_OK) == 0) { errno = EIO; return -1; }
    if (access(getenv("SHIM_SLOW"), F_OK) == 0) usleep(300000);
    return ((pread_fn) dlsym(RTLD_NEXT, name))(fd, to, n, at);
}
ssize_t pread(int fd, void * to, size_t n, off_t at) { return meddled("pread", fd, to, n, at); }
ssize_t pread64(int fd, void * to, size_t n, off_t at) { return meddled("pread64", fd, to, n, at); }
"""

PRELUDE = """
import os, signal, sys, threading, time
from pathlib import Path
import numpy as np
from sixgig.errors import ReadError
from tests.paged.engines import *
path, prompt = Path(sys.argv[1]), PROMPT[:20]
fail, slow = Path(os.environ["SHIM_FAIL"]), Path(os.environ["SHIM_SLOW"])
context = open_paged(path, share_of_experts(path, float(sys.argv[2])), read_ahead=True)
engine = context.__enter__()
first = logits_of(engine, prompt)
def busy(engine=engine):
    logits_of(engine, prompt)
"""


@pytest.fixture(scope="session")
def shim(tmp_path_factory):
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("needs a C compiler and LD_PRELOAD")
    folder = tmp_path_factory.mktemp("shim")
    (folder / "shim.c").write_text(SHIM)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", "shim.so", "shim.c", "-ldl"], cwd=folder, check=True)
    return folder / "shim.so"


@pytest.fixture
def script(shim, tiny, tmp_path):
    """Runs PRELUDE and more in a process of its own, which must end by itself."""

    def run(code, share=0.25, timeout=60):
        files = {"SHIM_FAIL": str(tmp_path / "fail"), "SHIM_SLOW": str(tmp_path / "slow")}
        return subprocess.run(
            [sys.executable, "-c", PRELUDE + code, str(tiny("qwen3moe")), str(share)],
            env=os.environ | files | {"LD_PRELOAD": str(shim), "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            timeout=timeout,
            capture_output=True,
            text=True,
        )

    return run


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_a_read_error_names_file_byte_and_errno(script, tiny, share):
    code = """
for _ in range(3):
    fail.touch()
    try:
        logits_of(engine, prompt)
    except ReadError as error:
        print(error)
    fail.unlink()
    assert np.array_equal(logits_of(engine, prompt), first)
engine.close()
"""
    done = script(code, share)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    for line in lines:
        assert line.startswith(f"read error; {tiny('qwen3moe')} at byte ")
        assert "errno 5 (EIO: Input/output error)" in line


MEANWHILE = "threading.Thread(target=busy, daemon=True).start(); time.sleep(0.4); "
ENDINGS = {
    "return": MEANWHILE,
    "exception": MEANWHILE + "raise ValueError('end')",
    "close": MEANWHILE + "engine.close()",
    "close the pager": MEANWHILE + "engine.pager.close()",
    "exit in a thread": "t = threading.Thread(target=sys.exit); t.start(); t.join(); busy(); sys.exit(0)",
    "interrupt": "threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start(); busy()",
    "never closed": "slow.unlink(); busy()",
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_no_ending_hangs_while_reads_are_in_flight(script, ending):
    done = script("slow.touch()\n" + ENDINGS[ending])
    expected = {"exception": 1, "interrupt": -signal.SIGINT}.get(ending, 0)
    assert done.returncode in (expected, 130 if ending == "interrupt" else expected), done.stderr


def test_a_pager_opens_and_closes_without_leaving_anything(tiny):
    path, sizes = tiny("qwen3moe"), []
    for _ in range(18):
        with open_paged(path, share_of_experts(path, 0.5), read_ahead=True) as engine:
            engine.all_logits(SHORT)
        sizes.append((len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")), resident_bytes()))
    files, threads, resident = zip(*sizes, strict=True)
    assert len(set(files[1:])) == 1 and threads[-1] <= threads[1] + 1
    # A cache lost each time would be half the file in each round; allocators grow once in a while.
    grown = [after - before for before, after in pairwise(resident[10:])]
    assert sum(more > open_model(path).size_bytes // 4 for more in grown) <= len(grown) // 2


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_a_closed_engine_answers_or_refuses_but_does_not_die(script):
    code = """
from sixgig.inference.load import open_engine
from sixgig.inference.request import PagingOptions
engine.close()
engine = open_engine(path, 1 << 30, OPTIONS, PagingOptions(always=True))
engine.close()
for ask in (engine.counters, engine.pager.take_failure, engine.pager.reset_counters, engine.pager.close):
    try:
        ask()
    except Exception as error:
        print(type(error).__name__)
"""
    done = script(code)
    assert done.returncode == 0, f"signal {-done.returncode}: {done.stderr}"


def test_two_models_live_side_by_side(tiny):
    paths = [tiny("qwen3moe"), tiny("gpt-oss")]
    with (
        open_paged(paths[0], share_of_experts(paths[0], 0.3)) as one,
        open_paged(paths[1], share_of_experts(paths[1], 0.3)) as two,
        open_paged(paths[0], share_of_experts(paths[0], 0.0)) as three,
    ):
        for _ in range(2):
            for engine, path in ((one, paths[0]), (two, paths[1]), (three, paths[0])):
                assert np.array_equal(logits_of(engine, SHORT), stock_logits(path, OPTIONS, SHORT))
