"""Rotary position embedding (Su et al. 2021, arXiv 2104.09864) as llama.cpp applies it.

Covers: plain, linear scaling, YaRN (Peng et al. 2023, arXiv 2309.00071), frequency factors (Llama 3,
LongRoPE), partial rotation, and Qwen3.5's interleaved sections, which for text are partial rotation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite, log, pi

import torch
from torch import Tensor

from sixgig.families.terms.blocks import Pairs
from sixgig.families.terms.names import ROPE_DIVISORS, ROPE_DIVISORS_LONG, ROPE_DIVISORS_SHORT
from sixgig.finetune.blueprint import Blueprint
from sixgig.finetune.claims import uncovered
from sixgig.finetune.operands import Weights
from sixgig.modelfile import ModelFile

Rotation = tuple[Tensor, Tensor]
"""Cosines and sines, (tokens, 1, n_rotary / 2)."""

_SLIDING_BASE = 10000.0  # of layers with a window, where the file does not say
_LEAST_FACTOR = 1e-6  # of positions' scaling: nothing overflows
_BETA_FAST, _BETA_SLOW = 32.0, 1.0  # llama.cpp's, for YaRN


@dataclass(frozen=True)
class Rope:
    """Rotates the first n_rotary channels of each head.

    scale: what positions are multiplied by. factors: the tensor that frequencies are divided by, "" for none.
    kept: YaRN's first and last pair between not scaled and scaled, None without it. magnitude: what cosines
    and sines are multiplied by. still: pairs that are not turned.
    """

    n_rotary: int
    frequency_base: float
    scale: float
    pairs: Pairs
    factors: str = ""
    kept: tuple[float, float] | None = None
    magnitude: float = 1.0
    still: tuple[int, ...] = ()

    def rotation(self, documents: Sequence[int], weights: Weights, like: Tensor) -> Rotation:
        """For documents of these lengths, positions from 0 in each.

        Angles are computed in float64 and come out in the type and on the device of `like`.
        """
        places = positions(documents, like.device).unsqueeze(1)
        angles = (places * self._frequencies(weights, like)).unsqueeze(1)
        return (angles.cos() * self.magnitude).to(like.dtype), (angles.sin() * self.magnitude).to(like.dtype)

    def _frequencies(self, weights: Weights, like: Tensor) -> Tensor:
        """Radians a position, of each pair."""
        pair = torch.arange(0, self.n_rotary // 2, dtype=torch.float64, device=like.device)
        plain = self.frequency_base ** (-2 * pair / self.n_rotary)
        plain[list(self.still)] = 0
        if self.factors:
            plain = plain / weights.vector(self.factors).double()
        if self.kept is None:
            return self.scale * plain
        first, last = self.kept
        scaled = ((pair - first) / max(0.001, last - first)).clamp(0, 1)
        return plain * (self.scale * scaled + (1 - scaled))

    def rotate(self, x: Tensor, rotation: Rotation) -> Tensor:
        """Heads x (tokens, heads, width), rotated."""
        cos, sin = rotation
        turned, rest = x[..., : self.n_rotary], x[..., self.n_rotary :]
        neighbours = self.pairs is Pairs.NEIGHBOURS
        first, second = (turned[..., 0::2], turned[..., 1::2]) if neighbours else turned.chunk(2, -1)
        pair = first * cos - second * sin, first * sin + second * cos
        turned = torch.stack(pair, -1).flatten(-2) if neighbours else torch.cat(pair, -1)
        return torch.cat((turned, rest), -1)


def positions(documents: Sequence[int], device: torch.device) -> Tensor:
    """Of each token in its document, float64."""
    counted = [torch.arange(length, dtype=torch.float64, device=device) for length in documents]
    return torch.cat(counted)


def read_rope(plan: Blueprint, slides: bool) -> Rope:
    """What the file declares for layers with a window, or for the others; ModelFileError for the unusable."""
    model, counts, width = plan.model, plan.counts, plan.model.attention.key_length
    n_rotary = counts.one("rope.dimension_count", 2, width, default=width)
    counts.require(n_rotary % 2 == 0, "rope.dimension_count", f"{n_rotary}, must be even")
    if slides and (other := counts.one("rope.dimension_count_swa", 0, width, n_rotary)) != n_rotary:
        raise uncovered(model, "rope.dimension_count_swa", other, f"{n_rotary}, as in all layers,")
    kind, whole = _kind(model), _scale(plan)
    base = _base(plan, "rope.freq_base_swa", _SLIDING_BASE) if slides else _base(plan, "rope.freq_base", 1e4)
    scale, magnitude = 1.0 if slides else whole, plan.number("rope.scaling.attn_factor", 1.0)
    kept = None
    if kind == "yarn":
        kept = _kept(plan, n_rotary, base)
        magnitude *= _yarn_magnitude(plan, whole) * (1 - 0.1 * log(scale))
    factors = _factors(plan, kind, n_rotary) if plan.facts.frequency_factors else ""
    still = _still(model, n_rotary) if plan.facts.text_sections else ()
    return Rope(n_rotary, base, scale, plan.facts.pairs, factors, kept, magnitude, still)


def trained_length(plan: Blueprint) -> int:
    """Positions that the model was trained with before they were stretched."""
    name = "rope.scaling.original_context_length"
    found = plan.counts.one(name, 0, 2**31 - 1, default=0) or plan.model.context_length
    plan.counts.require(found > 0, name, "missing")
    return found


def _kind(model: ModelFile) -> str:
    kind = model.metadata.text(f"{model.architecture}.rope.scaling.type") or "linear"
    if kind not in ("none", "linear", "yarn", "longrope"):
        raise uncovered(model, "rope.scaling.type", kind, "none, linear, yarn and longrope")
    return kind


def _base(plan: Blueprint, name: str, default: float) -> float:
    base = plan.counts.number(name, default)
    usable = isfinite(base) and base > 0 and (base != 1 or _kind(plan.model) != "yarn")
    plan.counts.require(usable, name, f"{base}, must be above 0, and not 1 for YaRN")
    return base


def _scale(plan: Blueprint) -> float:
    """Of positions in layers without a window."""
    counts = plan.counts
    factor = counts.number("rope.scaling.factor", counts.number("rope.scale_linear", default=0.0))
    usable = factor == 0 or _LEAST_FACTOR <= factor <= 1 / _LEAST_FACTOR
    counts.require(usable, "rope.scaling.factor", f"{factor}, must be 0 or about 1 or more")
    return 1 / factor if factor and _kind(plan.model) != "none" else 1.0


def _kept(plan: Blueprint, n_rotary: int, base: float) -> tuple[float, float]:
    """The pairs that turn beta_fast and beta_slow times in what the model was trained with, rounded away."""
    trained, read = trained_length(plan), plan.facts.yarn_keys

    def pair_of(name: str, usual: float) -> float:
        turns = plan.counts.number(name, usual) if read else usual
        plan.counts.require(isfinite(turns) and turns > 0, name, f"{turns}, must be above 0")
        return n_rotary * log(trained / (turns * 2 * pi)) / (2 * log(base))

    first = floor(pair_of("rope.scaling.yarn_beta_fast", _BETA_FAST))
    last = ceil(pair_of("rope.scaling.yarn_beta_slow", _BETA_SLOW))
    return max(0, first), min(n_rotary - 1, last)


def _yarn_magnitude(plan: Blueprint, scale: float) -> float:
    """Before each layer's own 1 + 0.1 ln(1 / scale), of which llama.cpp takes that of the whole off again."""
    over = plan.number("rope.scaling.yarn_log_multiplier", 0.0) if plan.facts.yarn_keys else 0.0
    factor = 1 / scale
    found = _mscale(factor, 1.0) / (_mscale(factor, over) if over else 1.0)
    return found / (1 + 0.1 * log(factor))


def _mscale(factor: float, scale: float) -> float:
    return 1.0 if factor <= 1 else 0.1 * scale * log(factor) + 1.0


def _factors(plan: Blueprint, kind: str, n_rotary: int) -> str:
    """LongRoPE has two tensors: one for contexts as trained, one for longer ones."""
    short, long = ROPE_DIVISORS_SHORT, ROPE_DIVISORS_LONG
    if kind != "longrope" and short not in plan.claims and long not in plan.claims:
        short = long = ROPE_DIVISORS
    for name in {short, long}:
        if name in plan.claims:
            plan.claims.need(name, n_rotary // 2)
    chosen = long if short != long and plan.context > trained_length(plan) else short
    return chosen if chosen in plan.claims else ""


def _still(model: ModelFile, n_rotary: int) -> tuple[int, ...]:
    """Pairs of no section, which for text stay as they are: of Qwen3-VL's 64 those numbered 61 and 62."""
    name = "rope.dimension_sections"
    found = model.metadata.integers(f"{model.architecture}.{name}")
    sections = found if isinstance(found, list) and len(found) == 4 and min(found) >= 0 else [0]
    if sum(sections) == 0:
        raise uncovered(model, name, found, "four sections, not all of them 0,")
    order = ((pair, pair % sum(sections)) for pair in range(n_rotary // 2))
    return tuple(pair for pair, sector in order if sector >= 3 * sections[sector % 3])
