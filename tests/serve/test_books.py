"""The ledger through the gateway: full disks, clocks that jump, and all that was acknowledged is there."""

import asyncio
import logging
import subprocess
import sys
import time

import httpx
import pytest

from sixgig.gateway import books
from sixgig.jobs.ledger import ledger as read_ledger
from sixgig.ledger import Ledger, LedgerError
from tests.serve.gateways import USAGE, far_settings, house, never
from tests.serve.ledger_rows import entry, rows
from tests.serve.loops import in_loop

MISSING = {"when": "model_missing"}
SLOW = {"when": "first_token_slower_than", "value": 0.02}
FAILED = {"when": "local_failed_before_first_token"}
DAY_S = 86400.0


class FileSystem:
    """A file system of its own with hardly any room."""

    def __init__(self, folder):
        mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "none", str(folder)]
        if subprocess.run(mount, capture_output=True).returncode:
            pytest.skip("only root may mount a file system")
        self._folder, self._ballast = folder, folder / "ballast"

    def fill(self, _gateway):
        with self._ballast.open("wb", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(bytes(4096))
            except OSError:
                pass

    def make_room(self, _gateway):
        self._ballast.unlink()

    def close(self):
        subprocess.run(["umount", "-l", str(self._folder)], check=True)


class Pages:
    """SQLite finds no free page, whatever the disk has."""

    def __init__(self, _folder):
        pass

    def fill(self, gateway):
        self._allow(gateway, 1)  # no less than there are

    def make_room(self, gateway):
        self._allow(gateway, 1 << 30)

    def close(self):
        pass

    def _allow(self, gateway, pages):
        with gateway.books._ledger._lock:
            gateway.books._ledger._connection.execute(f"PRAGMA max_page_count = {pages}")


@pytest.fixture(params=[FileSystem, Pages])
def disk(request, tmp_path, monkeypatch):
    monkeypatch.setattr(books, "RETRY_S", 0.02)
    disk = request.param(tmp_path)
    yield disk
    disk.close()


async def until(condition):
    while not condition():
        await asyncio.sleep(0.005)


async def text_of_metrics(home):
    await until(lambda: home.gateway.status.latest["ledger"]["failing"] is not None)
    return home.gateway.metrics.text().decode()


@in_loop
async def test_while_the_disk_is_full_answers_go_out_and_their_entries_come_in_later(disk, tmp_path):
    async with house(tmp_path, far_settings(MISSING)) as home:
        await home.answered()
        await home.written("id", 1)
        disk.fill(home.gateway)
        answers = [await home.answered(stream=stream) for stream in (True, False) * 20]
        assert {answer.text for answer in answers} == {"here says"}
        await until(lambda: home.gateway.books.failing)
        # A full file system may take a few more entries in the pages that it has.
        assert 0 < home.gateway.books.pending <= 40
        assert "sixgig_ledger_failing 1.0" in await text_of_metrics(home)
        assert "disk" in home.gateway.status.latest["ledger"]["failing"]
        disk.make_room(home.gateway)
        ids = {answer.headers["x-request-id"] for answer in answers}
        found = [id for (id,) in await home.written("id", 41)]
        assert len(found) == 41
        assert ids < set(found)
        await until(lambda: home.gateway.status.latest["ledger"]["failing"] is None)


@in_loop
async def test_while_nothing_can_be_reserved_nothing_that_costs_leaves(disk, tmp_path):
    async with house(tmp_path, far_settings(MISSING, SLOW)) as home:
        await home.answered()
        await home.written("id", 1)
        disk.fill(home.gateway)
        for _ in range(40):
            await home.answered()
        await until(lambda: home.gateway.books.failing)
        while (refused := await home.answered(model="else")).status == 200:
            continue  # there is room for a few
        assert refused.status == 503
        assert "no spending can be put down" in refused.json["error"]["message"]
        home.here.answers = [lambda request: slow(home, request)]
        assert (await home.answered()).status == 200
        disk.make_room(home.gateway)
        assert (await home.answered(model="else")).text == "far says"
        assert len(home.far.asked) == len(home.reservations)  # each was on disk before it was sent


async def slow(home, request):
    await asyncio.sleep(0.05)
    return home.here.usual(request)


@in_loop
async def test_what_a_full_disk_loses_at_the_end_is_said_with_its_number(disk, tmp_path, caplog):
    caplog.set_level(logging.INFO, "sixgig.server")
    logging.getLogger("sixgig.server").propagate = True
    async with house(tmp_path) as home:
        await home.answered()
        await home.written("id", 1)
        disk.fill(home.gateway)
        for _ in range(40):
            await home.answered()
        await until(lambda: home.gateway.books.failing)
    told = {record.getMessage(): record.fields for record in caplog.records}
    assert told["ledger_lost"]["entries"] >= 41 - len(rows(tmp_path / "l"))
    assert "disk" in told["ledger_lost"]["reason"]
    assert "ledger_failing" in told


@in_loop
async def test_a_free_upstream_is_asked_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(Ledger, "reserve_within", never)
    async with house(tmp_path, far_settings(MISSING, input_price=0, output_price=0)) as home:
        assert (await home.answered(model="else")).text == "far says"


@in_loop
async def test_calls_cut_off_by_the_shutdown_are_in_the_ledger(tmp_path):
    async with house(tmp_path, far_settings(MISSING)) as home:
        home.here.go_on.clear()
        home.far.go_on.clear()
        visits = [home.chat(model=model) for model in ("here", "else")]
        for visit in visits:
            await visit.until(b"content")
            visit.task.cancel()
    found = rows(tmp_path / "l", "entries", "outcome, served_by")
    assert sorted(found) == [("cancelled", "far"), ("cancelled", "local")]


@pytest.mark.parametrize("jump_s", [-3 * DAY_S, 3 * DAY_S, 40 * DAY_S])
@in_loop
async def test_a_clock_that_jumps_while_requests_run(tmp_path, monkeypatch, jump_s):
    offset_s, real = [0.0], time.time
    monkeypatch.setattr(time, "time", lambda: real() + offset_s[0])
    worst = 2 * (1024 + 200) + 10 * 4096
    async with house(tmp_path, far_settings(MISSING, per_day=str(1.5 * worst / 1e6))) as home:
        home.here.go_on.clear()
        home.far.answers = [lambda _r: never()]
        visits = [home.chat(), home.chat(model="else")]
        await visits[0].until(b"here")
        await home.far.came.wait()
        offset_s[0] = jump_s
        home.here.go_on.set()
        await visits[0].ended()
        visits[1].leave()
        await visits[1].ended()
        offset_s[0] = 0.0
        refused = await home.answered(model="else")
        assert refused.status == 402  # what may have been spent before the jump still counts
        assert home.gateway.fleet.models["here"].state == "ready"
        found = await home.written("outcome, seconds, first_token_s, completion_tokens", 3)
    assert sorted(row[0] for row in found) == ["cancelled", "failed", "ok"]
    assert all(0 <= seconds < 60 for _, seconds, _, _ in found)
    residencies = rows(tmp_path / "l", "residencies", "seconds")
    assert all(0 <= seconds < 60 for (seconds,) in residencies)
    assert residencies


@pytest.mark.parametrize("ahead_s", [2 * DAY_S, 40 * DAY_S])
@in_loop
async def test_a_cap_does_not_open_again_when_the_clock_goes_back(tmp_path, monkeypatch, ahead_s):
    offset_s, real = [ahead_s], time.time
    monkeypatch.setattr(time, "time", lambda: real() + offset_s[0])
    async with house(tmp_path, far_settings(MISSING, per_day="0.06")) as home:
        home.far.answers = [lambda _r: never()]
        visit = home.chat(model="else")
        await home.far.came.wait()
        offset_s[0] = 0.0
        assert (await home.answered(model="else")).status == 402
        visit.leave()
        await visit.ended()
        assert (await home.answered(model="else")).status == 402


@in_loop
async def test_a_name_that_no_ledger_can_hold_is_put_down_as_far_as_it_can(tmp_path):
    async with house(tmp_path, far_settings(MISSING)) as home:
        for name in ("\ud800x", "x" * 200):
            assert (await home.answered(model=name)).text == "far says"
        assert len(await home.written("model", 2)) == 2
        assert await home.nothing_left()


@in_loop
async def test_what_two_upstreams_may_have_cost_is_added_up(tmp_path):
    settings = far_settings(FAILED | {"upstream": "other"}, SLOW)
    settings["upstreams"].append(settings["upstreams"][0] | {"name": "other"})
    async with house(tmp_path, settings) as home:

        async def fails(_request):
            await home.far.came.wait()
            await asyncio.sleep(0.05)
            return httpx.Response(500)

        home.here.answers = [fails, fails]
        home.far.answers = [lambda _r: httpx.ReadError("cut")]
        answer = await home.answered()
        assert answer.headers["x-served-by"] == "other"
        (worst, lost), (_, settled) = sorted(home.reservations, key=lambda row: row[1] is not None)
        assert (lost, settled) == (None, 2 * USAGE["prompt_tokens"] + 10 * USAGE["completion_tokens"])
        assert await home.written("upstream_cost_micros", 1) == [(worst + settled,)]


COUNT = """
import contextlib, sqlite3, sys
with contextlib.closing(sqlite3.connect(sys.argv[1])) as ledger:
    print(ledger.execute("SELECT COUNT(*) FROM entries").fetchone()[0])
"""


def counted_by_another_process(path):
    return int(
        subprocess.run([sys.executable, "-c", COUNT, str(path)], capture_output=True, check=True).stdout
    )


def test_whatever_this_process_opens_and_closes_of_a_ledger_its_own_writer_stays_locked(tmp_path):
    """A second writer, a report, a ledger of another name: closed by SQLite alone, which keeps the locks."""
    with Ledger.open(tmp_path / "l") as mine:
        for n in range(1, 4):
            mine.record([entry(str(n))])
            Ledger.open(tmp_path / "l").close()
            (tmp_path / "link").unlink(missing_ok=True)
            (tmp_path / "link").symlink_to(tmp_path / "l")
            assert read_ledger(tmp_path / "link").report.total.served.requests == n
            assert counted_by_another_process(tmp_path / "l") == n
        assert (tmp_path / "l-wal").exists()
    (tmp_path / "l").write_bytes(b"another program's by now")
    with pytest.raises(LedgerError, match="no SQLite file"):
        Ledger.open(tmp_path / "l")


@in_loop
async def test_another_program_that_looks_into_the_ledger_takes_nothing_away(tmp_path):
    """SQLite's log is deleted by who closes the ledger last; locks tell the other that it is not last."""
    async with house(tmp_path) as home:
        for n in range(1, 4):
            await home.answered()
            await home.written("id", n)
            await home.gateway.today.refresh(time.time() + 100 * n)  # reads the ledger in this process
            assert await asyncio.to_thread(counted_by_another_process, tmp_path / "l") == n
    assert len(rows(tmp_path / "l")) == 3
