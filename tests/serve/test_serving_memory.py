"""What the whole engine process takes, against the budget and the plan that it was given."""

import asyncio

import pytest

from tests.serve.engine_processes import post, running, smallest_budget
from tests.serve.loops import in_loop
from tests.serve.test_engine_process import DEMO

MIB = 1 << 20
CONTEXT, SEQUENCES = 1024, 4
SCHEMA = {
    "type": "object",
    "properties": {f"f{i}": {"enum": [f"v{j}" for j in range(40)]} for i in range(20)},
    "required": [f"f{i}" for i in range(20)],
}
TOOLS = [{"type": "function", "function": {"name": f"tool{i}", "parameters": SCHEMA}} for i in range(4)]


async def full_contexts(engine):
    prompts = [[3 + (i * i * 7 + n) % 251 for i in range(CONTEXT - 40)] for n in range(SEQUENCES)]
    fields = {"n_predict": 30, "ignore_eos": True}
    await asyncio.gather(*(post(engine, "/completion", prompt=prompt, **fields) for prompt in prompts))


async def tools(engine):
    """Large grammars in every sequence."""
    chats = [[{"role": "user", "content": f"number {n}"}] for n in range(SEQUENCES)]
    fields = {"tools": TOOLS, "tool_choice": "required", "max_tokens": 60}
    await asyncio.gather(*(post(engine, "/v1/chat/completions", messages=chat, **fields) for chat in chats))


async def log_probabilities(engine):
    fields = {"max_tokens": 200, "logprobs": 20, "ignore_eos": True}
    prompts = ("a", "b", "c", "d")
    await asyncio.gather(*(post(engine, "/v1/completions", prompt=text, **fields) for text in prompts))


async def too_long(engine):
    """Sixty-four thousand characters, which do not fit in the context."""
    chat = [{"role": "user", "content": "word " * 13000}]
    body = {"messages": chat, "max_tokens": 4}
    answers = await asyncio.gather(
        *(engine.client.post("/v1/chat/completions", json=body) for _ in range(SEQUENCES))
    )
    assert {answer.status_code for answer in answers} == {400}


async def many(engine):
    for round_ in range(12):
        chats = [[{"role": "user", "content": f"{round_} {n}"}] for n in range(SEQUENCES)]
        await asyncio.gather(*(post(engine, "/v1/chat/completions", messages=c, max_tokens=4) for c in chats))


LOADS = (full_contexts, tools, log_probabilities, too_long)


@pytest.mark.parametrize("kind", ["demo", "paged"])
@in_loop
async def test_all_kinds_of_requests_stay_within_budget_and_prediction(tiny, kind):
    path = DEMO if kind == "demo" else tiny("qwen35moe", n_experts=32)
    fields = {"context": CONTEXT, "sequences": SEQUENCES, "ubatch": 256, "always_page": kind == "paged"}
    budget = await smallest_budget(path, **fields)
    async with running(path, ram_bytes=budget, **fields) as engine:
        for load in LOADS:
            await load(engine)
            print(f"{load.__name__}: {engine.memory.peak_bytes / MIB:.1f} MiB")
        peak, predicted = engine.memory.peak_bytes, engine.plan["predicted_peak_memory_bytes"]
        print(f"{kind}: {predicted / MIB:.1f} MiB predicted, budget {budget / MIB:.0f} MiB")
        assert peak <= budget
        assert predicted - 20 * MIB <= peak <= predicted + engine.plan["margin_bytes"]


@in_loop
async def test_requests_leave_nothing_behind():
    async with running(DEMO, context=256, sequences=4) as engine:
        await many(engine)
        before = engine.memory.resident_bytes
        for _ in range(2):
            await many(engine)
        assert engine.memory.resident_bytes - before < 2 * MIB
