"""What a model that was loaded did, and what that took."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sixgig.inference import Generation
from sixgig.jobs.opening import RunStats


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


@dataclass(frozen=True)
class ModelStats(RunStats):
    """What a model that was loaded did, and what that took. work: the texts."""

    work: Work
