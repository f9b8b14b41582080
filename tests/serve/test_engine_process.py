"""One engine process: what it answers, how it fails, and that nothing is left of it."""

import asyncio
import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sixgig.engines import BrokenConnectionError, EngineProcess
from sixgig.errors import BudgetError, EngineError, EngineLostError, ModelFileError
from sixgig.inference import Adapter
from sixgig.modelfile import open_model
from tests.serve.engine_processes import PROMPT, completion, engines, order, own_completion, post, running
from tests.serve.loops import in_loop
from tests.tiny import encoders
from tests.tune.adapters import ATTENTION, random_lora, written

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "sixgig" / "demo" / "pep-moe-31m.gguf"
# Where windows slide the server divides a prompt near its end, for its checkpoints: one ubatch there.
PROMPTS = {"qwen35moe": PROMPT, "qwen3moe": PROMPT, "llama": PROMPT, "gpt-oss": PROMPT[:60]}


@pytest.mark.parametrize("kind", PROMPTS)
@in_loop
async def test_it_answers_as_the_engine_does_without_a_server(tiny, kind):
    path = tiny(kind)
    async with running(path) as engine:
        assert engine.plan["mode"] == "unpaged"
        assert await completion(engine, PROMPTS[kind]) == own_completion(path, PROMPTS[kind])
        assert await engine.counters() is None


@pytest.mark.parametrize("kind", ["qwen35moe", "qwen3moe", "gpt-oss"])
@in_loop
async def test_it_answers_the_same_with_its_experts_paged(tiny, kind):
    path = tiny(kind)
    async with running(path, always_page=True) as engine:
        assert engine.plan["mode"] == "paged"
        prompt = PROMPTS[kind]
        assert await completion(engine, prompt) == own_completion(path, prompt, always_page=True)
        assert (await engine.counters())["misses"] > 0


@in_loop
async def test_the_trained_model_gives_the_same_text():
    async with running(DEMO, context=256) as engine:
        answers = [
            await post(engine, "/v1/completions", prompt="Abstract", max_tokens=20, temperature=0)
            for _ in range(2)
        ]
        assert answers[0]["choices"][0]["text"] == answers[1]["choices"][0]["text"] != ""
        assert answers[0]["usage"]["completion_tokens"] == 20
        assert answers[0]["model"] == "tiny"


@in_loop
async def test_loading_is_reported_up_to_the_end(tiny, tmp_path):
    fractions = []
    engine = await EngineProcess.start(order(tiny("qwen3"), tmp_path), fractions.append)
    await engine.stop()
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


@in_loop
async def test_a_broken_file_is_the_files_error_and_nothing_is_left(tiny, tmp_path):
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(tiny("qwen3").read_bytes()[:5000])
    with pytest.raises(ModelFileError, match="broken"):
        await EngineProcess.start(order(broken, tmp_path))
    assert engines() == []
    assert not (tmp_path / "engine.sock").exists()


@in_loop
async def test_a_budget_that_is_too_small_says_which_would_do(tiny, tmp_path):
    path = tiny("qwen3moe")
    with pytest.raises(BudgetError) as refused:
        await EngineProcess.start(order(path, tmp_path, ram_bytes=50 << 20))
    assert refused.value.smallest_bytes > 50 << 20
    async with running(path, ram_bytes=refused.value.smallest_bytes) as engine:
        assert len(await completion(engine)) == 24
    assert engines() == []


@in_loop
async def test_a_server_that_cannot_listen_says_so(tiny, tmp_path):
    with pytest.raises(EngineError, match=r"server does not start.*; .*HTTP"):
        await EngineProcess.start(order(tiny("qwen3"), tmp_path / "no such folder"))
    assert engines() == []


@in_loop
async def test_no_process_for_want_of_a_program_is_an_engine_error(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nothing"))
    with pytest.raises(EngineError, match="no process"):
        await EngineProcess.start(order(tiny("qwen3"), tmp_path))


@in_loop
async def test_a_start_that_is_cancelled_leaves_no_process(tiny, tmp_path):
    loading = asyncio.Event()
    start = asyncio.create_task(
        EngineProcess.start(order(tiny("qwen3"), tmp_path), lambda _fraction: loading.set())
    )
    await loading.wait()
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert engines() == []


@in_loop
async def test_a_killed_engine_breaks_its_stream_and_says_by_what(tiny):
    async with running(tiny("qwen3"), context=4096) as engine:
        body = {"prompt": "a", "n_predict": 4000, "stream": True, "ignore_eos": True}

        async def read_on():
            async with engine.client.stream("/completion", json.dumps(body).encode()) as answer:
                async for _ in answer.aiter_raw():
                    if engine.alive:
                        os.kill(engine.pid, signal.SIGKILL)

        with pytest.raises(BrokenConnectionError):
            await read_on()
        loss = await engine.lost
        assert isinstance(loss, EngineLostError)
        assert "killed by SIGKILL" in str(loss)
        assert not engine.alive
        assert engine.memory is None
        assert await engine.counters() is None
        assert await engine.failure() is None


@in_loop
async def test_an_engine_that_ends_while_loading_is_lost(tiny, tmp_path):
    def kill(_fraction):
        for child in engines():
            child.kill()

    with pytest.raises(EngineLostError, match="killed by SIGKILL"):
        await EngineProcess.start(order(tiny("qwen3"), tmp_path), kill)
    assert engines() == []


@in_loop
async def test_stopping_ends_the_process_and_its_socket_even_in_use(tiny):
    async with running(tiny("qwen3"), context=4096) as engine:
        body = {"prompt": "a", "n_predict": 4000, "ignore_eos": True}
        request = asyncio.create_task(engine.client.post("/completion", json=body))
        await engine.counters()
        assert Path(engine.order.socket).exists()
        assert engine.memory.resident_bytes > 0
        await engine.stop()
        assert not Path(engine.order.socket).exists()
        assert engines() == []
        assert engine.memory is None
        await engine.stop()
        with pytest.raises(BrokenConnectionError):
            await request


@in_loop
async def test_ctrl_c_is_not_for_the_engine(tiny):
    async with running(tiny("qwen3")) as engine:
        os.kill(engine.pid, signal.SIGINT)
        assert len(await completion(engine)) == 24


@in_loop
async def test_a_question_that_nobody_waits_for_does_not_answer_the_next(tiny):
    async with running(tiny("qwen3moe"), always_page=True) as engine:
        os.kill(engine.pid, signal.SIGSTOP)
        asked = asyncio.create_task(engine.counters())
        await asyncio.sleep(0.01)
        asked.cancel()
        os.kill(engine.pid, signal.SIGCONT)
        assert await engine.failure() is None
        assert "misses" in await engine.counters()


@in_loop
async def test_what_it_prints_at_any_length_blocks_nothing(tiny):
    """A pipe that nobody empties would stop the engine; a line without end would stop the reader."""
    async with running(tiny("qwen3")) as engine:
        with open(f"/proc/{engine.pid}/fd/2", "wb") as stderr:
            await asyncio.to_thread(stderr.write, b"x" * (3 << 20) + b"\nthe last line\n")
        os.kill(engine.pid, signal.SIGTERM)
        assert "killed by SIGTERM: the last line" in str(await engine.lost)


PARENT = """
import asyncio, os, signal, sys
from pathlib import Path
import psutil
from sixgig.engines import BrokenConnectionError, EngineProcess
from sixgig.engines.order import EngineOrder

def freeze(fraction):
    child = psutil.Process().children()[0].pid
    os.kill(child, signal.SIGSTOP)
    print(child, flush=True)

async def main():
    order = EngineOrder("tiny", sys.argv[1], sys.argv[2], 1 << 30, 512, 1, 2)
    progress = [freeze] if sys.argv[3] == "loading" else []
    engine = await EngineProcess.start(order, *progress)
    print(engine.pid, flush=True)
    await engine.lost

asyncio.run(main())
"""


@pytest.mark.parametrize("when", ["loading", "ready"])
def test_it_does_not_outlive_a_killed_gateway(tiny, tmp_path, when):
    """While it loads it is stopped, so that it cannot end by itself: the system has to."""
    command = [sys.executable, "-c", PARENT, str(tiny("qwen3")), str(tmp_path / "e.sock"), when]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as parent:
        watched = os.pidfd_open(int(parent.stdout.readline()))
        parent.kill()
        ended, _, _ = select.select([watched], [], [], 10)
        os.close(watched)
    assert ended


@in_loop
async def test_a_second_turn_of_a_hybrid_model_takes_up_where_the_first_ended(tiny):
    """Its states cannot be rolled back; the checkpoints that the plan counts make up for that."""
    async with running(tiny("qwen35moe"), context=2048, sequences=2) as engine:
        turns = [{"role": "user", "content": "a b c d e f g h " * 20}]
        fields = {"max_tokens": 8, "temperature": 0}
        first = await post(engine, "/v1/chat/completions", messages=turns, **fields)
        turns += [first["choices"][0]["message"], {"role": "user", "content": "and then?"}]
        second = await post(engine, "/v1/chat/completions", messages=turns, **fields)
        reused = second["usage"]["prompt_tokens_details"]["cached_tokens"]
        assert reused > 0.7 * first["usage"]["prompt_tokens"]
        assert engine.memory.peak_bytes <= engine.plan["ram_budget_bytes"]


@in_loop
async def test_an_embedding_model_gives_one_vector_of_length_one(tiny):
    async with running(tiny("qwen3"), pooling="mean") as engine:
        texts = ["a b c", "d e f", "a b c"]
        answers = [await post(engine, "/v1/embeddings", input=texts) for _ in range(2)]
        vectors = np.array([[item["embedding"] for item in answer["data"]] for answer in answers])
        assert vectors.shape == (2, 3, 256)
        assert np.allclose(np.linalg.norm(vectors, axis=-1), 1, atol=1e-5)
        assert np.allclose(vectors[0], vectors[1], atol=1e-5)
        assert np.allclose(vectors[0, 0], vectors[0, 2], atol=1e-3)
        assert not np.allclose(vectors[0, 0], vectors[0, 1], atol=1e-2)


@pytest.mark.parametrize("always_page", [False, True])
@in_loop
async def test_an_adapter_changes_what_it_says_as_it_does_without_a_server(tiny, tmp_path, always_page):
    path = tiny("qwen3moe")
    adapter = written(tmp_path / "adapter.gguf", random_lora(path, ATTENTION))
    opened = Adapter.open(adapter, open_model(path))
    async with running(path, adapter=str(adapter), always_page=always_page) as engine:
        tokens = await completion(engine)
        assert tokens == own_completion(path, adapter=opened, always_page=always_page)
        assert tokens != own_completion(path, always_page=always_page)


@pytest.mark.parametrize("kind", ["bert", "t5encoder"])
@in_loop
async def test_an_encoder_of_an_architecture_without_a_declaration_gives_embeddings(kind, tmp_path):
    path = tmp_path / "model.gguf"
    encoders.bert(path) if kind == "bert" else encoders.t5(path, decodes=False)
    more = {} if kind == "bert" else {"sequences": 1}
    async with running(path, pooling="mean", **more) as engine:
        answer = await post(engine, "/v1/embeddings", input=["a b c", "d e f"])
        vectors = np.array([item["embedding"] for item in answer["data"]])
        assert vectors.shape == (2, 64) and np.allclose(np.linalg.norm(vectors, axis=-1), 1, atol=1e-5)
        assert not np.allclose(vectors[0], vectors[1], atol=1e-2)
