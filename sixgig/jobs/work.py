"""What a model that was loaded did, and what that took."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sixgig.inference import Generation
from sixgig.pager.pager import Counters


@dataclass(frozen=True)
class Work:
    """Texts generated, those left half read as far as they came; of none whose prompt was given up.

    prompt_tokens: those evaluated (the rest was in the KV cache), in prompt_s seconds, of which
    first_prompt_tokens and first_prompt_s were the first text's. tokens: generated. decode_steps: evaluations
    of one token each, in decode_s seconds.
    """

    n_texts: int = 0
    prompt_tokens: int = 0
    prompt_s: float = 0.0
    first_prompt_tokens: int = 0
    first_prompt_s: float = 0.0
    tokens: int = 0
    decode_steps: int = 0
    decode_s: float = 0.0

    def plus(self, text: Generation) -> Work:
        """With one more."""
        if not text.prefill_tokens:
            return self
        first = (
            self
            if self.n_texts
            else Work(first_prompt_tokens=text.prefill_tokens, first_prompt_s=text.prefill_s)
        )
        return replace(
            first,
            n_texts=self.n_texts + 1,
            prompt_tokens=self.prompt_tokens + text.prefill_tokens,
            prompt_s=self.prompt_s + text.prefill_s,
            tokens=self.tokens + len(text.token_ids),
            decode_steps=self.decode_steps + text.decode_steps,
            decode_s=self.decode_s + text.decode_s,
        )

    @property
    def prompt_tokens_per_s(self) -> float:
        """0.0 where none were evaluated."""
        return self.prompt_tokens / self.prompt_s if self.prompt_s > 0 else 0.0

    @property
    def decode_tokens_per_s(self) -> float:
        """0.0 where none were decoded."""
        return self.decode_steps / self.decode_s if self.decode_s > 0 else 0.0


@dataclass(frozen=True, kw_only=True)
class ModelStats:
    """What a model did since it was loaded, and what that took.

    load_s: seconds that planning and loading took. work: the texts. counters: of the expert cache, None where
    the model runs unpaged. peak_memory_bytes: most memory that this whole process held at once since loading
    began; of those peak_file_bytes were pages of program files, peak_anonymous_bytes all others.
    """

    load_s: float
    work: Work
    counters: Counters | None
    peak_memory_bytes: int
    peak_anonymous_bytes: int
    peak_file_bytes: int

    @property
    def hit_rate(self) -> float | None:
        """Share of the experts wanted that were in memory; None where the model runs unpaged."""
        return self.counters.hit_rate if self.counters else None

    @property
    def bytes_read(self) -> int:
        """Of experts, from disk."""
        return self.counters.bytes_read if self.counters else 0
