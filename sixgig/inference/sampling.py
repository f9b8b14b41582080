"""Choose the next token from the logits of the last one."""

import secrets
import weakref
from collections.abc import Sequence
from dataclasses import dataclass

from sixgig.errors import UsageError
from sixgig.inference.engine import Engine
from sixgig.typed import settle, within

MAX_SEED = 2**32 - 2  # the next value means "random" to llama.cpp
MAX_LAST_N = 1 << 16  # a penalty's memory is allocated at once
MIROSTAT_M = 100  # llama.cpp's
SEQUENCE = ("penalties", "top_k", "top_p", "min_p", "xtc", "temperature")  # llama.cpp's order


@dataclass(frozen=True)
class SamplingOptions:
    """llama.cpp's defaults. temperature 0 takes the likeliest token; top_k 0, top_p 1, min_p 0,
    xtc_probability 0 and penalty_repeat 1 switch their step off. sequence: which steps, in which order.
    mirostat 1 or 2 replaces all steps but the temperature.

    seed None draws one; Sampler.seed tells which. Raises UsageError for values outside their ranges.
    """

    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    penalty_last_n: int = 64
    penalty_repeat: float = 1.0
    mirostat: int = 0
    mirostat_tau: float = 5.0
    mirostat_eta: float = 0.1
    sequence: tuple[str, ...] = SEQUENCE
    seed: int | None = None

    def __post_init__(self) -> None:
        """Refuse what llama.cpp would take without a word."""
        settle(self, "")
        within("temperature", self.temperature, 0, 100)
        within("top-k", self.top_k, 0, 2**31 - 1)
        within("top-p", self.top_p, 0, 1)
        within("min-p", self.min_p, 0, 1)
        within("xtc probability", self.xtc_probability, 0, 1)
        within("xtc threshold", self.xtc_threshold, 0, 1)
        within("penalised tokens", self.penalty_last_n, 0, MAX_LAST_N)
        within("repeat penalty", self.penalty_repeat, 1e-3, 1e3)
        within("mirostat", self.mirostat, 0, 2)
        within("mirostat tau", self.mirostat_tau, 0, 1e3)
        within("mirostat eta", self.mirostat_eta, 0, 1e3)
        within("seed", self.seed, 0, MAX_SEED)
        if unknown := [step for step in self.sequence if step not in SEQUENCE]:
            raise UsageError(f"sampling step {unknown[0]!r} is unknown", "known: " + ", ".join(SEQUENCE))


class Sampler:
    """A llama.cpp sampler chain: the steps of the options, then a draw; or the likeliest of what they
    leave."""

    def __init__(self, engine: Engine, options: SamplingOptions | None = None) -> None:
        options = options or SamplingOptions()
        self.options = options
        self.seed = secrets.randbelow(MAX_SEED + 1) if options.seed is None else options.seed
        self._c = engine.library.c
        self._chain: int = self._c.llama_sampler_chain_init(self._c.llama_sampler_chain_default_params())
        self._finalizer = weakref.finalize(self, self._c.llama_sampler_free, self._chain)
        for link in self._links(engine.vocabulary.size):
            self._c.llama_sampler_chain_add(self._chain, link)

    def _links(self, n_vocab: int) -> list[int]:
        c, options = self._c, self.options
        if options.mirostat:
            learning = (options.mirostat_tau, options.mirostat_eta)
            by = (
                c.llama_sampler_init_mirostat(n_vocab, self.seed, *learning, MIROSTAT_M)
                if options.mirostat == 1
                else c.llama_sampler_init_mirostat_v2(self.seed, *learning)
            )
            return [c.llama_sampler_init_temp(options.temperature), by]
        steps = [self._step(name, n_vocab) for name in options.sequence if self._matters(name)]
        greedy = options.temperature == 0
        return [*steps, c.llama_sampler_init_greedy() if greedy else c.llama_sampler_init_dist(self.seed)]

    def _matters(self, step: str) -> bool:
        """Is it switched on? The others leave the likeliest token the likeliest one, where that is taken."""
        options = self.options
        if step == "penalties":
            return options.penalty_repeat != 1 and options.penalty_last_n > 0
        return options.xtc_probability > 0 if step == "xtc" else options.temperature > 0

    def _step(self, name: str, n_vocab: int) -> int:
        c, options = self._c, self.options
        chance, threshold = options.xtc_probability, options.xtc_threshold
        link: int
        match name:
            case "penalties":
                penalty = options.penalty_repeat
                link = c.llama_sampler_init_penalties(n_vocab, options.penalty_last_n, penalty, 0.0, 0.0)
            case "top_k":
                link = c.llama_sampler_init_top_k(options.top_k)
            case "top_p":
                link = c.llama_sampler_init_top_p(options.top_p, 1)
            case "min_p":
                link = c.llama_sampler_init_min_p(options.min_p, 1)
            case "xtc":
                link = c.llama_sampler_init_xtc(chance, threshold, 0, self.seed)
            case _:
                link = c.llama_sampler_init_temp(options.temperature)
        return link

    def heed(self, prompt: Sequence[int]) -> None:
        """Penalties count the prompt's tokens too."""
        if self._matters("penalties"):
            for token in prompt[-self.options.penalty_last_n :]:
                self._c.llama_sampler_accept(self._chain, token)

    def sample(self, engine: Engine) -> int:
        """The next token after the last one `engine` evaluated. Raises as Engine.sample_with."""
        return engine.sample_with(self._chain)

    def reset(self) -> None:
        """Back to the first draw of the seed."""
        self._c.llama_sampler_reset(self._chain)

    def close(self) -> None:
        """Free the chain; safe to call twice."""
        self._finalizer()
