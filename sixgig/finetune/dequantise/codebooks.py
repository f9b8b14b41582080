"""Four bits that choose one of 16 numbers: IQ4_NL, IQ4_XS, MXFP4, NVFP4."""

from __future__ import annotations

from functools import cache

import torch
from gguf import quants
from torch import Tensor

from sixgig.finetune.dequantise.bits import halves, looked_up, scaled, signed, unpack_in_order


def iq4_nl(blocks: Tensor, out: Tensor) -> None:
    """One scale for 32 numbers."""
    scaled(halves(blocks, 0), _chosen("IQ4_NL", blocks[:, 2:].view(-1, 1, 16)), out)


def iq4_xs(blocks: Tensor, out: Tensor) -> None:
    """256 numbers; 8 groups with a scale of 6 bits."""
    scale = unpack_in_order(blocks[:, 4:8], 4).add_(unpack_in_order(blocks[:, 2:4], 2), alpha=16)
    q = _chosen("IQ4_NL", blocks[:, 8:].view(-1, 8, 16))
    scaled(halves(blocks, 0) * signed(scale, 32), q, out)


def mxfp4(blocks: Tensor, out: Tensor) -> None:
    """A power of two as scale for 32 numbers."""
    scale = _powers_of_two(blocks.device)[blocks[:, :1].int()]
    scaled(scale, _chosen("MXFP4", blocks[:, 1:].view(-1, 1, 16)), out)


def nvfp4(blocks: Tensor, out: Tensor) -> None:
    """64 numbers; 4 groups with a scale in E4M3."""
    scale = _e4m3(blocks.device)[blocks[:, :4].int()]
    scaled(scale, _chosen("MXFP4", blocks[:, 4:].view(-1, 4, 8)), out)


def _chosen(codebook: str, packed: Tensor) -> Tensor:
    """(n_blocks, groups, n) to int8 (n_blocks, groups, 2, n): what low and high halves choose."""
    return looked_up(_pairs(codebook, packed.device), packed).transpose(-1, -2)


@cache
def _pairs(codebook: str, device: torch.device) -> Tensor:
    """For each byte what its low and high half choose, as one int16."""
    values = torch.tensor(getattr(quants, codebook).kvalues, dtype=torch.int8)
    pairs = torch.stack([values.repeat(16), values.repeat_interleave(16)], 1)
    return pairs.view(torch.int16).flatten().to(device)


@cache
def _powers_of_two(device: torch.device) -> Tensor:
    """E8M0, halved because the codebook holds doubles."""
    return torch.tensor([2.0 ** (byte - 128) for byte in range(256)], dtype=torch.float32, device=device)


@cache
def _e4m3(device: torch.device) -> Tensor:
    """E4M3 without its sign, halved likewise. ggml takes the NaN 0x7F as 0, but not 0xFF."""
    values = [_number(byte >> 3 & 15, byte & 7) / 2 for byte in range(256)]
    values[0x7F] = 0.0
    return torch.tensor(values, dtype=torch.float32, device=device)


def _number(exponent: int, mantissa: int) -> float:
    return mantissa * 2.0**-9 if exponent == 0 else (1 + mantissa / 8) * 2.0 ** (exponent - 7)
