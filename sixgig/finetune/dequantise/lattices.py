"""Eight or four numbers at once, from a table of lattice points: IQ1_S to IQ3_S; blocks of 256 numbers."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from gguf import quants
from torch import Tensor

from sixgig.finetune.dequantise.bits import halves, looked_up, scaled, unpack, unpack_in_order

_ROW_TYPES = {4: torch.int32, 8: torch.int64}


def iq1_s(blocks: Tensor, out: Tensor) -> None:
    """8 groups of 32: 3 bits of scale, the sign of a shift by 1/8; points of 11 bits."""
    high = blocks[:, 34:].view(torch.int16)
    index = blocks[:, 2:34].int().add_(_shifted(high, range(0, 12, 3), 7), alpha=256)
    shift = (high < 0).view(torch.int8).mul_(-2).add_(1)
    q = looked_up(_points("IQ1_S", blocks.device), index).view(-1, 8, 32).add_(shift[..., None])
    scaled(_odd_eighths(halves(blocks, 0), high >> 12 & 7), q, out)


def iq1_m(blocks: Tensor, out: Tensor) -> None:
    """16 groups of 16 with 3 bits of scale; the block's scale is in 4 pieces; points and shifts by eights."""
    high = unpack_in_order(blocks[:, 32:48], 4)
    index = blocks[:, :32].int().add_(high & 7, alpha=256)
    shift = (high > 7).view(torch.int8).mul_(-2).add_(1)
    q = looked_up(_points("IQ1_M", blocks.device), index).add_(shift[..., None])
    scale = _shifted(blocks[:, 48:].view(torch.int16), range(0, 12, 3), 7)
    scaled(_odd_eighths(_scattered_half(blocks[:, 49::2]), scale), q.view(-1, 16, 16), out)


def iq2_xxs(blocks: Tensor, out: Tensor) -> None:
    """8 groups of 32: 4 points of 8 bits, 4 sign patterns of 7 bits, 4 bits of scale."""
    groups = blocks[:, 2:].view(-1, 8, 8)
    q = looked_up(_points("IQ2_XXS", blocks.device), groups[..., :4]).mul_(_even_signs(groups[..., 4:]))
    scaled(_odd_eighths(halves(blocks, 0), groups[..., 7] >> 4), q.view(-1, 8, 32), out)


def iq2_xs(blocks: Tensor, out: Tensor) -> None:
    """16 groups of 16: points of 9 bits with sign patterns of 7, 4 bits of scale."""
    packed = blocks[:, 2:66].view(torch.int16).int()
    q = looked_up(_points("IQ2_XS", blocks.device), packed & 511)
    q.mul_(looked_up(_signs(128, blocks.device), packed >> 9 & 127))
    scaled(_odd_eighths(halves(blocks, 0), unpack_in_order(blocks[:, 66:], 4)), q.view(-1, 16, 16), out)


def iq2_s(blocks: Tensor, out: Tensor) -> None:
    """16 groups of 16: points of 10 bits, all signs, 4 bits of scale."""
    index = blocks[:, 2:34].int().add_(unpack_in_order(blocks[:, 66:74], 2), alpha=256)
    q = looked_up(_points("IQ2_S", blocks.device), index)
    q.mul_(looked_up(_signs(256, blocks.device), blocks[:, 34:66]))
    scaled(_odd_eighths(halves(blocks, 0), unpack_in_order(blocks[:, 74:], 4)), q.view(-1, 16, 16), out)


def iq3_xxs(blocks: Tensor, out: Tensor) -> None:
    """8 groups of 32: 8 points of 8 bits, 4 sign patterns of 7 bits, 4 bits of scale."""
    groups = blocks[:, 66:].view(-1, 8, 4)
    q = looked_up(_points("IQ3_XXS", blocks.device), blocks[:, 2:66]).view(-1, 8, 4, 8)
    q.mul_(_even_signs(groups))
    scaled(_odd_eighths(halves(blocks, 0), groups[..., 3] >> 4).mul_(2), q.view(-1, 8, 32), out)


def iq3_s(blocks: Tensor, out: Tensor) -> None:
    """8 groups of 32: 8 points of 9 bits, all signs, 4 bits of scale."""
    index = blocks[:, 2:66].int().add_(unpack_in_order(blocks[:, 66:74], 1), alpha=256)
    q = looked_up(_points("IQ3_S", blocks.device), index).view(-1, 32, 8)
    q.mul_(looked_up(_signs(256, blocks.device), blocks[:, 74:106]))
    scale = unpack_in_order(blocks[:, 106:], 4).mul_(2).add_(1)
    scaled(halves(blocks, 0) * scale, q.view(-1, 8, 32), out)


def _shifted(packed: Tensor, shifts: range, mask: int) -> Tensor:
    """Bits of each number at each of the shifts: (n_blocks, n) to (n_blocks, n * len(shifts))."""
    by = torch.arange(shifts.start, shifts.stop, shifts.step, dtype=packed.dtype, device=packed.device)
    return (packed[..., None] >> by).bitwise_and_(mask).flatten(1)


def _odd_eighths(d: Tensor, scale: Tensor) -> Tensor:
    """The groups' scales (2 s + 1) d / 8: of IQ2, and of IQ1, whose points we keep times 8."""
    return (scale.float() + 0.5).mul_(d).mul_(0.25)


def _scattered_half(high_bytes: Tensor) -> Tensor:
    """A float16 of which each of 4 bytes' high half holds 4 bits, lowest first: (n_blocks, 1)."""
    low, high = high_bytes[:, ::2] >> 4, high_bytes[:, 1::2] & 0xF0
    return (low | high).view(torch.float16).float()


def _even_signs(packed: Tensor) -> Tensor:
    """Four times 7 bits in 4 bytes: (n_blocks, 8, 4) to int8 (n_blocks, 8, 4, 8)."""
    words = packed.contiguous().view(torch.int32)
    index = _shifted(words.flatten(1), range(0, 28, 7), 127).view(-1, 8, 4)
    return looked_up(_signs(128, packed.device), index)


@cache
def _signs(n_patterns: int, device: torch.device) -> Tensor:
    """Eight signs, 1 or -1, per byte; or per 7 bits, the eighth such that an even number is negative."""
    byte = torch.arange(256, dtype=torch.uint8)
    if n_patterns == 128:
        byte = torch.from_numpy(np.frombuffer(quants.IQ2_XXS.ksigns, np.uint8).copy())
    negative = unpack(byte[:, None], 1).flatten(1).view(torch.int8)
    return _packed_rows(1 - 2 * negative).to(device)


@cache
def _points(type_name: str, device: torch.device) -> Tensor:
    """The type's lattice; IQ1's points -1, 0, 1 times 8, so that a shift by 1/8 stays an integer."""
    lattice = getattr(quants, type_name)
    lattice.init_grid()
    points = torch.from_numpy(lattice.grid).to(torch.int8).flatten(0, 2)
    return _packed_rows(points * 8 if type_name.startswith("IQ1") else points).to(device)


def _packed_rows(rows: Tensor) -> Tensor:
    return rows.contiguous().view(_ROW_TYPES[rows.shape[1]]).flatten()
