"""Rotary position embedding (Su et al. 2021, arXiv 2104.09864) as llama.cpp applies it.

Covers: plain, linear scaling, frequency factors (Llama 3), partial rotation, and Qwen3.5's interleaved
sections, which for text are partial rotation. Does not cover: YaRN, LongRoPE.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor

from sixgig.finetune.claims import uncovered
from sixgig.modelfile import ModelFile
from sixgig.modelfile.counts import Counts

Rotation = tuple[Tensor, Tensor]
"""Cosines and sines, (tokens, 1, n_rotary / 2)."""

_PAIRS_OF_NEIGHBOURS = ("llama",)  # the others pair channel i with i + n_rotary / 2


@dataclass(frozen=True)
class Rope:
    """Rotates the first n_rotary channels of each head. scale: what positions are multiplied by."""

    n_rotary: int
    frequency_base: float
    scale: float
    neighbours: bool

    def rotation(self, documents: Sequence[int], factors: Tensor | None, like: Tensor) -> Rotation:
        """For documents of these lengths, positions from 0 in each; factors divide the frequencies.

        Angles are computed in float64 and come out in the type and on the device of `like`.
        """
        exponents = torch.arange(0, self.n_rotary, 2, dtype=torch.float64, device=like.device) / self.n_rotary
        frequencies = self.scale * self.frequency_base**-exponents
        if factors is not None:
            frequencies = frequencies / factors.double()
        positions = torch.cat([torch.arange(length, device=like.device) for length in documents])
        angles = (positions.double().unsqueeze(1) * frequencies).unsqueeze(1)
        return angles.cos().to(like.dtype), angles.sin().to(like.dtype)

    def rotate(self, x: Tensor, rotation: Rotation) -> Tensor:
        """Heads x (tokens, heads, width), rotated."""
        cos, sin = rotation
        turned, rest = x[..., : self.n_rotary], x[..., self.n_rotary :]
        if self.neighbours:
            first, second = turned[..., 0::2], turned[..., 1::2]
        else:
            first, second = turned.chunk(2, -1)
        pair = first * cos - second * sin, first * sin + second * cos
        turned = torch.stack(pair, -1).flatten(-2) if self.neighbours else torch.cat(pair, -1)
        return torch.cat((turned, rest), -1)


def read_rope(model: ModelFile) -> Rope:
    """What the file declares; ModelFileError for what is not covered."""
    counts, width = Counts(model.metadata, model.architecture), model.attention.key_length
    n_rotary = counts.one("rope.dimension_count", 2, width, default=width)
    base = counts.number("rope.freq_base", default=10000.0)
    counts.require(isfinite(base) and base > 0, "rope.freq_base", f"{base}, must be above 0")
    if (factor := counts.number("rope.scaling.attn_factor", default=1.0)) != 1:
        raise uncovered(model, "rope.scaling.attn_factor", factor, "1")
    if model.architecture == "qwen35moe":
        _check_sections(model, n_rotary)
    return Rope(n_rotary, base, _scale(model, counts), model.architecture in _PAIRS_OF_NEIGHBOURS)


def _scale(model: ModelFile, counts: Counts) -> float:
    kind = model.metadata.text(f"{model.architecture}.rope.scaling.type") or "linear"
    if kind not in ("none", "linear"):
        raise uncovered(model, "rope.scaling.type", kind, "none and linear")
    factor = counts.number("rope.scaling.factor", counts.number("rope.scale_linear", default=0.0))
    counts.require(isfinite(factor) and factor >= 0, "rope.scaling.factor", f"{factor}, must be at least 0")
    return 1 / factor if factor and kind == "linear" else 1.0


def _check_sections(model: ModelFile, n_rotary: int) -> None:
    """Every pair of channels belongs to a section that counts tokens of text: else it would not turn."""
    name = "rope.dimension_sections"
    found = model.metadata.integers(f"{model.architecture}.{name}")
    sections = found if isinstance(found, list) and len(found) == 4 and min(found) >= 0 else [0]
    order = [pair % max(sum(sections), 1) for pair in range(n_rotary // 2)]
    if sum(sections) == 0 or any(sector >= 3 * sections[sector % 3] for sector in order):
        raise uncovered(model, name, found, f"sections that count text in all {n_rotary} channels")
