"""Equal work for every engine: the same prompt, then the same tokens one by one, whatever the logits say."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
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
    """One run. `logits_sha256` covers the prompt's last logits and those of every decoded token, in order."""

    prompt_tokens: int
    decoded_tokens: int
    prefill_seconds: float
    token_seconds: tuple[float, ...]
    logits_sha256: str
    logits_finite: bool
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


def run_forced(runner: Runner, tokens: Sequence[int], n_prompt: int) -> Figures:
    """Prefill the first `n_prompt` tokens, decode the others. Raises UsageError when there are too few."""
    if not 0 < n_prompt < len(tokens):
        raise UsageError(f"a prompt of {n_prompt} out of {len(tokens)} tokens leaves nothing to measure")
    digest, finite = hashlib.sha256(), True
    started = time.perf_counter()
    logits = runner.prefill(tokens[:n_prompt])
    prefill_seconds = time.perf_counter() - started
    token_seconds = []
    for token in tokens[n_prompt:]:
        digest.update(logits.tobytes())
        finite = finite and bool(np.isfinite(logits).all())
        started = time.perf_counter()
        logits = runner.decode(token)
        token_seconds.append(time.perf_counter() - started)
    digest.update(logits.tobytes())
    finite = finite and bool(np.isfinite(logits).all())
    return Figures(
        n_prompt,
        len(token_seconds),
        prefill_seconds,
        tuple(token_seconds),
        digest.hexdigest(),
        finite,
        peak_bytes(),
    )


def peak_bytes() -> int:
    """This process's largest resident size so far, file pages included; 0 where the system does not say."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return int(fields["VmHWM"].split()[0]) * 1024
