"""One embedding model asked, in a process that may die of it: `python -m bench.architectures.embedding_job`.

Orders and facts as bench.architectures.job's. The oracle is the wheel's own server on the path alone; ours
are the engine process that `sixgig serve` starts, and an engine with experts paged.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.architectures.job import BUDGET_BYTES, REFUSED, SHARES
from sixgig.engines import EngineProcess, ModelCard, ModelSpec, model_card
from sixgig.engines.order import EngineOrder
from sixgig.errors import BudgetError, SixgigError
from sixgig.hardware import PeakSampler
from sixgig.inference.budget import PagingOptions, open_engine
from sixgig.inference.dry_load import dry_load
from sixgig.inference.engine import Engine
from sixgig.inference.options import EngineOptions
from sixgig.llamacpp import Batch, memory_breakdown
from sixgig.modelfile import open_model
from sixgig.plan import footprint

TEXTS = ("And in the end the thing is found.", "Ring the bell twice; then wait, and read on.")
TOKENS = [3 + i * i * 7 % 251 for i in range(90)]
REQUEST = {"input": [*TEXTS, TOKENS], "encoding_format": "float"}
CONTEXT, THREADS = 512, 2
STARTS_BYTES = 2 << 20  # what two starts of a process may differ by
Vectors = NDArray[np.float64]


def main() -> int:
    """The status: 0, or REFUSED with why on stderr."""
    order = json.load(sys.stdin)
    path, out = Path(order["path"]), Path(order["logits"])
    try:
        facts = {"stock": _stock, "served": _served, "paged": _paged}[order["work"]](path, out)
    except SixgigError as error:
        print(f"error: {error}", file=sys.stderr)
        return REFUSED
    print(json.dumps(facts))
    return 0


def _stock(path: Path, out: Path) -> dict[str, Any]:
    """The wheel's own server in this process and nothing of ours; with repacked weights, and plain ones."""
    import xllamacpp

    vectors = {}
    for name, plain in (("repacked", False), ("plain", True)):
        params = xllamacpp.CommonParams()
        params.model.path, params.embedding, params.no_extra_bufts = str(path), True, plain
        params.n_ctx = params.n_batch = params.n_ubatch = CONTEXT
        params.n_parallel, params.n_ctx_checkpoints, params.cache_ram_mib = 1, 0, 0
        params.warmup = params.fit_params = False
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = THREADS
        vectors[name] = _vectors(xllamacpp.Server(params).handle_embeddings(REQUEST))
    np.savez(out, **vectors)
    return {}


def _vectors(answer: dict[str, Any]) -> Vectors:
    rows = sorted(answer["data"], key=lambda row: row["index"])
    return np.array([row["embedding"] for row in rows])


def _served(path: Path, out: Path) -> dict[str, Any]:
    """What the engine process of a server answers: whole and, where it has experts, within the least."""
    card = model_card(ModelSpec("tiny", path, context=CONTEXT))
    vectors = {"served": asyncio.run(_asked(card))}
    if card.paged_bytes is not None:
        try:
            asyncio.run(_asked(card, always_page=True, ram_bytes=1 << 20))
        except BudgetError as error:
            least_bytes = (error.smallest_bytes or 0) + STARTS_BYTES
            vectors["paged"] = asyncio.run(_asked(card, always_page=True, ram_bytes=least_bytes))
    np.savez(out, **vectors)
    return _memory(path, card)


async def _asked(card: ModelCard, **changes: Any) -> Vectors:
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
            answer = await engine.client.post("/v1/embeddings", json=REQUEST)
            assert answer.status_code == 200, answer.text
            return _vectors(answer.json())
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
