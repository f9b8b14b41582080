"""No room: a batch is refused whole, and goes in once there is room again.

Three ways there, from the most faithful to the one that works anywhere: a file system of its own that is full
(ENOSPC from the kernel, on whichever write meets it), RLIMIT_FSIZE (a write system call fails half-way), and
max_page_count (SQLite's own SQLITE_FULL, which touches no file).
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sixgig.ledger import Ledger, LedgerError
from tests.serve.ledger_rows import entry, rows

ROOT = Path(__file__).resolve().parents[2]
FILL = """
import os, resource, sys
from itertools import count
from pathlib import Path
from sixgig.ledger import Ledger, LedgerError, Limits, Reader
from tests.serve.ledger_rows import entry

folder, way = Path(sys.argv[1]), sys.argv[2]
ballast = folder / "ballast"
if way == "file system":
    ballast.write_bytes(bytes(200_000))
ledger = Ledger.open(folder / "l")
ledger.reserve("before", 1.0, "up", "", "m", 5)
if way == "limit":
    size = os.stat(folder / "l-wal").st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 50_001, resource.RLIM_INFINITY))


def make_room():
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    ballast.unlink(missing_ok=True)


def there():
    with Reader.open(folder / "l", None) as reader:
        return reader.report("model").total.served.requests


acknowledged = 0
for number in count():
    batch = [entry(f"{number}-{n}") for n in range(25)]
    try:
        ledger.record(batch)
    except LedgerError as error:
        print(error)
        break
    acknowledged += len(batch)
assert there() == acknowledged
make_room()
ledger.record(batch)
ledger.record(batch)
ledger.reserve_within("more", 1.0, "up", "k" * 200, "m" * 200, 7, Limits(12, None, None))
assert there() == acknowledged + len(batch)
assert ledger.spent(0.0) == 12
assert ledger._connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
"""


def fill(folder: Path, way: str, *within: str) -> str:
    done = subprocess.run(
        [*within, sys.executable, "-c", FILL, str(folder), way], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_on_a_full_file_system(tmp_path: Path) -> None:
    own = ["unshare", "--user", "--map-root-user", "--mount"]
    mount = ["mount", "-t", "tmpfs", "-o", "size=500k", "none", str(tmp_path)]
    if shutil.which("unshare") is None or subprocess.run([*own, *mount], capture_output=True).returncode:
        pytest.skip("this system lets nobody mount a file system of their own")
    mounted = ["sh", "-c", 'd="$1"; shift; mount -t tmpfs -o size=500k none "$d" && exec "$@"', "sh"]
    assert "free some disk space" in fill(tmp_path, "file system", *own, *mounted, str(tmp_path))


def test_where_a_write_fails_half_way(tmp_path: Path) -> None:
    assert "check the disk" in fill(tmp_path, "limit")
    assert len(rows(tmp_path / "l")) > 25


def test_where_sqlite_finds_no_free_page(tmp_path: Path) -> None:
    batches = [[entry(f"{number}-{n}") for n in range(200)] for number in range(3)]
    with Ledger.open(tmp_path / "l") as ledger:
        ledger.record(batches[0])
        pages = ledger._connection.execute("PRAGMA page_count").fetchone()[0]
        ledger._connection.execute(f"PRAGMA max_page_count = {pages + 1}")
        with pytest.raises(LedgerError, match="is full SQLITE_FULL; free some disk space"):
            ledger.record(batches[1])
        assert len(rows(ledger.path)) == 200
        ledger._connection.execute("PRAGMA max_page_count = 100000")
        ledger.record(batches[1])
        ledger.record(batches[2])
    assert len(rows(tmp_path / "l")) == 600
