"""Real engine processes on small models, and what sixgig's own engine says of the same prompt."""

import contextlib
import tempfile
from pathlib import Path

import psutil
import pytest

from sixgig.engines import EngineProcess
from sixgig.engines.order import EngineOrder
from sixgig.errors import BudgetError
from sixgig.inference.generate import generate
from sixgig.inference.load import open_engine
from sixgig.inference.options import EngineOptions
from sixgig.inference.request import PagingOptions
from sixgig.inference.sampling import Sampler, SamplingOptions

CONTEXT, UBATCH, THREADS, RAM = 512, 64, 2, 1 << 30
PROMPT = [3 + i * i * 7 % 251 for i in range(90)]


def engines():
    """Engine processes that this one has started; a server's are not among them."""
    return [child for child in psutil.Process().children() if _is_engine(child)]


def _is_engine(child):
    with contextlib.suppress(psutil.NoSuchProcess):  # of zombies too: it has ended
        return "sixgig.engines.child" in child.cmdline()
    return False


def order(path, folder, **changes):
    """One sequence unless told otherwise."""
    fields = {"context": CONTEXT, "sequences": 1, "threads": THREADS, "ubatch": UBATCH, "ram_bytes": RAM}
    return EngineOrder(
        name="tiny", model=str(path), socket=str(Path(folder) / "engine.sock"), **fields | changes
    )


@contextlib.asynccontextmanager
async def running(path, **changes):
    """The engine process, stopped in the end."""
    with tempfile.TemporaryDirectory(prefix="sixgig-") as folder:
        engine = await EngineProcess.start(order(path, folder, **changes))
        try:
            yield engine
        finally:
            await engine.stop()


async def smallest_budget(path, **changes):
    """What the engine itself says it needs, and what two starts of a process may differ by."""
    with pytest.raises(BudgetError) as refused:
        async with running(path, **changes | {"ram_bytes": 1 << 20}):
            pass
    return refused.value.smallest_bytes + (1 << 20)


async def post(engine, path, **body):
    answer = await engine.client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def completion(engine, prompt=PROMPT, n_tokens=24):
    """Greedy: its token ids."""
    fields = {"n_predict": n_tokens, "temperature": 0, "ignore_eos": True, "return_tokens": True}
    answer = await post(engine, "/completion", prompt=list(prompt), cache_prompt=False, **fields)
    return answer["tokens"]


def own_completion(path, prompt=PROMPT, n_tokens=24, always_page=False, adapter=None):
    """The same without a server, in this process."""
    options = EngineOptions(context=CONTEXT, ubatch=UBATCH, threads=THREADS)
    with open_engine(path, None, options, PagingOptions(always=always_page), adapter=adapter) as engine:
        run = generate(
            engine, prompt, n_tokens, Sampler(engine, SamplingOptions(temperature=0)), ignore_end=True
        )
        list(run)
        return run.result.token_ids
