"""`sixgig.serve`: a server in the process of whoever asks it, with real clients."""

import asyncio
import contextlib
import inspect
import logging
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time

import httpx
import openai
import psutil
import pytest

from sixgig.errors import Cancelled, ModelFileError, ServingError, UsageError
from sixgig.jobs.ledger import ledger
from sixgig.jobs.serve import Server, ServeRequest, serve
from sixgig.ledger import LedgerError
from sixgig.planning import Refusal
from tests.jobs.reporters import Recorder
from tests.serve.loops import in_loop
from tests.serve.ollama_server import DEMO

HELLO = [{"role": "user", "content": "What is PEP 8?"}]
RAM = 2 << 30
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LOGGERS = ("", "sixgig.server", "uvicorn", "uvicorn.error")


@pytest.fixture(autouse=True)
def own_ledger(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


@pytest.fixture(autouse=True)
def silence(capfd, monkeypatch):
    """Nothing is printed, not even by a library; what other tests left to write to is not there any more."""
    for name in LOGGERS:
        monkeypatch.setattr(logging.getLogger(name), "handlers", [])
    yield
    assert capfd.readouterr() == ("", "")


def served(models=DEMO, **options):
    return serve(models, ram=RAM, port=0, **options)


def client_of(server):
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=60)


def asked(server, model=DEMO.stem, n_tokens=4):
    with client_of(server) as client:
        chat = client.chat.completions.create(model=model, messages=HELLO, max_tokens=n_tokens, temperature=0)
    return chat.choices[0].message.content


@contextlib.contextmanager
def stream(server, n_tokens):
    """A stream under way; its pieces."""
    options = {"model": DEMO.stem, "messages": HELLO, "extra_body": {"ignore_eos": True}}
    with client_of(server) as client:
        pieces = client.chat.completions.create(stream=True, max_tokens=n_tokens, **options)
        next(pieces)
        yield pieces


def engines():
    """Processes of this one that run a model."""
    children = psutil.Process().children()
    return [child.pid for child in children if "sixgig.engines.child" in " ".join(child.cmdline())]


def surroundings():
    """What a server in the background leaves as it was."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    told = [(one.level, one.propagate, one.disabled, [*filter(_tells, one.handlers)]) for one in loggers]
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    return [signal.getsignal(number) for number in SIGNALS], limit, told, threading.active_count()


def _tells(handler):
    return not isinstance(handler, logging.NullHandler)


def listens(url):
    try:
        return httpx.get(f"{url}/health").json() == {"status": "ok"}
    except httpx.ConnectError:
        return False


def test_it_answers_while_the_block_runs_and_leaves_nothing_behind():
    before, heard = surroundings(), Recorder()
    server = served(str(DEMO), reporter=heard)
    assert server.models == (DEMO.stem,) and heard.told == []
    with pytest.raises(UsageError, match="has not been started"):
        _ = server.url
    with server:
        assert server.url in heard.words("say")[0] and "Ctrl-C" not in heard.words("say")[1]
        with pytest.raises(UsageError, match="is running already"):
            server.start()
        first = asked(server)
        assert first == asked(server) and len(engines()) == 1
        assert not server.wait(0.0)
        while ledger().report.total.served.ok < 2:  # of the running server, in its own process
            time.sleep(0.05)
    assert surroundings() == before and engines() == []
    assert not listens(server.url) and server.wait()
    served_all = ledger(by="model").report
    assert served_all.total.served.ok == 2 and [row.name for row in served_all.rows] == [DEMO.stem]
    assert heard.words("warn") == []


def test_the_same_again_one_after_the_other_and_two_at_once_with_one_ledger():
    for _ in range(2):
        with served() as server:
            assert listens(server.url)
        server.stop()  # nothing runs
    with server, served([DEMO]) as other:  # the first once more
        assert server.url != other.url and listens(server.url) and listens(other.url)
        for one in (server, other, server):
            asked(one, n_tokens=1)
    assert ledger().report.total.served.ok == 3 and engines() == []


@in_loop
async def test_in_a_notebook_whose_thread_runs_an_event_loop():
    with pytest.raises(UsageError, match="runs an event loop already"):
        served().run()
    with served() as server:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
            chats = [
                client.chat.completions.create(model=DEMO.stem, messages=HELLO, max_tokens=3)
                for _ in range(3)
            ]
            assert [chat.usage.completion_tokens for chat in await asyncio.gather(*chats)] == [3] * 3
        await asyncio.to_thread(server.stop)
    assert engines() == []


def test_from_a_thread_it_may_be_in_the_foreground_and_another_stops_it():
    before, heard = surroundings(), Recorder()
    server = Server(ServeRequest(DEMO, ram=RAM, port=0, reporter=heard))
    thread = threading.Thread(target=server.run)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        thread.start()
        while not heard.words("say") or not listens(server.url):
            time.sleep(0.01)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
        server.stop()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    thread.join(10)
    assert surroundings() == before and not listens(server.url)


def test_told_to_stop_it_lets_a_stream_finish_and_at_once_it_does_not():
    with served() as server, stream(server, 120) as pieces:
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        while listens(server.url):
            time.sleep(0.01)
        assert not server.wait(0.0) and len(engines()) == 1
        said = list(pieces)
        assert said[-1].choices[0].finish_reason == "length"
        stopping.join(30)
    assert server.wait(0.0)
    with served() as server, stream(server, 3000) as pieces:
        server.stop(at_once=True)
        assert engines() == [] and server.wait(0.0)
        with pytest.raises((openai.APIError, httpx.HTTPError)):
            list(pieces)
    outcomes = ledger().report.total.served
    assert (outcomes.ok, outcomes.failed + outcomes.cancelled) == (1, 1)


def test_ctrl_c_while_it_waits_for_a_stream_cuts_that_off():
    with served() as server, stream(server, 3000):
        main = threading.main_thread().ident
        threading.Timer(0.5, signal.pthread_kill, (main, signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            server.stop()
        assert engines() == [] and server.wait(0.0)


PROGRAM = """
import sys, httpx
from sixgig.jobs.serve import serve
server = serve(sys.argv[1], ram=1 << 30, port=0).start()
body = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 2}
assert httpx.post(server.url + "/v1/chat/completions", json=body, timeout=60).status_code == 200
models = httpx.get(server.url + "/status.json").json()["models"]
while models[0]["pid"] is None:
    models = httpx.get(server.url + "/status.json").json()["models"]
print(models[0]["pid"])
"""


def test_a_program_that_ends_without_stopping_it_takes_its_engines_along(tmp_path):
    program = [sys.executable, "-c", PROGRAM, str(DEMO)]
    ended = subprocess.run(program, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")
    pid = int(ended.stdout)
    until_s = time.monotonic() + 20
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until_s
        time.sleep(0.02)


def test_what_cannot_be_is_refused_when_it_is_asked_for(tmp_path):
    for options, words in (
        ({"context": 0}, "--context of 0"),
        ({"port": 99999}, "--port of 99999"),
        ({"ram": -1}, "--ram of -1"),
        ({"ram": "6G"}, "ram of '6G' is not possible; give a number of bytes"),
        ({"keep_alive_s": float("nan")}, "--keep-alive of nan"),
        ({"host": "0.0.0.0"}, "for everyone in reach"),
        ({"config": tmp_path / "none.toml"}, "does not exist"),
    ):
        with pytest.raises(UsageError, match=words):
            serve(DEMO, **options)
    with pytest.raises(ModelFileError, match="does not exist"):
        serve(tmp_path / "none.gguf")
    with pytest.raises(UsageError, match="two models would both be called"):
        serve([DEMO, str(DEMO)])
    (heard := Recorder()).cancel()
    with pytest.raises(Cancelled):
        serve(DEMO, reporter=heard)


def test_what_is_taken_or_missing_is_told_where_it_begins_and_another_try_works(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = serve(DEMO, ram=RAM, port=port)
        with pytest.raises(UsageError, match=f"cannot listen on 127.0.0.1 port {port}"), server:
            pass
    with server:
        assert server.url.endswith(f":{port}")
    (broken := tmp_path / "broken.gguf").write_bytes(b"GGUF, or not")
    with pytest.raises(ModelFileError, match=r"broken\.gguf"):
        served(broken).start()
    with pytest.raises(Refusal, match=r"of memory; .* needed") as small:
        serve(DEMO, ram=16 << 20, port=0).start()
    assert small.value.smallest_bytes > 16 << 20
    (config := tmp_path / "serve.toml").write_text(f"[ledger]\npath = {str(broken)!r}")
    with pytest.raises(LedgerError, match="no SQLite file"):
        served(config=config).start()
    assert threading.active_count() == 1 + len(
        [t for t in threading.enumerate()[1:] if t.name != "sixgig-serve"]
    )


def test_a_fault_of_its_own_is_told_to_who_starts_it_or_waits(monkeypatch):
    async def broken(*_):
        raise OSError(5, "the meter is gone")

    def no_thread(_thread):
        raise RuntimeError("no thread")

    with monkeypatch.context() as patched:
        patched.setattr("sixgig.gateway.status.Status.refresh", broken)
        server = served()
        with pytest.raises(ServingError, match=r"the server has ended; .*its log"):
            server.start()
        server.stop()  # who started it was told
    with monkeypatch.context() as patched:
        patched.setattr("threading.Thread.start", no_thread)
        with pytest.raises(RuntimeError, match="no thread"):
            server.start()
    server.stop()

    def ends(server, counter):
        raise OSError(5, "nothing works")

    with server:
        monkeypatch.setattr("sixgig.server.http.HttpServer.on_tick", ends)
        with pytest.raises(ServingError, match="nothing works"):
            server.wait(20)
        assert server.wait(20)


def test_prompts_are_not_logged_in_the_background_whatever_the_configuration_says(tmp_path, caplog):
    (config := tmp_path / "serve.toml").write_text("[server]\nlog_prompts = true")
    caplog.set_level(logging.DEBUG)
    with served(config=config, reporter=(heard := Recorder())) as server:
        asked(server, n_tokens=1)
    assert "log_prompts" in heard.words("warn")[0]
    assert "PEP 8" not in caplog.text and any(record.msg == "request" for record in caplog.records)


def test_its_options_win_over_the_configuration_and_no_gpu_may_be_asked_for(tmp_path):
    (config := tmp_path / "serve.toml").write_text(f"""
[server]
ram = "3G"
vram = "6G"
keep_alive = "1m"
parallel = 2
[models.there]
path = {str(DEMO)!r}
""")
    server = serve(config=config, vram=0, keep_alive_s=-1, port=0)
    settings = server.settings.server
    assert (settings.ram_bytes, settings.vram_bytes, settings.parallel) == (3 << 30, 0, 2)
    assert settings.keep_alive_s < 0 and server.models == ("there",)
    with server:
        document = httpx.get(f"{server.url}/status.json").json()
        assert document["budget"]["vram_bytes"] == 0 and document["models"][0]["parallel"] == 2


def test_help_tells_every_argument():
    told = inspect.getdoc(serve)
    for name in set(vars(ServeRequest())) - {"reporter"}:
        assert re.search(rf"\b{name}(, [a-z]+)?( with|:)", told), name
