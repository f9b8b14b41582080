"""Equal work for every engine: the same prompt, then the same tokens one by one, whatever the logits say."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from math import inf
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from sixgig.errors import UsageError

Logits = npt.NDArray[np.float32]


class Runner(Protocol):
    """What an engine must offer to be measured."""

    def prefill(self, tokens: Sequence[int]) -> Logits:
        """Feed a prompt; the last token's logits."""

    def decode(self, token: int) -> Logits:
        """Feed one token; its logits."""


@dataclass(frozen=True)
class Figures:
    """One run. `logits_digests`: a short digest of the logits after the prompt, then after each token, so
    that runs of different length can be compared as far as both went. `finite`: no NaN, no infinity."""

    prompt_tokens: int
    prefill_seconds: float
    token_seconds: tuple[float, ...]
    logits_sha256: str
    logits_digests: tuple[str, ...]
    finite: bool
    peak_memory_bytes: int

    @property
    def prefill_tokens_per_s(self) -> float:
        """Prompt tokens by wall seconds."""
        return self.prompt_tokens / self.prefill_seconds if self.prefill_seconds else 0.0

    @property
    def decode_tokens_per_s(self) -> float:
        """Decoded tokens by the sum of their wall seconds."""
        return len(self.token_seconds) / sum(self.token_seconds) if self.token_seconds else 0.0

    def as_json(self) -> dict[str, Any]:
        """Every field and both rates."""
        prefill, decode = self.prefill_tokens_per_s, self.decode_tokens_per_s
        return {"prefill_tokens_per_s": prefill, "decode_tokens_per_s": decode} | asdict(self)


def run_forced(
    runner: Runner,
    tokens: Sequence[int],
    n_prompt: int,
    decode_seconds: float = inf,
    after_prefill: Callable[[], None] = lambda: None,
) -> Figures:
    """Prefill the first `n_prompt` tokens, then decode the others until they end or `decode_seconds` passed.

    Raises UsageError when the prompt leaves nothing to decode.
    """
    if not 0 < n_prompt < len(tokens):
        raise UsageError(f"a prompt of {n_prompt} out of {len(tokens)} tokens leaves nothing to measure")
    seconds, record = list[float](), _Record()
    prefill_seconds = _timed(lambda: record.add(runner.prefill(tokens[:n_prompt])))
    after_prefill()
    for token in tokens[n_prompt:]:
        if sum(seconds) >= decode_seconds:
            break
        seconds.append(_timed(lambda token=token: record.add(runner.decode(token))))  # type: ignore[misc]
    return Figures(
        n_prompt,
        prefill_seconds,
        tuple(seconds),
        record.whole.hexdigest(),
        tuple(record.digests),
        record.finite,
        peak_bytes(),
    )


class _Record:
    """What the logits were, as digests."""

    def __init__(self) -> None:
        self.whole, self.digests, self.finite = hashlib.sha256(), list[str](), True

    def add(self, logits: Logits) -> None:
        raw = logits.tobytes()
        self.whole.update(raw)
        self.digests.append(hashlib.sha256(raw).hexdigest()[:12])
        self.finite = self.finite and bool(np.isfinite(logits).all())


def _timed(action: Callable[[], None]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def peak_bytes() -> int:
    """This process's largest resident size so far, file pages included; 0 where the system does not say."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return int(fields["VmHWM"].split()[0]) * 1024
