"""A memory control group of our own around one process, where this system lets us make one.

Version 1: below this process's own group. Version 2: only inside a subtree that was delegated to us (systemd
marks it; a `Delegate=` unit with `DelegateSubgroup=`) or below the root group, since a group with processes
of its own cannot divide its memory. Never required: without the right to, there is none.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from sixgig.hardware.cgroup import folders_v1, folders_v2

_NAME = "sixgig-engine-"
_DELEGATED = ("user.delegate", "trusted.delegate")  # attributes by which systemd marks a delegated group
_LEAVING_S = 1.0  # the kernel lets go of a group a moment after its last process


class LimitedGroup:
    """The kernel ends a process inside that needs more than the limit, swap counted as memory.

    Its page cache counts too, and is dropped first.
    """

    def __init__(self, folder: Path, version: int) -> None:
        self._folder, self._version = folder, version

    @classmethod
    def around(cls, pid: int, limit_bytes: int, root: Path = Path("/")) -> Self | None:
        """The process in a new group; None where this system gives none. `root` holds proc/ and sys/."""
        for parent, version in _parents(root):
            _sweep(parent)
            group = cls(parent / f"{_NAME}{pid}", version)
            try:
                group._folder.mkdir()
                group.limit(limit_bytes)
                _write(group._folder / "cgroup.procs", pid)
            except OSError:
                group.remove()
                continue
            return group
        return None

    def limit(self, limit_bytes: int) -> None:
        """From now on. OSError where more is held already and cannot be dropped."""
        if self._version == 1:
            with_swap = self._folder / "memory.memsw.limit_in_bytes"
            with contextlib.suppress(OSError):  # never the smaller one: raised before, lowered after
                _write(with_swap, limit_bytes)
            _write(self._folder / "memory.limit_in_bytes", limit_bytes)
            with contextlib.suppress(OSError):
                _write(with_swap, limit_bytes)
            return
        with contextlib.suppress(OSError):
            _write(self._folder / "memory.swap.max", 0)
        _write(self._folder / "memory.max", limit_bytes)

    @property
    def has_killed(self) -> bool:
        """Whether the kernel ended a process for passing the limit."""
        events = "memory.oom_control" if self._version == 1 else "memory.events"
        with contextlib.suppress(OSError):
            words = (self._folder / events).read_text().split()
            return "oom_kill" in words and words[words.index("oom_kill") + 1] != "0"
        return False

    def remove(self) -> None:
        """Once its process has ended; what cannot be removed now is swept away when the next one is made."""
        deadline = time.monotonic() + _LEAVING_S
        while self._folder.is_dir() and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                self._folder.rmdir()
                return
            time.sleep(0.01)


def _parents(root: Path) -> Iterator[tuple[Path, int]]:
    """(folder, version) of each group that ours may be made in."""
    for folder in folders_v1(root, "memory")[:1]:
        if os.access(folder, os.W_OK):
            yield folder, 1
    own = folders_v2(root)
    for folder in own[:2]:
        is_root = folder == own[-1] and not (folder / "memory.max").exists()
        if (is_root or _delegated(folder)) and _divides_memory(folder):
            yield folder, 2


def _delegated(folder: Path) -> bool:
    with contextlib.suppress(OSError, AttributeError):
        return any(name in os.listxattr(folder) for name in _DELEGATED)
    return False


def _divides_memory(folder: Path) -> bool:
    """Whether groups below have limits of their own; asked for where they have none yet."""
    control = folder / "cgroup.subtree_control"
    with contextlib.suppress(OSError):
        if "memory" not in control.read_text().split():
            _write(control, "+memory")
        return "memory" in control.read_text().split()
    return False


def _sweep(parent: Path) -> None:
    """Groups that a server left which was killed itself; one with a process in it stays."""
    for left in parent.glob(f"{_NAME}*"):
        with contextlib.suppress(OSError):
            left.rmdir()


def _write(path: Path, value: int | str) -> None:
    with path.open("r+") as file:  # never made: a file that is not there is no setting of the kernel's
        file.write(str(value))
