"""Bandwidth probes: what they read, and what they refuse. No claim about speed."""

import os
from pathlib import Path

import pytest

from sixgig.errors import UsageError
from sixgig.hardware.bandwidth import _offsets, disk_read_bandwidth, memory_bandwidth


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(os.urandom(1 << 20) + b"tail")
    return tmp_path / "file"


@pytest.mark.parametrize("direct", [True, False])
def test_disk(path: Path, direct: bool) -> None:
    result = disk_read_bandwidth(path, block_bytes=60_000, threads=3, seconds=0.05, direct=direct)
    assert result.block_bytes == 61_440
    assert result.bytes_read % result.block_bytes == 0 < result.bytes_per_s
    assert result.elapsed_s >= 0.05
    assert direct or not result.direct


def test_every_block_is_read_before_any_is_again(path: Path) -> None:
    offsets = _offsets(path, 4096)
    first = [next(offsets) for _ in range(256)]
    assert sorted(first) == list(range(0, 1 << 20, 4096)) != first


@pytest.mark.skipif(not hasattr(os, "O_DIRECT"), reason="this system has no direct reads")
def test_where_direct_reads_are_refused_the_result_says_so(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really_open = os.open

    def refuse_direct(name: Path, flags: int) -> int:
        if flags & os.O_DIRECT:
            raise OSError(22, "Invalid argument")
        return really_open(name, flags)

    monkeypatch.setattr(os, "open", refuse_direct)
    result = disk_read_bandwidth(path, block_bytes=4096, threads=1, seconds=0.01)
    assert result.bytes_per_s > 0 and not result.direct


def test_what_cannot_be_measured_is_refused(path: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="too small"):
        disk_read_bandwidth(path, block_bytes=2 << 20)
    with pytest.raises(UsageError, match="no file"):
        disk_read_bandwidth(tmp_path)


def test_memory() -> None:
    result = memory_bandwidth(threads=2, seconds=0.01, array_bytes=1 << 20)
    assert result.bytes_per_s > 1e8
    assert result.bytes_read % (1 << 20) == 0
