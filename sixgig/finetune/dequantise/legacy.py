"""Floats, and blocks with one scale: Q1_0 to Q8_0, and the ternary types."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from sixgig.finetune.dequantise.bits import halves, scaled, signed, unpack, unpack_in_order


def f32(blocks: Tensor, out: Tensor) -> None:
    """Single precision."""
    out.copy_(blocks.view(torch.float32))


def f16(blocks: Tensor, out: Tensor) -> None:
    """Half precision."""
    out.copy_(blocks.view(torch.float16))


def bf16(blocks: Tensor, out: Tensor) -> None:
    """Brain float."""
    out.copy_(blocks.view(torch.bfloat16))


def q1_0(blocks: Tensor, out: Tensor) -> None:
    """1 bit: -1 or 1."""
    q = unpack_in_order(blocks[:, 2:], 1).mul_(2)
    scaled(halves(blocks, 0), signed(q, 1), out)


def q2_0(blocks: Tensor, out: Tensor) -> None:
    """2 bits: -1 to 2."""
    scaled(halves(blocks, 0), signed(unpack_in_order(blocks[:, 2:], 2), 1), out)


def q4_0(blocks: Tensor, out: Tensor) -> None:
    """4 bits: -8 to 7; here and below, low halves of the bytes before high ones."""
    scaled(halves(blocks, 0), signed(unpack(blocks[:, 2:], 4), 8), out)


def q4_1(blocks: Tensor, out: Tensor) -> None:
    """4 bits and a minimum."""
    scaled(halves(blocks, 0), unpack(blocks[:, 4:], 4), out)
    out.add_(halves(blocks, 2))


def q5_0(blocks: Tensor, out: Tensor) -> None:
    """4 bits, and the fifth apart: -16 to 15."""
    scaled(halves(blocks, 0), signed(_five_bits(blocks[:, 2:]), 16), out)


def q5_1(blocks: Tensor, out: Tensor) -> None:
    """4 bits, and the fifth apart, and a minimum."""
    scaled(halves(blocks, 0), _five_bits(blocks[:, 4:]), out)
    out.add_(halves(blocks, 2))


def q8_0(blocks: Tensor, out: Tensor) -> None:
    """8 bits."""
    scaled(halves(blocks, 0), blocks[:, 2:].view(torch.int8), out)


def tq1_0(blocks: Tensor, out: Tensor) -> None:
    """-1, 0 or 1: five in a byte, which is a fraction of 256 in base 3; of the last 16 numbers four."""
    powers = _powers_of_three(blocks.device)
    parts = [(blocks[:, :32], 5), (blocks[:, 32:48], 5), (blocks[:, 48:52], 4)]
    fraction = torch.cat([(part[:, None] * powers[:n, None]).flatten(1) for part, n in parts], 1)
    digit = (fraction > 85).view(torch.uint8).add_(fraction > 170)  # 3 * fraction >> 8
    scaled(halves(blocks, 52), signed(digit, 1), out)


def tq2_0(blocks: Tensor, out: Tensor) -> None:
    """2 bits: -1 to 2."""
    q = unpack(blocks[:, :64].view(-1, 2, 32), 2)
    scaled(halves(blocks, 64), signed(q, 1), out)


def _five_bits(packed: Tensor) -> Tensor:
    return unpack(packed[:, 4:], 4).flatten(1).add_(unpack_in_order(packed[:, :4], 1), alpha=16)


@cache
def _powers_of_three(device: torch.device) -> Tensor:
    return torch.tensor([1, 3, 9, 27, 81], dtype=torch.uint8, device=device)
