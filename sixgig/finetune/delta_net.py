"""Gated DeltaNet, the mixer of Qwen3.5's recurrent layers, in plain differentiable torch.

Source: Yang et al. 2024 (arXiv 2412.06464), section 3.3, the form over chunks; tensors as llama.cpp lays them
out: value head h goes with key head h mod n_keys, ssm_a is -exp(A_log).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from sixgig.families.terms.names import (
    DELTA_ALPHA,
    DELTA_BETA,
    DELTA_CONVOLUTION,
    DELTA_DECAY,
    DELTA_GATE,
    DELTA_NORM,
    DELTA_OUTPUT,
    DELTA_STEP,
    QUERY_KEY_VALUE,
    in_layer,
    weight_in,
)
from sixgig.finetune.norms import rms_norm
from sixgig.finetune.operands import Operands
from sixgig.modelfile import Recurrent

CHUNK = 64  # tokens; a chunk costs a triangular system of this order in every value head
HELD_VALUES = 1 << 13  # tokens times value heads up to which products inside chunks are held


def delta_net_tensors(layer: int) -> tuple[str, ...]:
    """The names of all that `gated_delta_net` reads in this layer, matrices first."""
    matrices = (QUERY_KEY_VALUE, DELTA_GATE, DELTA_BETA, DELTA_ALPHA, DELTA_OUTPUT)
    weights = (weight_in(layer, stem) for stem in (*matrices, DELTA_CONVOLUTION, DELTA_NORM))
    return *weights, f"{in_layer(layer, DELTA_STEP)}.bias", in_layer(layer, DELTA_DECAY)


def gated_delta_net(
    x: Tensor, layer: int, shape: Recurrent, documents: Sequence[int], operands: Operands, epsilon: float
) -> Tensor:
    """The mixer's output (tokens, n_embd), to be added to the stream; x (tokens, n_embd) is normed already.

    documents: lengths, each at least 1, that add up to the tokens; each begins with an empty state. x in
    float32, or in float64 to check gradients. For the gradient it holds about seven times inner_size +
    2 * group_count * state_size numbers a token, the states after every 64th included.
    """
    weights = operands.weights
    mixed = operands.linear(in_layer(layer, QUERY_KEY_VALUE), x)
    gate = operands.linear(in_layer(layer, DELTA_GATE), x)
    beta = torch.sigmoid(operands.linear(in_layer(layer, DELTA_BETA), x))
    shift = weights.vector(f"{in_layer(layer, DELTA_STEP)}.bias")
    steps = F.softplus(operands.linear(in_layer(layer, DELTA_ALPHA), x) + shift)
    decay = weights.vector(in_layer(layer, DELTA_DECAY)) * steps
    kernel = weights.vector(weight_in(layer, DELTA_CONVOLUTION)).to(x)
    parts = zip(*(torch.split(rows, list(documents)) for rows in (mixed, decay, beta)), strict=True)
    frugal = len(x) * shape.time_step_rank > HELD_VALUES
    y = torch.cat([_document(m, d, b, kernel, shape, epsilon, frugal) for m, d, b in parts])
    y = rms_norm(y, weights.vector(weight_in(layer, DELTA_NORM)), epsilon)
    return operands.linear(in_layer(layer, DELTA_OUTPUT), y.flatten(1) * F.silu(gate))


def _document(
    mixed: Tensor,
    decay: Tensor,
    beta: Tensor,
    kernel: Tensor,
    shape: Recurrent,
    epsilon: float,
    frugal: bool,
) -> Tensor:
    """One document through convolution and rule: (tokens, value heads, value width)."""
    n_keys, key_rows = shape.group_count, shape.group_count * shape.state_size
    convolved = F.silu(_causal_convolution(mixed, kernel))
    queries, keys, values = torch.split(convolved, [key_rows, key_rows, shape.inner_size], dim=1)
    by_key_head = (shape.time_step_rank // n_keys, n_keys)
    outputs = gated_delta_rule(
        _unit(_heads(queries, n_keys), epsilon) * shape.state_size**-0.5,
        _unit(_heads(keys, n_keys), epsilon),
        torch.unflatten(_heads(values, shape.time_step_rank), 0, by_key_head),
        torch.unflatten(decay.T, 0, by_key_head),
        torch.unflatten(beta.T, 0, by_key_head),
        frugal,
    )
    return outputs.flatten(0, 1).transpose(0, 1)


def _heads(rows: Tensor, n_heads: int) -> Tensor:
    """(n_heads, tokens, width) of (tokens, n_heads * width)."""
    return rows.reshape(len(rows), n_heads, -1).transpose(0, 1)


def _unit(rows: Tensor, epsilon: float) -> Tensor:
    return rows * torch.rsqrt((rows * rows).sum(-1, keepdim=True) + epsilon)


def _causal_convolution(rows: Tensor, kernel: Tensor) -> Tensor:
    """Each channel with its own kernel (channels, width), whose last tap is the token itself.

    As products and sums, because those keep nothing for the gradient: the kernel is frozen.
    """
    width = kernel.shape[1]
    padded = F.pad(rows, (0, 0, width - 1, 0))
    result = rows * kernel[:, -1]
    for tap in range(width - 1):
        result = torch.addcmul(result, padded[tap : tap + len(rows)], kernel[:, tap])
    return result


def gated_delta_rule(
    queries: Tensor, keys: Tensor, values: Tensor, decay: Tensor, beta: Tensor, frugal: bool = True
) -> Tensor:
    """The outputs (repeats, n_keys, tokens, value width) of one sequence, from an empty state.

    queries (scaled), keys (of length one): (n_keys, tokens, key width), shared by `repeats` value heads.
    values: (repeats, n_keys, tokens, value width). decay, logarithms up to 0, and beta: without the width.
    frugal: hold no products inside chunks for the gradient, compute them again; the same bits.
    """
    state = values.new_zeros(*values.shape[:2], keys.shape[-1], values.shape[-1])
    compute: Callable[..., tuple[Tensor, Tensor]] = _frugal_chunk if frugal else _chunk
    outputs = []
    for part in zip(
        *(torch.split(rows, CHUNK, dim=-2) for rows in (queries, keys, values)),
        *(torch.split(rows, CHUNK, dim=-1) for rows in (decay, beta)),
        strict=True,
    ):
        output, state = compute(*part, state)
        outputs.append(output)
    return torch.cat(outputs, dim=-2)


def _frugal_chunk(*inputs: Tensor) -> tuple[Tensor, Tensor]:
    """The same, computed again for the gradient: held are what goes in and one state a chunk."""
    result: tuple[Tensor, Tensor] = checkpoint(_chunk, *inputs, use_reentrant=False, preserve_rng_state=False)
    return result


def _chunk(
    queries: Tensor, keys: Tensor, values: Tensor, decay: Tensor, beta: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """Outputs of up to CHUNK tokens and the state (.., key width, value width) after them.

    What each token writes depends on what those before it wrote: a unit triangular system.
    """
    # In float64: strong decays early in a chunk would cancel badly in the differences between later tokens.
    total = decay.double().cumsum(-1)
    between = (total.unsqueeze(-1) - total.unsqueeze(-2)).to(decay).tril().exp().tril()
    before = total.to(decay).exp().unsqueeze(-1)
    after = (total[..., -1:] - total).to(decay).exp().unsqueeze(-1)
    beta = beta.unsqueeze(-1)
    system = beta * between * (keys @ keys.mT)
    wanted = beta * (values - before * (keys @ state))
    written = torch.linalg.solve_triangular(system, wanted, upper=False, unitriangular=True)
    outputs = before * (queries @ state) + (between * (queries @ keys.mT)) @ written
    return outputs, before[..., -1:, :] * state + keys.mT @ (after * written)
