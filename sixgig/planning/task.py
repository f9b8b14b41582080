"""What a model is to be used for, in the numbers that memory and time depend on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

TaskKind = Literal["run", "tune", "shrink"]


@dataclass(frozen=True)
class Task:
    """context: positions the cache holds for each of the `sequences` answered side by side. ubatch: prompt
    tokens evaluated together. prompt_tokens: length of the prompt that time to first token and the speed
    after it are told for, at most the context.

    tune_tokens: tokens of one training step; micro_tokens: of what goes through attention together; rank: of
    the adapters.
    """

    kind: TaskKind = "run"
    context: int = 4096
    ubatch: int = 512
    type_k: str = "F16"
    type_v: str = "F16"
    prompt_tokens: int = 512
    read_ahead: bool = True
    tune_tokens: int = 4096
    micro_tokens: int = 1024
    rank: int = 16
    sequences: int = 1

    @property
    def prompt(self) -> int:
        """The prompt, at least one token, within the context."""
        return max(1, min(self.prompt_tokens, self.context - 1))

    @property
    def batch(self) -> int:
        """Tokens evaluated together at most."""
        return min(self.ubatch, self.context * self.sequences)
