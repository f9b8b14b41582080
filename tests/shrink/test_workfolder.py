"""Findings on disk: kept whole, taken again, never another job's."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sixgig.compress.workfolder import WorkFolder
from sixgig.errors import UsageError

ROOT = Path(__file__).parents[2]
JOB = {"source": [[1, 2], [3, 4]], "text": "abc"}


def test_a_finding_is_found_once(tmp_path: Path) -> None:
    asked: list[int] = []

    def find() -> dict[str, Any]:
        asked.append(1)
        return {"value": [1.5, None, "é"], "more": {"x": 1}}

    for _ in range(2):
        assert WorkFolder(tmp_path / "w", JOB).once("finding", find) == find()
    assert len(asked) == 3, "once by the folder, twice here"


def test_floats_come_back_to_the_bit(tmp_path: Path) -> None:
    folder, values = WorkFolder(tmp_path / "w", JOB), [0.1, 1 / 3, 5e-324, 1e308, -0.0]
    folder.save("floats", values)
    assert [float(v).hex() for v in folder.load("floats")] == [value.hex() for value in values]


def test_a_job_of_tuples_is_the_same_after_it_was_stored(tmp_path: Path) -> None:
    job = {"source": ((1, 2),), "text": "x"}
    WorkFolder(tmp_path / "w", job).save("finding", 1)
    assert WorkFolder(tmp_path / "w", job).load("finding") == 1


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({**JOB, "text": "xyz"}, "text: abc there, xyz asked for"),
        ({**JOB, "source": [[1, 2]]}, "source: "),
        ({"text": "abc"}, "it has more in it"),
        ({**JOB, "new": 3}, "new: None there, 3 asked for"),
    ],
)
def test_another_job_is_refused_and_changes_nothing(
    tmp_path: Path, other: dict[str, Any], words: str
) -> None:
    WorkFolder(tmp_path / "w", JOB).save("finding", 1)
    before = {path.name: path.read_bytes() for path in (tmp_path / "w").iterdir()}
    with pytest.raises(UsageError, match="belongs to another run") as caught:
        WorkFolder(tmp_path / "w", other)
    assert words in str(caught.value) and "--work" in caught.value.cure
    assert {path.name: path.read_bytes() for path in (tmp_path / "w").iterdir()} == before


@pytest.mark.parametrize("content", ["", "{", "\0\0", '{"source": '])
def test_a_job_that_cannot_be_read_is_not_ours(tmp_path: Path, content: str) -> None:
    WorkFolder(tmp_path, JOB).save("finding", 1)
    (tmp_path / "job.json").write_text(content)
    with pytest.raises(UsageError):
        WorkFolder(tmp_path, JOB)
    assert (tmp_path / "finding.json").exists()


@pytest.mark.parametrize("job", ["[]", "3", '"text"'])
def test_a_job_of_another_shape_is_refused(tmp_path: Path, job: str) -> None:
    (tmp_path / "job.json").write_text(job)
    with pytest.raises(UsageError, match="its job cannot be read"):
        WorkFolder(tmp_path, JOB)


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "diary.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds other files"):
        WorkFolder(tmp_path, JOB)
    assert [path.name for path in tmp_path.iterdir()] == ["diary.txt"]


def test_a_folder_is_made_with_those_above_it_and_removed_whole(tmp_path: Path) -> None:
    folder = WorkFolder(tmp_path / "a" / "b", JOB)
    folder.save("finding", 1)
    folder.path("below").mkdir()
    folder.remove()
    assert [path.name for path in (tmp_path / "a").iterdir()] == []


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff\xfe\x00"])
def test_a_damaged_finding_is_found_anew(tmp_path: Path, damage: bytes) -> None:
    folder = WorkFolder(tmp_path / "w", JOB)
    folder.path("finding.json").write_bytes(damage)
    assert folder.load("finding") is None
    assert folder.once("finding", lambda: 5) == 5 and folder.load("finding") == 5


DRIVER = """
import os, signal, sys
from pathlib import Path
from sixgig.compress.workfolder import WorkFolder

folder = Path(sys.argv[1])
JOB = {"source": [[1, 2], [3, 4]], "text": "abc"}
for point in range(1, 40):
    child = os.fork()
    if child == 0:
        left = [point]
        def dying(name, real):
            def call(*arguments, **options):
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*arguments, **options)
            setattr(os, name, call)
        for name in ("fdopen", "fsync", "fchmod", "replace", "umask"):
            dying(name, getattr(os, name))
        work = WorkFolder(folder / str(point), JOB)
        for number in range(3):
            work.save("count", {"n": number, "padding": "x" * 20000})
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if status == 0:
        break
    assert os.WTERMSIG(status) == signal.SIGKILL
print(point)
"""


def test_killed_anywhere_a_finding_is_whole_or_absent(tmp_path: Path) -> None:
    command = [sys.executable, "-c", DRIVER, str(tmp_path)]
    done = subprocess.run(command, check=True, cwd=ROOT, timeout=60, capture_output=True, text=True)
    points = int(done.stdout)
    assert points > 15
    seen = set()
    for point in range(1, points):
        work = WorkFolder(tmp_path / str(point), JOB)
        found = work.load("count")
        if work.path("count.json").exists():
            assert len(found["padding"]) == 20000 and json.loads(work.path("count.json").read_text())
        seen.add(None if found is None else found["n"])
    assert seen == {None, 0, 1}, "killed before the last became visible"


def test_a_disk_that_is_full_keeps_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = WorkFolder(tmp_path / "w", JOB)
    folder.save("finding", 1)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        folder.save("finding", 2)
    assert folder.load("finding") == 1
    assert sorted(path.name for path in folder.folder.iterdir()) == ["finding.json", "job.json"]
