"""Opens a model with its experts paged, or without us, and asks both for the same logits."""

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np

from sixgig.inference.engine import Engine, Logits
from sixgig.inference.options import EngineOptions
from sixgig.modelfile import ModelFile, open_model
from sixgig.pager.native import load_native
from sixgig.pager.pager import CachePolicy, ModelStream, Pager
from sixgig.pager.prediction import teach_routers
from sixgig.planning import footprint

OPTIONS = EngineOptions(context=512, ubatch=64, threads=2, extra_buffers=False, all_logits=True)
PROMPT = tuple(3 + i * i * 7 % 251 for i in range(90))  # two ubatches of 64, the last cut short
DECODED = tuple(3 + i * i * 11 % 241 for i in range(8))


class PagedEngine(Engine):
    """An engine and the pager below it."""

    pager: Pager


@contextmanager
def open_paged(
    path: Path,
    cache_bytes: int,
    options: EngineOptions = OPTIONS,
    policy: CachePolicy = CachePolicy.DECAYED_FREQUENCY,
    read_ahead: bool = False,
) -> Iterator[PagedEngine]:
    """The model with at most `cache_bytes` of its experts resident."""
    with Pager(open_model(path)) as pager:
        pager.configure(cache_bytes, policy)
        if read_ahead:
            teach_routers(pager)
        stream = ModelStream(pager.model, page=True)
        try:
            engine = PagedEngine(
                pager.model.parts, options, source=stream.source, explain=pager.take_failure, pager=pager
            )
        finally:
            stream.close()
        engine.pager = pager
        with engine:
            yield engine


def environment_pager() -> Pager:
    """What SIXGIG_EXPERTS asked for, to read its counters; its handle is null without."""
    native = load_native()
    native.sixgig_environment_pager.restype = ctypes.c_void_p
    pager = Pager.__new__(Pager)
    pager._native, pager._handle = native, native.sixgig_environment_pager()
    pager._closing = threading.Lock()
    return pager


def share_of_experts(path: Path, share: float) -> int:
    """Cache bytes for that share of the routed experts; 0.0 is the smallest cache that works."""
    model = open_model(path)
    return max(int(share * footprint.resident_bytes(model)), footprint.smallest_cache_bytes(model))


def one_visit_bytes(model: ModelFile) -> int:
    """Memory of the experts that one token needs in the widest layer."""
    layers = {tensor.layer for tensor in model.routed_experts()}
    return (
        max(
            sum(footprint.piece_bytes(t) for t in model.routed_experts() if t.layer == layer)
            for layer in layers
        )
        * model.n_experts_used
    )


def logits_of(engine: Engine, prompt: tuple[int, ...] = PROMPT, decoded: tuple[int, ...] = DECODED) -> Logits:
    """The logits after every token of the prompt, then after each decoded token: [tokens, vocabulary]."""
    engine.clear()
    rows = [engine.all_logits(prompt), *(engine.all_logits([token]) for token in decoded)]
    return np.concatenate(rows)


@cache
def stock_logits(
    path: Path,
    options: EngineOptions = OPTIONS,
    prompt: tuple[int, ...] = PROMPT,
    decoded: tuple[int, ...] = DECODED,
) -> Logits:
    """What the library gives without us."""
    with Engine(open_model(path).parts, options) as engine:
        return logits_of(engine, prompt, decoded)
