"""What the storage types have in common: packed bits, half-precision scales, tables.

Everywhere blocks is uint8 (n_blocks, bytes per block); scales are float32.
"""

from __future__ import annotations

import torch
from torch import Tensor


def unpack(packed: Tensor, width: int) -> Tensor:
    """Numbers of `width` bits, lowest first: (..., n) uint8 to (..., 8 // width, n)."""
    shifts = torch.arange(0, 8, width, dtype=torch.uint8, device=packed.device)
    return (packed.unsqueeze(-2) >> shifts[:, None]).bitwise_and_((1 << width) - 1)


def unpack_in_order(packed: Tensor, width: int) -> Tensor:
    """The same, numbers of one byte side by side: (n_blocks, n) to (n_blocks, n * 8 // width)."""
    return unpack(packed[..., None], width).flatten(1)


def signed(q: Tensor, offset: int) -> Tensor:
    """The uint8 q - offset as int8, in q's memory."""
    return q.sub_(offset).view(torch.int8)


def halves(blocks: Tensor, at: int, count: int = 1) -> Tensor:
    """float16 numbers that begin at byte `at` of each block: (n_blocks, count)."""
    return blocks[:, at : at + 2 * count].view(torch.float16).float()


def scaled(scale: Tensor, q: Tensor, out: Tensor) -> None:
    """Into `out` scale * q: (n_blocks, groups) times (n_blocks, groups, ...).

    With one scale per block q may have any shape of two dimensions or more.
    """
    torch.mul(scale.view(*scale.shape, *(1,) * (q.dim() - 2)), q, out=out.view(q.shape))


def looked_up(rows: Tensor, index: Tensor) -> Tensor:
    """Rows of an int8 table, each stored as one integer: index (...) to (..., row length)."""
    found = rows.index_select(0, index.int().flatten())
    return found.view(torch.int8).view(*index.shape, -1)
