"""Runs a command inside a fresh memory cgroup and samples what it uses, anonymous and file pages apart.

Covers cgroup v1 and v2. Not covered: swap (a machine with swap lets a v1 group pass its limit).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import IO

SAMPLE_SECONDS = 0.05
V1_ROOT = Path("/sys/fs/cgroup/memory")
V2_ROOT = Path("/sys/fs/cgroup")
_numbers = count()


@dataclass(frozen=True)
class Run:
    """What became of a command. `status`: exit status, negative the signal that ended it.

    Peaks in bytes: `peak` is the kernel's own high-water mark, file pages included; the other two are
    the largest of samples 50 ms apart.
    """

    status: int
    stdout: str
    stderr: str
    seconds: float
    timed_out: bool
    peak_bytes: int
    peak_anonymous_bytes: int
    peak_file_bytes: int


@dataclass(frozen=True)
class Layout:
    """File names of one cgroup version."""

    limit: str
    peak: str
    anonymous: str
    file: str
    unlimited: str


V1 = Layout("memory.limit_in_bytes", "memory.max_usage_in_bytes", "total_rss", "total_cache", "-1")
V2 = Layout("memory.max", "memory.peak", "anon", "file", "max")


class MemoryGroup:
    """One cgroup with a limit in bytes (None: accounting only). A context manager."""

    def __init__(self, limit_bytes: int | None) -> None:
        self.limit_bytes = limit_bytes
        self.path, self._layout = _new_group()

    def __enter__(self) -> MemoryGroup:
        try:
            limit = self._layout.unlimited if self.limit_bytes is None else str(self.limit_bytes)
            (self.path / self._layout.limit).write_text(limit)
        except OSError:
            self._remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._remove()

    def run(
        self, command: Sequence[str], timeout_s: float = 600, environment: Mapping[str, str] | None = None
    ) -> Run:
        """Run `command` in the group until it ends; all its processes are killed at the timeout."""
        join = ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(self.path / "cgroup.procs"), *command]
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            started = time.monotonic()
            process = subprocess.Popen(
                join, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment
            )
            try:
                anonymous, file, timed_out = self._watch(process, started + timeout_s)
            finally:
                self._kill()
                process.wait()
            seconds = time.monotonic() - started
            stdout, stderr = _read(out), _read(err)
        peaks = (self._peak(), anonymous, file)
        return Run(process.returncode, stdout, stderr, seconds, timed_out, *peaks)

    def _watch(self, process: subprocess.Popen[bytes], deadline: float) -> tuple[int, int, bool]:
        """Sample until the process ends or the deadline passes: peak anonymous, peak file, timed out."""
        anonymous = file = 0
        while process.poll() is None:
            if time.monotonic() > deadline:
                return anonymous, file, True
            now = self._usage()
            anonymous, file = max(anonymous, now[0]), max(file, now[1])
            time.sleep(SAMPLE_SECONDS)
        return anonymous, file, False

    def _usage(self) -> tuple[int, int]:
        lines = (self.path / "memory.stat").read_text().splitlines()
        stat = dict(line.split(" ", 1) for line in lines)
        return int(stat[self._layout.anonymous]), int(stat[self._layout.file])

    def _peak(self) -> int:
        """The kernel's high-water mark; 0 where it keeps none (v2 before Linux 5.19)."""
        file = self.path / self._layout.peak
        return int(file.read_text()) if file.exists() else 0

    def _kill(self) -> None:
        for pid in (self.path / "cgroup.procs").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)

    def _remove(self) -> None:
        """Remove the group, killing what is left in it; the kernel may take a moment to let go."""
        for _ in range(100):
            with contextlib.suppress(OSError):
                self._kill()
                self.path.rmdir()
            if not self.path.exists():
                return
            time.sleep(0.05)


def unavailable() -> str:
    """Why memory cgroups cannot be made here; "" where they can."""
    try:
        with MemoryGroup(None):
            return ""
    except OSError as error:
        return f"no memory cgroup can be made here: {error}"


def drop_caches(path: Path) -> None:
    """Forget cached pages: all of them where we are root, else those of `path`."""
    os.sync()
    with contextlib.suppress(OSError):
        Path("/proc/sys/vm/drop_caches").write_text("3")
        return
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _new_group() -> tuple[Path, Layout]:
    """Make a group at the first place that allows it; OSError with the last reason where none does."""
    problem: OSError = FileNotFoundError("no memory controller is mounted")
    for parent, layout in _parents():
        path = parent / f"sixgig-bench-{os.getpid()}-{next(_numbers)}"
        try:
            path.mkdir()
        except OSError as error:
            problem = error
            continue
        if (path / layout.limit).exists():
            return path, layout
        path.rmdir()
        problem = PermissionError(f"{parent} does not hand its memory controller down")
    raise problem


def _parents() -> Iterator[tuple[Path, Layout]]:
    """Where to try: the hierarchy's root, then our own group, v1 before v2."""
    own = dict(line.split(":", 2)[1:] for line in Path("/proc/self/cgroup").read_text().splitlines())
    if (V1_ROOT / V1.limit).exists():
        yield V1_ROOT, V1
        yield V1_ROOT / own.get("memory", "/").lstrip("/"), V1
    if (V2_ROOT / "cgroup.controllers").exists():
        yield V2_ROOT, V2
        yield V2_ROOT / own.get("", "/").lstrip("/"), V2


def _read(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode(errors="replace")
