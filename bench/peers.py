"""Who is compared: each peer is a command, a memory limit, and a reason where it cannot run."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Task:
    """One comparison. `ram_bytes` is our budget, `limit_bytes` the cgroup's limit for every peer."""

    model: Path
    tokens: Path
    ram_bytes: int
    limit_bytes: int
    prompt: int
    decode_seconds: float
    threads: int
    ubatch: int
    context: int

    def options(self) -> list[str]:
        """What every runner is told."""
        numbers = {
            "prompt": self.prompt,
            "decode-seconds": self.decode_seconds,
            "threads": self.threads,
            "ubatch": self.ubatch,
            "context": self.context,
        }
        return [word for name, value in numbers.items() for word in (f"--{name}", str(value))]


@dataclass(frozen=True)
class Peer:
    """limit_bytes None: no limit, usage is still watched. `skip`: why it is not run, "" when it is."""

    name: str
    command: tuple[str, ...]
    limit_bytes: int | None
    skip: str = ""


STOCK = {
    "mmap": ("mmap", "off"),
    "mmap-extra": ("mmap", "on"),
    "none": ("none", "off"),
    "none-extra": ("none", "on"),
}
OURS = ("ours", "ours-wide", "ours-resident")
NAMES = (*OURS, *STOCK)
HEADROOM_BYTES = 300 << 20


def peer(name: str, task: Task) -> Peer:
    """The peer of that name.

    ours: within `ram_bytes`, in the same cgroup as stock. ours-wide: the same in a cgroup of twice the
    budget, where passing the budget would show. ours-resident: paged, but with room for every expert.
    """
    return _ours(name, task) if name in OURS else _stock(name, task)


def _ours(name: str, task: Task) -> Peer:
    resident = name == "ours-resident"
    ram_bytes = 2 * task.model.stat().st_size + (1 << 30) if resident else task.ram_bytes
    limits = {"ours": task.limit_bytes, "ours-wide": 2 * task.ram_bytes, "ours-resident": None}
    always = ("--always-page",) if resident else ()
    command = (*_python("bench.ours", task), "--ram", str(ram_bytes), *always)
    return Peer(name, command, limits[name])


def _stock(name: str, task: Task) -> Peer:
    load_mode, extra = STOCK[name]
    command = (*_python("bench.stock", task), "--load-mode", load_mode, "--extra-buffers", extra)
    needed = task.model.stat().st_size + HEADROOM_BYTES
    copies = load_mode == "none" or extra == "on"
    too_big = copies and needed > task.limit_bytes
    skip = f"needs about {needed >> 20} MiB, limit {task.limit_bytes >> 20} MiB" if too_big else ""
    return Peer(name, command, task.limit_bytes, skip)


def _python(module: str, task: Task) -> tuple[str, ...]:
    return (sys.executable, "-m", module, str(task.model), str(task.tokens), *task.options())
