"""What a mixture is: how good beside the model it was made of, how it routes real text, how it pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from hashlib import sha256
from typing import Any

import numpy as np

from bench.mixture.routers import hear
from bench.mixture.text import CONTEXT, Text
from bench.ours import counters, difference
from bench.verify_routing import report, trace_of
from sixgig.evaluate import Score, cut, evaluate
from sixgig.inference import Engine, EngineOptions
from sixgig.inference.engine import Logits
from sixgig.inference.load import open_engine
from sixgig.inference.request import PagingOptions
from sixgig.jobs import window_logits
from sixgig.modelfile import ModelFile
from sixgig.planning import footprint

COMPARED, PROMPT = 256, 128  # tokens
SHARES = (0.25, 0.50)


def options(threads: int) -> EngineOptions:
    """The same kernels paged and unpaged, hence the same bits."""
    return EngineOptions(context=CONTEXT, ubatch=CONTEXT, threads=threads, extra_buffers=False)


def logits_of(model: ModelFile, tokens: Sequence[int], threads: int) -> Logits:
    """After each token, float32 [tokens, vocabulary], unpaged."""
    with Engine(model.parts, replace(options(threads), all_logits=True)) as engine:
        return engine.all_logits(tokens)


def apart(one: Logits, other: Logits) -> dict[str, float]:
    """How far two models are from each other, by the same tokens."""
    same, difference = (one.argmax(1) == other.argmax(1)).mean(), np.abs(one - other)
    return {
        "largest_difference": float(difference.max()),
        "rms_difference": float(np.sqrt((difference**2).mean())),
        "deviation": float(one.std()),
        "same_top1": float(same),
    }


def perplexity(model: ModelFile, text: Text, n_windows: int, threads: int) -> dict[str, float]:
    """Of the held-out text's first pieces, as `sixgig score` has it, in windows of CONTEXT."""
    with Engine(model.parts, replace(options(threads), all_logits=True)) as engine:
        windows = cut(text.held_out_tokens, CONTEXT, limit=n_windows)
        score: Score = evaluate(windows, partial(window_logits.logits_of, engine))
    interval = score.intervals["perplexity"]
    assert interval.upper is not None
    return {"perplexity": score.perplexity, "lower": interval.lower, "upper": interval.upper}


def routing(model: ModelFile, text: Text, n_tokens: int, threads: int) -> dict[str, Any]:
    """Histogram, entropy and reuse on held-out text, and what each policy of the simulator would hit."""
    heard = hear(model, text.held_out_tokens[:n_tokens], threads)
    return report(model, heard, trace_of(model, heard))


def paging(model: ModelFile, text: Text, n_tokens: int, threads: int, ram_bytes: int) -> list[dict[str, Any]]:
    """Hits at SHARES of the experts' bytes, prompt and decoded text apart, and whether the bits are those of
    the whole model in memory."""
    tokens = text.held_out_tokens[:n_tokens]
    with open_engine(model, ram_bytes, options(threads), PagingOptions(never=True)) as engine:
        whole, _, _ = _forced(engine, tokens)
    found = []
    for share in SHARES:
        cache = max(int(share * footprint.resident_bytes(model)), footprint.smallest_cache_bytes(model))
        wanted = PagingOptions(always=True, cache_bytes=cache)
        with open_engine(model, ram_bytes, options(threads), wanted) as engine:
            digests, prompt, decoded = _forced(engine, tokens)
        found.append(
            {
                "share": share,
                "cache_bytes": cache,
                "same_bits": digests == whole,
                "prompt": _hits(prompt),
                "decode": _hits(decoded),
            }
        )
    return found


def _forced(engine: Any, tokens: Sequence[int]) -> tuple[list[str], dict[str, float], dict[str, float]]:
    """Digests of the logits after the prompt and after each token that follows; the counters of both."""
    begun = counters(engine)
    engine.prefill(tokens[:PROMPT])
    digests, middle = [sha256(engine.logits().tobytes()).hexdigest()], counters(engine)
    digests += [sha256(engine.decode(token).tobytes()).hexdigest() for token in tokens[PROMPT:]]
    return digests, difference(begun, middle), difference(middle, counters(engine))


def _hits(counted: dict[str, float]) -> dict[str, float]:
    wanted = counted["hits"] + counted["misses"]
    return {
        "hit_rate": counted["hits"] / wanted,
        "misses": counted["misses"],
        "bytes_read": counted["bytes_read"],
    }
