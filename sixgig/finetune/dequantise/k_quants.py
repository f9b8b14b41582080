"""Super-blocks of 256 numbers, whose groups have small integer scales: Q2_K to Q6_K."""

from __future__ import annotations

import torch
from torch import Tensor

from sixgig.finetune.dequantise.bits import halves, scaled, signed, unpack


def q2_k(blocks: Tensor, out: Tensor) -> None:
    """2 bits; 16 groups with a scale and a minimum of 4 bits."""
    factors = halves(blocks, 80, 2)[..., None] * unpack(blocks[:, :16], 4)
    q = unpack(blocks[:, 16:80].view(-1, 2, 32), 2)
    _scaled_above_minimum(factors, q.view(-1, 16, 16), out)


def q3_k(blocks: Tensor, out: Tensor) -> None:
    """2 bits, and the third apart: -4 to 3; 16 groups with a scale of 6 bits."""
    low = unpack(blocks[:, 32:96].view(-1, 2, 32), 2)
    q = _joined(low, unpack(blocks[:, :32], 1), 2)
    scale = _joined(unpack(blocks[:, 96:104], 4), unpack(blocks[:, 104:108], 2), 4)
    factors = halves(blocks, 108) * signed(scale, 32).flatten(1)
    scaled(factors, signed(q, 4).view(-1, 16, 16), out)


def q4_k(blocks: Tensor, out: Tensor) -> None:
    """4 bits; 8 groups with a scale and a minimum of 6 bits."""
    q = unpack(blocks[:, 16:].view(-1, 4, 32), 4)
    _scaled_above_minimum(_six_bit_factors(blocks), q.view(-1, 8, 32), out)


def q5_k(blocks: Tensor, out: Tensor) -> None:
    """4 bits, and the fifth apart; 8 groups with a scale and a minimum of 6 bits."""
    low = unpack(blocks[:, 48:].view(-1, 4, 32), 4)
    q = _joined(low, unpack(blocks[:, 16:48], 1), 4)
    _scaled_above_minimum(_six_bit_factors(blocks), q.view(-1, 8, 32), out)


def q6_k(blocks: Tensor, out: Tensor) -> None:
    """4 bits, and two apart: -32 to 31; 16 groups with a scale of 8 bits."""
    low = unpack(blocks[:, :128].view(-1, 2, 64), 4)
    q = _joined(low, unpack(blocks[:, 128:192].view(-1, 2, 32), 2), 4)
    factors = halves(blocks, 208) * blocks[:, 192:208].view(torch.int8)
    scaled(factors, signed(q, 32).view(-1, 16, 16), out)


def _joined(low: Tensor, high: Tensor, low_bits: int) -> Tensor:
    """Both hold as many numbers, in the same order; the result lies in low's memory."""
    return low.add_(high.view(low.shape), alpha=1 << low_bits)


def _six_bit_factors(blocks: Tensor) -> Tensor:
    """Of Q4_K and Q5_K: (n_blocks, 2, 8), scales and minima.

    4 bytes of scales, 4 of minima: 6 bits are for groups 0 to 3, the top 2 for groups 4 to 7. Their lower
    4 bits are in the last 4 bytes: scales in the low halves, minima in the high.
    """
    early = blocks[:, 4:12].view(-1, 2, 4)
    late = unpack(blocks[:, 12:16], 4).bitwise_or_((early >> 2).bitwise_and_(0x30))
    return halves(blocks, 0, 2)[..., None] * torch.cat([early & 63, late], -1)


def _scaled_above_minimum(factors: Tensor, q: Tensor, out: Tensor) -> None:
    scaled(factors[:, 0], q, out)
    out.view(q.shape).sub_(factors[:, 1, :, None])
