"""SIGKILL at any moment: what was acknowledged is there, once, and no batch is there in part.

Covers the death of the process. That a commit also outlives the machine's power is synchronous=FULL's promise
(test_ledger_record checks that it is set); no test here takes the power away.
"""

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from sixgig.ledger import Ledger
from tests.serve.ledger_rows import rows

ROOT = Path(__file__).resolve().parents[2]
KILLS = 30
WRITERS = """
import os, random, sys
from itertools import count
from pathlib import Path
from sixgig.ledger import Ledger
from tests.serve.ledger_rows import entry


def write(name):
    print("pid", os.getpid(), flush=True)
    chance = random.Random(name)
    with Ledger.open(Path(sys.argv[1])) as ledger:
        for number in count():
            batch, size = f"{name}-{number}", chance.randint(1, 60)
            ledger.reserve(batch, 1.0, "up", "", "m", 10)
            print("reserved", batch, flush=True)
            ledger.record([entry(f"{batch}-{n}", model=batch, prompt_tokens=size) for n in range(size)])
            print("recorded", batch, flush=True)
            ledger.settle(batch, 7)
            print("settled", batch, flush=True)


for name in range(int(sys.argv[2])):
    writer = os.fork()
    if not writer:
        write(name)
    os.waitpid(writer, 0)
    print("gone", writer, flush=True)
"""


def killed(path: Path, after_lines: list[int]) -> Iterator[tuple[str, str]]:
    """What writers, one after another, acknowledged: each is killed when it has written so many lines."""
    command = [sys.executable, "-c", WRITERS, str(path), str(len(after_lines))]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as writers:
        assert writers.stdout is not None
        left, writer = 0, 0
        for word, what in map(str.split, writers.stdout):
            if word == "pid":
                left, writer = after_lines.pop(), int(what)
            if word != "gone":
                yield word, what
            if left == 0 and word != "gone":
                os.kill(writer, signal.SIGKILL)
            left -= 1


def test_what_was_acknowledged_outlives_thirty_kills(tmp_path: Path) -> None:
    path, chance = tmp_path / "l", random.Random(0)
    said = list(killed(path, [chance.randint(1, 60) for _ in range(KILLS)]))
    acknowledged = {kind: {what for word, what in said if word == kind} for kind, _ in said}
    assert len(acknowledged["pid"]) == KILLS < len(acknowledged["recorded"])

    found = rows(path, "entries", "model, prompt_tokens")
    batches, sizes = Counter(batch for batch, _ in found), dict(found)
    assert batches.keys() >= acknowledged["recorded"]
    assert batches == sizes, "a batch is there in part"

    reserved = dict(rows(path, "reservations", "id, settled_micros"))
    assert reserved.keys() >= acknowledged["reserved"]
    assert all(reserved[batch] == 7 for batch in acknowledged["settled"])
    with Ledger.open(path) as ledger:
        assert ledger.spent(0.0) == sum(10 if settled is None else settled for settled in reserved.values())
        assert ledger._connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


def test_killed_while_it_begins_it_is_whole_or_not_there(tmp_path: Path) -> None:
    for number in range(2):
        path = tmp_path / str(number) / "l"
        assert [word for word, _ in killed(path, [0, 0, 0])].count("pid") == 3
        with Ledger.open(path):
            found = rows(path, "entries", "model, prompt_tokens")
            assert Counter(batch for batch, _ in found) == dict(found)
