"""What befalls engine processes under a running `sixgig serve`: killed, their files cut or gone."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import tempfile
from pathlib import Path

import httpx
import pytest

from sixgig.engines import ModelSpec, model_card
from tests.paged.test_failures import Original, empty
from tests.serve.ledger_rows import rows
from tests.serve.loops import in_loop
from tests.serve.ollama_server import DEMO
from tests.serve.served import sixgig_serve

WORDS = [{"role": "user", "content": "What is a decorator?"}]
# Each goes on for much longer than the test.
LONG = {
    "openai": ("/v1/chat/completions", {"messages": WORDS, "max_tokens": 3000, "ignore_eos": True}),
    "completions": ("/v1/completions", {"prompt": "def f", "max_tokens": 3000, "ignore_eos": True}),
    "anthropic": ("/v1/messages", {"messages": WORDS, "max_tokens": 3000, "ignore_eos": True}),
    "responses": ("/v1/responses", {"input": "hello", "max_output_tokens": 3000, "ignore_eos": True}),
    "ollama": ("/api/chat", {"messages": WORDS, "options": {"num_predict": 3000, "temperature": 0}}),
}


class Stream:
    """A request under way; `said` grows as pieces come."""

    def __init__(self, client, api, model, **fields):
        path, body = LONG[api]
        self.said, self.began, self.grown = b"", asyncio.Event(), asyncio.Event()
        self.task = asyncio.create_task(
            self._read(client, path, {"model": model, "stream": True, **body, **fields})
        )

    async def _read(self, client, path, body):
        async with client.stream("POST", path, json=body) as answer:
            self.status = answer.status_code
            async for piece in answer.aiter_bytes():
                self.said += piece
                self.began.set()
                self.grown.set()

    @property
    def last(self):
        """The last event's or line's document."""
        lines = [line.removeprefix(b"data: ") for line in self.said.splitlines() if b"{" in line]
        return json.loads(lines[-1])


def server(folder, models):
    tables = [
        f"[models.{name}]\n" + "\n".join(f"{k} = {json.dumps(v)}" for k, v in fields.items())
        for name, fields in models.items()
    ]
    return sixgig_serve(folder, "\n".join(['[server]\nram = "2G"\nparallel = 5', *tables]))


def ledger(folder, columns):
    return rows(next((folder / "data").rglob("ledger.sqlite")), "entries", columns)


def state(served, name):
    return next(model for model in served.status()["models"] if model["name"] == name)


async def until(condition):
    async with asyncio.timeout(20):
        while not (found := condition()):
            await asyncio.sleep(0.05)
        return found


def client_of(served):
    return httpx.AsyncClient(base_url=served.url, timeout=60)


async def answer(client, model):
    body = {"model": model, "messages": WORDS, "max_tokens": 8, "temperature": 0}
    return await client.post("/v1/chat/completions", json=body)


@in_loop
async def test_a_killed_engine_ends_its_streams_with_the_reason_and_no_other(tmp_path):
    with server(tmp_path, {"a": {"path": str(DEMO)}, "b": {"path": str(DEMO)}}) as served:
        async with client_of(served) as client:
            expected = (await answer(client, "a")).json()["choices"]
            streams = {api: Stream(client, api, "a") for api in LONG}
            other = Stream(client, "openai", "b")
            for stream in (*streams.values(), other):
                await stream.began.wait()
            os.kill(await until(lambda: state(served, "a")["pid"]), signal.SIGKILL)
            await asyncio.gather(*(stream.task for stream in streams.values()))
            last = {api: stream.last for api, stream in streams.items()}
            assert "killed by SIGKILL" in last["openai"]["error"]["message"]
            assert "killed by SIGKILL" in last["completions"]["error"]["message"]
            assert (last["anthropic"]["type"], last["responses"]["type"]) == ("error", "error")
            assert "killed by SIGKILL" in last["anthropic"]["error"]["message"]
            assert "killed by SIGKILL" in last["responses"]["message"]
            assert "killed by SIGKILL" in last["ollama"]["error"]
            assert {stream.status for stream in streams.values()} == {200}
            other.grown.clear()
            async with asyncio.timeout(10):
                await other.grown.wait()
            again = await answer(client, "a")
            assert (again.status_code, again.json()["choices"]) == (200, expected)
            lost = await until(lambda: (one := state(served, "a"))["losses"] and one)
            assert (lost["losses"], "killed by SIGKILL" in lost["last_loss"]) == (1, True)
            other.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await other.task
            await until(lambda: len(ledger(tmp_path, "id")) == 8)
            await until(lambda: served.status()["queue"]["running"] == 0)
    found = ledger(tmp_path, "model, outcome, status, path")
    assert sorted(path for _, outcome, _, path in found if outcome == "failed") == sorted(
        ["/v1/chat/completions"] * 2 + ["/v1/completions", "/v1/messages", "/v1/responses"]
    )
    assert [model for model, outcome, _, _ in found if outcome == "cancelled"] == ["b"]


@in_loop
async def test_a_file_cut_in_mid_stream_is_named_with_place_and_reason_and_mended_serves_again(
    tiny, tmp_path
):
    path = shutil.copy(tiny("qwen3moe", n_experts=128), tmp_path / "model.gguf")
    card = model_card(ModelSpec("paged", path, context=2048, sequences=5))
    fields = {"path": str(path), "context": 2048, "ram": card.paged_bytes + (1 << 20)}
    prompt = {"prompt": [3 + i * i * 7 % 251 for i in range(40)], "temperature": 0, "model": "paged"}
    with server(tmp_path, {"paged": fields}) as served:
        async with client_of(served) as client:
            whole = {**prompt, "max_tokens": 12, "ignore_eos": True, "cache_prompt": False}
            expected = (await client.post("/v1/completions", json=whole)).json()["choices"]
            assert (await until(lambda: state(served, "paged")["mode"])) == "paged"
            original = Original(path)
            asked = {"prompt": prompt["prompt"], "max_tokens": 1500}
            streams = [Stream(client, "completions", "paged", **asked) for _ in range(2)]
            for stream in streams:
                await stream.began.wait()
            empty(path)
            await asyncio.gather(*(stream.task for stream in streams))
            told = [stream.last["error"]["message"] for stream in streams]
            refused = await client.post("/v1/completions", json=whole)
            said = refused.json()["error"]["message"]
            for message in (*told, said):
                assert str(path) in message, told
                assert " at byte " in message, told
            original.restore()
            again = await client.post("/v1/completions", json=whole)
            assert (again.status_code, again.json()["choices"]) == (200, expected)
            assert refused.status_code == 503
            assert state(served, "paged")["losses"] == 0
    assert sorted(outcome for (outcome,) in ledger(tmp_path, "outcome")) == ["failed"] * 3 + ["ok"] * 2


@pytest.mark.parametrize("gone", ["file", "socket folder"])
@in_loop
async def test_what_vanishes_before_the_first_request_is_told_and_a_restored_file_serves(
    tmp_path, gone, monkeypatch
):
    path = shutil.copy(DEMO, tmp_path / "model.gguf")
    own = tempfile.TemporaryDirectory()  # a socket's path must be short
    monkeypatch.setenv("TMPDIR", own.name)
    with own, server(tmp_path, {"a": {"path": str(path)}}) as served:
        async with client_of(served) as client:
            if gone == "file":
                os.rename(path, tmp_path / "elsewhere")
            else:
                (folder,) = Path(own.name).glob("sixgig-*")
                shutil.rmtree(folder)
            refused = await answer(client, "a")
            assert refused.status_code >= 500
            assert refused.json()["error"]["message"]
            if gone == "file":
                assert str(path) in refused.json()["error"]["message"]
                os.rename(tmp_path / "elsewhere", path)
            else:
                os.mkdir(folder, 0o700)
            assert (await answer(client, "a")).status_code == 200
