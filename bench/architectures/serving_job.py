"""One model served, in a process that may die of it: `python -m bench.architectures.serving_job`.

Orders and facts as bench.architectures.job's. The oracle is the wheel's own server on the path alone; ours is
the engine process that `sixgig serve` starts. Embeddings also of an engine with experts paged.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.architectures.job import BUDGET_BYTES, SHARES, answer
from sixgig.engines import EngineProcess, ModelCard, ModelSpec, model_card
from sixgig.engines.order import EngineOrder
from sixgig.errors import BudgetError
from sixgig.hardware import PeakSampler
from sixgig.inference.dry_load import dry_load
from sixgig.inference.engine import Engine
from sixgig.inference.load import open_engine
from sixgig.inference.options import EngineOptions
from sixgig.inference.request import PagingOptions
from sixgig.inference.serving import CHECKPOINTS
from sixgig.llamacpp import Batch, memory_breakdown
from sixgig.modelfile import open_model
from sixgig.planning import footprint

TEXTS = ("And in the end the thing is found.", "Ring the bell twice; then wait, and read on.")
TOKENS = [3 + i * i * 7 % 251 for i in range(90)]
REQUEST = {"input": [*TEXTS, TOKENS], "encoding_format": "float"}
ANSWER = {"prompt": TOKENS, "n_predict": 24, "temperature": 0, "return_tokens": True}
CONTEXT, UBATCH, THREADS, SEQUENCES = 512, 64, 2, 2  # of text: two evaluations, one sequence of two
STARTS_BYTES = 2 << 20  # what two starts of a process may differ by
Vectors = NDArray[np.float64]


def main() -> int:
    """As bench.architectures.job.answer()."""
    return answer(
        {
            "stock": _stock,
            "served": _served,
            "paged": _paged,
            "stock text": _stock_text,
            "served text": _served_text,
        }
    )


def _stock(path: Path, out: Path) -> dict[str, Any]:
    """The wheel's own server in this process and nothing of ours; with repacked weights, and plain ones."""
    vectors = {}
    for name, plain in (("repacked", False), ("plain", True)):
        params = _parameters(path, CONTEXT)
        params.embedding, params.no_extra_bufts = True, plain
        vectors[name] = _vectors(_server(params).handle_embeddings(REQUEST))
    np.savez(out, **vectors)
    return {}


def _stock_text(path: Path, out: Path) -> dict[str, Any]:
    """Greedy tokens of the wheel's server, which cuts a prompt where it saves a checkpoint, as ours does."""
    params = _parameters(path, UBATCH)
    params.n_parallel, params.n_ctx, params.kv_unified = SEQUENCES, SEQUENCES * CONTEXT, False
    params.n_ctx_checkpoints = CHECKPOINTS
    answer = _server(params).handle_completions(ANSWER | {"verbose": True})
    np.savez(out, tokens=answer["__verbose"]["tokens"])
    return {}


def _parameters(path: Path, ubatch: int) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path, params.n_ctx, params.n_batch, params.n_ubatch = str(path), CONTEXT, ubatch, ubatch
    params.n_parallel, params.n_ctx_checkpoints, params.cache_ram_mib = 1, 0, 0
    params.warmup = params.fit_params = False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = THREADS
    return params


def _server(params: Any) -> Any:
    import xllamacpp

    return xllamacpp.Server(params)


def _vectors(answer: dict[str, Any]) -> Vectors:
    rows = sorted(answer["data"], key=lambda row: row["index"])
    return np.array([row["embedding"] for row in rows])


def _served(path: Path, out: Path) -> dict[str, Any]:
    """What the engine process of a server answers: whole and, where it has experts, within the least."""
    card = model_card(ModelSpec("tiny", path, context=CONTEXT))
    ask = partial(_asked, card, "/v1/embeddings", REQUEST)
    vectors = {"served": _vectors(asyncio.run(ask()))}
    if card.paged_bytes is not None:
        try:
            asyncio.run(ask(always_page=True, ram_bytes=1 << 20))
        except BudgetError as error:
            least_bytes = (error.smallest_bytes or 0) + STARTS_BYTES
            vectors["paged"] = _vectors(asyncio.run(ask(always_page=True, ram_bytes=least_bytes)))
    np.savez(out, **vectors)
    return _memory(path, card)


def _served_text(path: Path, out: Path) -> dict[str, Any]:
    """Greedy tokens of an engine process of a server with two sequences."""
    card = model_card(ModelSpec("tiny", path, context=CONTEXT, sequences=SEQUENCES), UBATCH)
    answer = asyncio.run(_asked(card, "/completion", ANSWER, sequences=SEQUENCES))
    np.savez(out, tokens=answer["tokens"])
    return {}


async def _asked(card: ModelCard, endpoint: str, request: dict[str, Any], **changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "context": card.context,
        "ubatch": card.ubatch,
        "pooling": card.pooling,
        "sequences": 1,
        "threads": THREADS,
        "ram_bytes": BUDGET_BYTES,
    }
    with tempfile.TemporaryDirectory(prefix="sixgig-") as folder:
        order = EngineOrder(
            name="tiny", model=str(card.spec.path), socket=f"{folder}/engine.sock", **fields | changes
        )
        engine = await EngineProcess.start(order)
        try:
            answer = await engine.client.post(endpoint, json=request)
            assert answer.status_code == 200, answer.text
            told: dict[str, Any] = answer.json()
            return told
        finally:
            await engine.stop()


def _options(card: ModelCard) -> EngineOptions:
    return EngineOptions(context=card.context, ubatch=card.ubatch, threads=THREADS, pooling=card.pooling)


def _memory(path: Path, card: ModelCard) -> dict[str, Any]:
    """What the dry load says, and what an engine with those options holds."""
    options = _options(card)
    dry = dry_load(open_model(path), options)
    with PeakSampler(0.005) as sampler, open_engine(path, BUDGET_BYTES, options) as engine:
        _vector(engine)
        held = memory_breakdown(engine.library.c, engine._context)
        plan = engine.plan
    return {
        "dry": [vars(need) for need in dry.buffers],
        "held": [vars(need) for need in held],
        "peak_bytes": sampler.peak.total_bytes,
        "predicted_bytes": plan.predicted_peak_bytes,
        "margin_bytes": plan.margin_bytes,
    }


def _paged(path: Path, out: Path) -> dict[str, Any]:
    """The vector of TOKENS, unpaged and with a cache of each share; evictions of each."""
    model = open_model(path)
    options = replace(_options(model_card(ModelSpec("tiny", path, context=CONTEXT))), extra_buffers=False)
    with open_engine(model, BUDGET_BYTES, options, PagingOptions(never=True)) as engine:
        vectors = {"unpaged": _vector(engine)}
    facts: dict[str, Any] = {}
    for name, share in SHARES.items():
        wanted = int(share * footprint.resident_bytes(model))
        paging = PagingOptions(always=True, cache_bytes=max(wanted, footprint.smallest_cache_bytes(model)))
        with open_engine(model, BUDGET_BYTES, options, paging) as engine:
            vectors[name] = _vector(engine)
            assert engine.pager is not None
            facts[name] = {"evictions": engine.pager.counters().evictions}
    np.savez(out, **vectors)
    return facts


def _vector(engine: Engine) -> NDArray[np.float32]:
    c = engine.library.c
    c.llama_get_embeddings_seq.restype = ctypes.POINTER(ctypes.c_float)
    c.llama_get_embeddings_seq.argtypes = (ctypes.c_void_p, ctypes.c_int32)
    c.llama_model_n_embd_out.restype, c.llama_model_n_embd_out.argtypes = ctypes.c_int32, (ctypes.c_void_p,)
    ids, wanted = (ctypes.c_int32 * len(TOKENS))(*TOKENS), (ctypes.c_int8 * len(TOKENS))(*[1] * len(TOKENS))
    status = c.llama_decode(engine._context, Batch(n_tokens=len(TOKENS), token=ids, logits=wanted))
    assert status == 0, status
    width = c.llama_model_n_embd_out(engine._model)
    return np.ctypeslib.as_array(c.llama_get_embeddings_seq(engine._context, 0), (width,)).copy()


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)
