"""How a server ends: told to, told twice, killed."""

import asyncio
import contextlib
import functools
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest

from sixgig.ledger import Ledger
from tests.serve.ledger_rows import rows
from tests.serve.loops import in_loop
from tests.serve.ollama_server import DEMO
from tests.serve.served import ROOT
from tests.serve.test_fault_engines import Stream, answer, ledger, until

LONG, SHORT = {"max_tokens": 3500}, {"max_tokens": 300}


@contextlib.contextmanager
def server(folder, **options):
    """(URL, process, log); the test ends it."""
    config = folder / "serve.toml"
    config.write_text(f'[server]\nram = "1G"\n[models.a]\npath = "{DEMO}"\n')
    process = subprocess.Popen(
        [sys.executable, "-m", "sixgig", "serve", "--config", str(config), "--port", "0"],
        env=os.environ | {"PYTHONPATH": str(ROOT), "XDG_DATA_HOME": str(folder / "data")},
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )
    log, listening = [], threading.Event()

    def read():
        for line in process.stderr:
            log.append(line)
            if "startup complete" in line:
                listening.set()
        listening.set()

    reader = threading.Thread(target=read)
    reader.start()
    try:
        assert listening.wait(60)
        url = next(word for line in log for word in line.split() if word.startswith("http://"))
        yield url, process, log
    finally:
        process.kill()
        process.wait()
        reader.join()
        process.stderr.close()


def children(pid):
    """Its engine processes."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def gone(pid):
    """Ended, or waiting only to be counted by whoever inherited it."""
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return True


async def ended(process):
    async with asyncio.timeout(30):
        return await asyncio.to_thread(process.wait)


@in_loop
async def test_told_to_stop_it_lets_streams_finish_and_takes_no_more(tmp_path):
    with server(tmp_path) as (url, process, _log):
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            streams = [Stream(client, "openai", "a", **SHORT) for _ in range(2)]
            for stream in streams:
                await stream.began.wait()
            engines = children(process.pid)
            process.send_signal(signal.SIGTERM)
            await until(lambda: not listens(url))
            assert not any(stream.task.done() for stream in streams)
            await asyncio.gather(*(stream.task for stream in streams))
            assert all(stream.said.endswith(b"data: [DONE]\n\n") for stream in streams)
        assert await ended(process) == 0
        assert engines
        assert all(map(gone, engines))
    assert ledger(tmp_path, "outcome, completion_tokens") == [("ok", 300)] * 2


@in_loop
async def test_a_terminal_that_goes_away_stops_it_and_its_streams_finish(tmp_path):
    """The signal goes to all of the terminal's processes, the engines among them."""
    with server(tmp_path, start_new_session=True) as (url, process, _log):
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            stream = Stream(client, "openai", "a", **SHORT)
            await stream.began.wait()
            os.killpg(process.pid, signal.SIGHUP)
            await until(lambda: not listens(url))
            await stream.task
            assert stream.said.endswith(b"data: [DONE]\n\n")
        assert await ended(process) == 0
    assert ledger(tmp_path, "outcome, completion_tokens") == [("ok", 300)]


@in_loop
async def test_under_nohup_a_terminal_may_go_away(tmp_path):
    ignoring = functools.partial(signal.signal, signal.SIGHUP, signal.SIG_IGN)
    with server(tmp_path, preexec_fn=ignoring) as (url, process, _log):
        process.send_signal(signal.SIGHUP)
        for _ in range(20):
            assert listens(url)
        process.send_signal(signal.SIGTERM)
        assert await ended(process) == 0


def listens(url):
    try:
        httpx.get(f"{url}/health")
    except httpx.ConnectError:
        return False
    return True


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
@in_loop
async def test_told_twice_it_ends_at_once_and_puts_down_what_it_cut_off(tmp_path, second):
    with server(tmp_path) as (url, process, log):
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            stream = Stream(client, "openai", "a", **LONG)
            await stream.began.wait()
            engines = children(process.pid)
            process.send_signal(signal.SIGTERM)
            await until(lambda: not listens(url))
            assert not stream.task.done()
            process.send_signal(second)
            done, _ = await asyncio.wait({stream.task}, timeout=15)
            assert done
            stream.task.exception()
        assert b"[DONE]" not in stream.said
        assert await ended(process) == 0, "".join(log)
        assert all(map(gone, engines))
    assert [outcome for (outcome,) in ledger(tmp_path, "outcome")] in (["cancelled"], ["failed"])


@in_loop
async def test_killed_it_takes_its_engines_along_and_its_ledger_opens_again(tmp_path):
    with server(tmp_path) as (url, process, _log):
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            for _ in range(3):
                assert (await answer(client, "a")).status_code == 200
            await until(lambda: len(ledger(tmp_path, "id")) == 3)
            stream = Stream(client, "openai", "a", **LONG)
            await stream.began.wait()
            engines = children(process.pid)
            process.kill()
            await until(lambda: all(map(gone, engines)))
            await asyncio.wait({stream.task})
            assert stream.task.exception() is not None
    path = next((tmp_path / "data").rglob("ledger.sqlite"))
    with Ledger.open(path):
        assert [outcome for (outcome,) in rows(path, columns="outcome")] == ["ok"] * 3
