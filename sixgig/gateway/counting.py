"""How many tokens a request's prompt has, by the engine's own template and tokenizer."""

from __future__ import annotations

import asyncio
import contextlib

from sixgig.engines import BrokenConnectionError, EngineProcess
from sixgig.gateway.call import Call

_COUNT_S = 5.0  # a prompt that takes longer to count is left to the engine
# Endpoints below a request's own that count its prompt, and those of which a text is tokenised.
_COUNTING = {
    "/v1/chat/completions": "input_tokens",
    "/v1/responses": "input_tokens",
    "/v1/messages": "count_tokens",
}
_TEXT_FIELDS = {"/v1/completions": "prompt"}


async def prompt_tokens(engine: EngineProcess, call: Call) -> int | None:
    """None where it cannot be told, or not in time."""
    with contextlib.suppress(BrokenConnectionError, TimeoutError, ValueError, AttributeError, LookupError):
        async with asyncio.timeout(_COUNT_S):
            tokens = await _asked(engine, call)
        return tokens if isinstance(tokens, int) else None
    return None


async def _asked(engine: EngineProcess, call: Call) -> object:
    if call.path in _TEXT_FIELDS:
        text = call.fields.get(_TEXT_FIELDS[call.path])
        if not isinstance(text, str):
            return None
        reply = await engine.client.post("/tokenize", json={"content": text, "add_special": True})
        return len(reply.json()["tokens"])
    if call.path not in _COUNTING:
        return None
    reply = await engine.client.post(f"{call.path}/{_COUNTING[call.path]}", content=call.body)
    return reply.json().get("input_tokens")
