"""Memory limits from fake file trees, and this process's own memory."""

import mmap
import time
from pathlib import Path

import pytest

from sixgig.hardware.cgroup import MemoryGroup, memory_group, processor_quota
from sixgig.hardware.memory import (
    ProcessMemory,
    available_bytes,
    machine_memory,
    process_memory,
    swap_bytes,
)
from sixgig.hardware.peak import Peak, PeakSampler

GIB = 1 << 30
MEMINFO = "MemTotal: 16777216 kB\nMemFree: 1 kB\nMemAvailable: 8388608 kB\nHugePages_Total: 0\n"


def tree(root: Path, files: dict[str, object]) -> Path:
    for name, content in {"proc/meminfo": MEMINFO, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{content}\n")
    return root


def v2(**files: object) -> dict[str, object]:
    named = {
        f"sys/fs/cgroup/{name.replace('__', '/').replace('_dot_', '.')}": text for name, text in files.items()
    }
    return {"sys/fs/cgroup/cgroup.controllers": "memory cpu", "proc/self/cgroup": "0::/a/b", **named}


def test_no_group_means_what_the_kernel_says(tmp_path: Path) -> None:
    memory = machine_memory(tree(tmp_path, {}))
    assert (memory.ram_bytes, memory.available_bytes, memory.cgroup_limit_bytes) == (16 * GIB, 8 * GIB, None)


def test_v2_the_tightest_level_wins_and_clean_file_pages_are_free(tmp_path: Path) -> None:
    stat = f"anon 5\nactive_file {GIB}\ninactive_file {GIB}\nfile_dirty {GIB // 2}\n"
    files = v2(
        a__b__memory_dot_max="max",
        a__memory_dot_max=6 * GIB,
        a__memory_dot_current=3 * GIB,
        a__memory_dot_stat=stat,
        memory_dot_max=32 * GIB,
        memory_dot_current=0,
    )
    root = tree(tmp_path, files)
    assert memory_group(root) == MemoryGroup(6 * GIB, 6 * GIB - 3 * GIB + GIB * 3 // 2)
    assert machine_memory(root).cgroup_limit_bytes == 6 * GIB
    assert available_bytes(root) == 4 * GIB + GIB // 2


def test_v2_memory_high_is_a_limit_too(tmp_path: Path) -> None:
    files = v2(a__b__memory_dot_max=4 * GIB, a__b__memory_dot_high=3 * GIB, a__b__memory_dot_current=GIB)
    assert memory_group(tree(tmp_path, files)) == MemoryGroup(3 * GIB, 2 * GIB)


def test_an_overfull_group_leaves_nothing(tmp_path: Path) -> None:
    files = v2(a__b__memory_dot_max=GIB, a__b__memory_dot_current=2 * GIB)
    assert available_bytes(tree(tmp_path, files)) == 0


@pytest.mark.parametrize("path", ["/docker/absent/here", "/../outside"])
def test_inside_a_container_the_mount_itself_counts(tmp_path: Path, path: str) -> None:
    files = v2(memory_dot_max=2 * GIB, memory_dot_current=GIB) | {"proc/self/cgroup": f"0::{path}"}
    assert memory_group(tree(tmp_path, files)) == MemoryGroup(2 * GIB, GIB)


def test_v1_beside_an_empty_v2(tmp_path: Path) -> None:
    base = "sys/fs/cgroup/memory"
    files: dict[str, object] = {
        "proc/self/cgroup": "4:memory:/job/one\n2:cpu,cpuacct:/\n0::/",
        "sys/fs/cgroup/unified/cgroup.controllers": "",
        f"{base}/memory.limit_in_bytes": 9223372036854771712,
        f"{base}/job/memory.limit_in_bytes": 3 * GIB,
        f"{base}/job/memory.usage_in_bytes": 2 * GIB,
        f"{base}/job/memory.stat": f"inactive_file 7\ntotal_inactive_file {GIB}\ntotal_dirty 0",
        f"{base}/job/one/memory.limit_in_bytes": 9223372036854771712,
    }
    assert memory_group(tree(tmp_path, files)) == MemoryGroup(3 * GIB, 2 * GIB)


def test_garbage_in_the_tree_is_no_limit(tmp_path: Path) -> None:
    files = v2(a__b__memory_dot_max="-7", memory_dot_max="", a__memory_dot_max="what") | {
        "proc/self/cgroup": "x"
    }
    assert memory_group(tree(tmp_path, files)) is None


def test_processor_quota(tmp_path: Path) -> None:
    root = tree(tmp_path, v2(a__b__cpu_dot_max="max 100000", a__cpu_dot_max="150000 100000"))
    assert processor_quota(root) == 1.5
    assert processor_quota(tree(tmp_path / "none", {})) is None


def test_swap_is_all_there_is_of_it_used_or_not(tmp_path: Path) -> None:
    meminfo = MEMINFO + "SwapTotal: 2048 kB\nSwapFree: 0 kB\n"
    assert swap_bytes(tree(tmp_path, {"proc/meminfo": meminfo})) == 2048 * 1024


def test_process_memory_counts_new_anonymous_pages(tmp_path: Path) -> None:
    before = process_memory()
    with mmap.mmap(-1, 32 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as block:  # no heap's leftovers
        block.write(b"x" * len(block))
        grown = process_memory().anonymous_bytes - before.anonymous_bytes
        assert grown > 28 << 20
        assert process_memory().peak_bytes >= process_memory().resident_bytes
        assert process_memory(tmp_path / "absent").resident_bytes > len(block)  # the portable way


def test_the_sampler_keeps_a_peak_that_has_passed() -> None:
    with PeakSampler(interval_s=0.002) as sampler:
        floor = sampler.peak.anonymous_bytes
        with mmap.mmap(-1, 48 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as block:  # no heap
            block.write(b"x" * len(block))
            time.sleep(0.03)
    assert sampler.peak.anonymous_bytes - floor > 44 << 20
    assert sampler.peak.total_bytes >= sampler.peak.anonymous_bytes
    assert sampler.peak.n_samples > 3


def test_the_sampler_keeps_kinds_apart_and_sees_records_between_samples() -> None:
    samples = iter([ProcessMemory(5, 9, 0, 20), ProcessMemory(8, 2, 1, 20), ProcessMemory(1, 1, 0, 33)])
    sampler = PeakSampler(interval_s=60, read=lambda: next(samples))
    with sampler:
        sampler._sample()
    peak = sampler.peak
    assert (peak.anonymous_bytes, peak.file_bytes, peak.shared_bytes, peak.total_bytes) == (8, 9, 1, 33)


def test_a_peak_between_two_samples_is_split_so_that_its_parts_add_up() -> None:
    """The kernel's record knows 107.7 MiB where the samples of each kind saw 45.3 and 30.3."""
    peak = Peak(anonymous_bytes=453, file_bytes=303, total_bytes=1077)
    assert peak.owned_bytes == 774 and peak.owned_bytes + peak.file_bytes == peak.total_bytes
