"""Choose the next token from the logits of the last one."""

import math
import secrets
import weakref
from dataclasses import dataclass

from sixgig.errors import UsageError
from sixgig.inference.engine import Engine

MAX_SEED = 2**32 - 2  # the next value means "random" to llama.cpp


@dataclass(frozen=True)
class SamplingOptions:
    """temperature 0 takes the likeliest token; top_k 0, top_p 1 and min_p 0 switch their filter off.

    seed None draws one; Sampler.seed tells which. Raises UsageError for values outside their ranges.
    """

    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    seed: int | None = None

    def __post_init__(self) -> None:
        """Refuse what llama.cpp would take without a word."""
        _within("temperature", self.temperature, 0, 100)
        _within("top-k", self.top_k, 0, 2**31 - 1)
        _within("top-p", self.top_p, 0, 1)
        _within("min-p", self.min_p, 0, 1)
        _within("seed", 0 if self.seed is None else self.seed, 0, MAX_SEED)


class Sampler:
    """A llama.cpp sampler chain: top-k, top-p, min-p, temperature, then a draw; or greedy alone."""

    def __init__(self, engine: Engine, options: SamplingOptions | None = None) -> None:
        options = options or SamplingOptions()
        self.options = options
        self.seed = secrets.randbelow(MAX_SEED + 1) if options.seed is None else options.seed
        self._c = engine.library.c
        self._chain: int = self._c.llama_sampler_chain_init(self._c.llama_sampler_chain_default_params())
        self._finalizer = weakref.finalize(self, self._c.llama_sampler_free, self._chain)
        for link in self._links():
            self._c.llama_sampler_chain_add(self._chain, link)

    def _links(self) -> list[int]:
        c, options = self._c, self.options
        if options.temperature == 0:
            return [c.llama_sampler_init_greedy()]
        return [
            c.llama_sampler_init_top_k(options.top_k),
            c.llama_sampler_init_top_p(options.top_p, 1),
            c.llama_sampler_init_min_p(options.min_p, 1),
            c.llama_sampler_init_temp(options.temperature),
            c.llama_sampler_init_dist(self.seed),
        ]

    def sample(self, engine: Engine) -> int:
        """The next token after the last one `engine` evaluated."""
        return engine.sample_with(self._chain)

    def reset(self) -> None:
        """Back to the first draw of the seed."""
        self._c.llama_sampler_reset(self._chain)

    def close(self) -> None:
        """Free the chain; safe to call twice."""
        self._finalizer()


def _within(name: str, value: float, low: float, high: float) -> None:
    if not (math.isfinite(value) and low <= value <= high):
        raise UsageError(f"{name} of {value} is not possible", f"from {low} to {high}")
