"""Stored weights as float32, on the device where the bytes lie.

Covers every type ggml reads as weights. The numbers are ggml's own to the bit, but for which NaN it is: all
products of a scale and integers fit float32's 24 bits, so only the sum with a minimum rounds, and it rounds
once, whether or not it is fused with the product.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sixgig.errors import ModelFileError
from sixgig.finetune.dequantise import codebooks, k_quants, lattices, legacy
from sixgig.modelfile.ggml_types import TYPE_BY_ID, TYPE_BY_NAME

_FUNCTIONS: dict[str, Callable[[Tensor, Tensor], None]] = {
    "F32": legacy.f32,
    "F16": legacy.f16,
    "BF16": legacy.bf16,
    "Q1_0": legacy.q1_0,
    "Q2_0": legacy.q2_0,
    "Q4_0": legacy.q4_0,
    "Q4_1": legacy.q4_1,
    "Q5_0": legacy.q5_0,
    "Q5_1": legacy.q5_1,
    "Q8_0": legacy.q8_0,
    "TQ1_0": legacy.tq1_0,
    "TQ2_0": legacy.tq2_0,
    "Q2_K": k_quants.q2_k,
    "Q3_K": k_quants.q3_k,
    "Q4_K": k_quants.q4_k,
    "Q5_K": k_quants.q5_k,
    "Q6_K": k_quants.q6_k,
    "IQ1_S": lattices.iq1_s,
    "IQ1_M": lattices.iq1_m,
    "IQ2_XXS": lattices.iq2_xxs,
    "IQ2_XS": lattices.iq2_xs,
    "IQ2_S": lattices.iq2_s,
    "IQ3_XXS": lattices.iq3_xxs,
    "IQ3_S": lattices.iq3_s,
    "IQ4_NL": codebooks.iq4_nl,
    "IQ4_XS": codebooks.iq4_xs,
    "MXFP4": codebooks.mxfp4,
    "NVFP4": codebooks.nvfp4,
}
_BY_ID = {TYPE_BY_NAME[name].id: function for name, function in _FUNCTIONS.items()}


def can_dequantise(type_id: int) -> bool:
    """Whether weights of this ggml type can be read."""
    return type_id in _BY_ID


def dequantise(stored: Tensor, type_id: int, n_elements_per_row: int, out: Tensor | None = None) -> Tensor:
    """Weights of stored rows, float32 (rows, n_elements_per_row), in `out` (contiguous) if given.

    stored: uint8 (rows, bytes per row). Takes up to 3.5 bytes per element besides the result. ModelFileError
    for a type that holds no weights.
    """
    if type_id not in _BY_ID:
        what = f"cannot read weights of storage type {_name(type_id)}"
        raise ModelFileError(what, cure="have them stored as another type, such as Q8_0")
    kind = TYPE_BY_ID[type_id]
    if out is None:
        out = torch.empty(len(stored), n_elements_per_row, dtype=torch.float32, device=stored.device)
    if stored.storage_offset() % 4:  # torch views bytes as wider numbers only where aligned
        stored = stored.clone()
    blocks = stored.reshape(-1, kind.block_bytes)
    _BY_ID[type_id](blocks, out.view(-1, kind.block_elements))
    return out


def _name(type_id: int) -> str:
    return TYPE_BY_ID[type_id].name if type_id in TYPE_BY_ID else f"number {type_id}"
