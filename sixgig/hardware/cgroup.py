"""Limits a Linux control group puts on this process: memory and processor time, version 1 or 2."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_UNLIMITED = 1 << 60  # version 1 writes a number near 2**63 for "no limit"


@dataclass(frozen=True)
class MemoryGroup:
    """The tightest memory limit from this process's group up to the root.

    free_bytes: the least left at any level; clean file pages count as free, since the kernel drops them.
    """

    limit_bytes: int
    free_bytes: int


def memory_group(root: Path = Path("/")) -> MemoryGroup | None:
    """The memory limit that holds for this process; None where none does. `root` holds proc/ and sys/."""
    levels = [level for found in (_levels_v2(root), _levels_v1(root)) for level in found]
    if not levels:
        return None
    limit = min(level.limit_bytes for level in levels)
    return MemoryGroup(limit, max(0, min(level.free_bytes for level in levels)))


def processor_quota(root: Path = Path("/")) -> float | None:
    """Processors' worth of time this process may use, by the tightest quota; None where none holds."""
    quotas = [quota for folder in folders_v2(root) if (quota := _quota_v2(folder)) is not None]
    quotas += [quota for folder in folders_v1(root, "cpu") if (quota := _quota_v1(folder)) is not None]
    return min(quotas, default=None)


def throttled_s(root: Path = Path("/")) -> float:
    """Seconds that quotas have stopped this process's group, of all its processors the longest so far; 0
    where no group tells."""
    newer = [_fields(folder / "cpu.stat").get("throttled_usec", 0) for folder in folders_v2(root)]
    older = [_fields(folder / "cpu.stat").get("throttled_time", 0) for folder in folders_v1(root, "cpu")]
    return max(max(newer, default=0) / 1e6, max(older, default=0) / 1e9)


def _levels_v2(root: Path) -> Iterator[MemoryGroup]:
    for folder in folders_v2(root):
        limits = [_number(folder / name) for name in ("memory.max", "memory.high")]
        known = [limit for limit in limits if limit is not None]
        if known:
            yield _level(min(known), folder / "memory.current", folder / "memory.stat", "")


def _levels_v1(root: Path) -> Iterator[MemoryGroup]:
    for folder in folders_v1(root, "memory"):
        limit = _number(folder / "memory.limit_in_bytes")
        if limit is not None and limit < _UNLIMITED:
            yield _level(limit, folder / "memory.usage_in_bytes", folder / "memory.stat", "total_")


def _level(limit: int, usage: Path, stat: Path, prefix: str) -> MemoryGroup:
    """What is left under one limit: file pages are reclaimable unless dirty or being written."""
    fields = _fields(stat)
    pages = sum(fields.get(f"{prefix}{name}", 0) for name in ("inactive_file", "active_file"))
    busy = sum(
        fields.get(f"{prefix}{name}", 0) for name in ("file_dirty", "file_writeback", "dirty", "writeback")
    )
    used = (_number(usage) or 0) - max(0, pages - busy)
    return MemoryGroup(limit, limit - used)


def _quota_v2(folder: Path) -> float | None:
    words = _text(folder / "cpu.max").split()
    return int(words[0]) / int(words[1]) if len(words) == 2 and words[0].isdigit() else None


def _quota_v1(folder: Path) -> float | None:
    quota, period = (_number(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    return quota / period if quota is not None and period else None


def folders_v2(root: Path) -> list[Path]:
    """Folders of this process's version 2 group, innermost first."""
    mounts = [root / "sys/fs/cgroup", root / "sys/fs/cgroup/unified"]
    mount = next((mount for mount in mounts if (mount / "cgroup.controllers").is_file()), None)
    paths = [path for controllers, path in _groups(root) if controllers == ""]
    return _upwards(mount, paths[0]) if mount and paths else []


def folders_v1(root: Path, controller: str) -> list[Path]:
    """Folders of this process's version 1 group for one controller, innermost first."""
    for controllers, path in _groups(root):
        if controller in controllers.split(","):
            mounts = [root / "sys/fs/cgroup" / name for name in (controller, controllers)]
            mount = next((mount for mount in mounts if mount.is_dir()), None)
            return _upwards(mount, path) if mount else []
    return []


def _groups(root: Path) -> Iterator[tuple[str, str]]:
    """(controllers, path) of each line of /proc/self/cgroup; version 2 has no controllers there."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        parts = line.split(":", 2)
        if len(parts) == 3:
            yield parts[1], parts[2]


def _upwards(mount: Path, path: str) -> list[Path]:
    """The group's folder and all above it. Inside a container the path may not exist: the mount then."""
    parts = PurePosixPath(path).parts[1:]
    if ".." in parts or not mount.joinpath(*parts).is_dir():
        return [mount]
    return [mount.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1)]


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    """A non-negative whole number; None for "max", -1, or no such file."""
    text = _text(path).strip()
    return int(text) if text.isdecimal() else None


def _fields(path: Path) -> dict[str, int]:
    """Lines of `name number`."""
    pairs = (line.split() for line in _text(path).splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}
