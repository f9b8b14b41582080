"""A grammar whose ways to read a text double: its own answer ends, and nobody else's."""

import asyncio
import resource
from pathlib import Path

import pytest

import sixgig
from sixgig.engines import BrokenConnectionError
from tests.serve.engine_processes import post, running
from tests.serve.loops import in_loop

DEMO = Path(sixgig.__file__).parent / "demo" / "pep-moe-31m.gguf"
DOUBLING = 'root ::= s\ns ::= "a" s b | "a" s c | "a"\nb ::= "a"\nc ::= "a"'
N_TOKENS = 40
MOST_BYTES = 8 << 30  # of address space: what this is to show would otherwise end the machine


@in_loop
async def test_an_answer_whose_grammar_doubles_ends_and_the_others_go_on() -> None:
    """Asked of the engine itself: the gateway would have refused it."""
    async with running(DEMO, sequences=2) as engine:
        resource.prlimit(engine.pid, resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
        fields = {"prompt": "a", "n_predict": N_TOKENS, "temperature": 0}
        good, doubling = await asyncio.gather(
            post(engine, "/completion", **fields, grammar=f'root ::= "b"{{{N_TOKENS}}}', ignore_eos=True),
            post(engine, "/completion", **fields, grammar=DOUBLING),
        )
        assert good["content"].count("b") == len(good["content"]) > 0
        assert set(doubling["content"]) == {"a"} and doubling["tokens_predicted"] < N_TOKENS
        assert engine.memory.resident_bytes < 512 << 20
        assert (await post(engine, "/completion", **fields, grammar='root ::= "b"'))["content"] == "b"


@in_loop
async def test_a_token_that_a_grammar_splits_in_countless_ways_freezes_nobody_for_good() -> None:
    """Asked of the engine itself: it would compute for ever, whoever has left, and answer nobody."""
    splitting = "root ::= " + "a " * 14 + '\na ::= "-"*'
    async with running(DEMO, sequences=2) as engine:
        with pytest.raises(BrokenConnectionError):
            await post(engine, "/completion", prompt="Title\n-----", n_predict=N_TOKENS, grammar=splitting)
        loss = await engine.lost
        assert "a grammar took more than 5 s for one token" in str(loss)
