"""A low-rank adapter as a GGUF file that llama.cpp loads.

Format: llama.cpp's src/llama-adapter.cpp and convert_lora_to_gguf.py. `<tensor>.lora_a` has ne (in, rank),
`<tensor>.lora_b` ne (rank, out), of stacks with the experts behind; a pair's scale is alpha / rank.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Lora:
    """alpha: of all pairs. pairs: by the name of the tensor they adapt; A [rank, in], B [out, rank].

    Of stacks of experts [experts, rank, in] and [experts, out, rank].
    """

    architecture: str
    alpha: float
    pairs: dict[str, tuple[Floats, Floats]]
