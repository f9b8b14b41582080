"""What is known of the loss that a storage type brings, before anybody measures the file at hand.

KL divergence from the unquantised model, nats per token, when all of a mixture of 122 billion parameters
(Qwen3.5-122B-A10B) is stored in one type: published by GGUF-Tool-Suite (Q8_0: APEX). Several types are taken
as the mean over their weights, roughly right above 3 bits and flattering below. Smaller models lose more.
"""

from __future__ import annotations

from math import prod

from sixgig.planning.anatomy import Anatomy

KLD_BY_TYPE = {
    "F32": 0.0, "F16": 0.0, "BF16": 0.0, "Q8_0": 0.0037, "Q6_K": 0.0036, "Q5_K": 0.0062, "Q4_K": 0.0125,
    "IQ4_XS": 0.0206, "IQ3_S": 0.0577, "Q3_K": 0.0689, "IQ3_XXS": 0.094, "Q2_K": 0.124, "IQ2_XS": 0.283,
    "IQ2_XXS": 0.433, "IQ1_M": 1.00, "IQ1_S": 1.10,
}  # fmt: skip
SOURCE = "published for Qwen3.5-122B-A10B, whole model in one type"


def expected_kld(model: Anatomy) -> float | None:
    """Mean of the types' figures over the matrices' weights; None where a type with a real share has none."""
    total, known, loss = 0.0, 0.0, 0.0
    for tensor in model.model.tensors:
        if len(tensor.shape) > 1:
            n_weights = float(prod(tensor.shape))
            total += n_weights
            if tensor.type.name in KLD_BY_TYPE:
                known += n_weights
                loss += n_weights * KLD_BY_TYPE[tensor.type.name]
    return loss / known if known > 0.95 * total else None
