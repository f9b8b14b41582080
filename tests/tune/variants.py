"""Copies of a model file with every weight in float32, changed on the way; and what to compute on them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from sixgig.finetune.net import Net, build_net
from sixgig.finetune.operands import Factors, Operands
from sixgig.inference import Engine, EngineOptions
from sixgig.modelfile import TYPE_BY_NAME, open_model
from sixgig.modelfile.writer import NewTensor, lay_out
from sixgig.weights.stored import StoredWeights
from tests.tune.resident import ResidentWeights, forward_logits, logits_of

Floats = NDArray[np.float32]
ARCHITECTURES = (
    *("llama", "mixtral", "qwen2", "qwen3", "qwen3moe", "qwen35", "qwen35moe", "qwen3vlmoe", "seed_oss"),
    *("gemma3", "mistral3", "phi3"),
)
PROMPT = [3 + i * i * 7 % 251 for i in range(90)]
EXACT = EngineOptions(
    context=512,
    ubatch=128,
    threads=2,
    type_k="F32",
    type_v="F32",
    flash_attention="off",
    extra_buffers=False,
    all_logits=True,
)


def tensors_of(path: Path) -> dict[str, Floats]:
    """All weights, dequantised, in numpy's order."""
    stored = StoredWeights(open_model(path))
    return {t.name: stored.rows(t.name, 0, t.n_rows).reshape(t.shape[::-1]) for t in stored.tensors}


def write_variant(
    source: Path, out: Path, tensors: Mapping[str, Floats], changes: Mapping[str, object] | None = None
) -> Path:
    """The source's metadata, changed (None drops a pair), with these tensors in float32."""
    kind = TYPE_BY_NAME["F32"]
    new = [NewTensor(name, values.shape[::-1], kind) for name, values in tensors.items()]
    layout = lay_out(open_model(source).metadata, changes or {}, new)
    with out.open("wb") as file:
        file.write(layout.header)
        for offset, values in zip(layout.offsets, tensors.values(), strict=True):
            file.seek(offset)
            file.write(np.ascontiguousarray(values, "<f4"))
        file.truncate(layout.size_bytes)
    return out


def fused(source: Path, out: Path) -> Path:
    """Queries, keys and values of a layer in one tensor; of a mixture its experts' gate and up instead."""
    parts, whole = (("attn_q.", "attn_k.", "attn_v."), "attn_qkv.")
    if open_model(source).n_experts:
        parts, whole = (("gate_exps", "up_exps"), "gate_up_exps")
    tensors: dict[str, Floats] = {}
    for name, values in (before := tensors_of(source)).items():
        first = next((part for part in parts if part in name), None)
        if first is None:
            tensors[name] = values
        elif first == parts[0]:
            found = [before[name.replace(first, part)] for part in parts]
            tensors[name.replace(first, whole)] = np.concatenate(found, 0 if values.ndim == 1 else -2)
    return write_variant(source, out, tensors)


def engine_logits(path: Path, tokens: Sequence[int] = PROMPT) -> Floats:
    """llama.cpp's, with nothing rounded to less than float32 on the way."""
    with Engine(open_model(path).parts, EXACT) as engine:
        return np.array(engine.all_logits(tokens))


def torch_logits(path: Path, tokens: Sequence[int] = PROMPT) -> Floats:
    """Ours, on the weights as stored."""
    model = open_model(path)
    with torch.no_grad():
        operands = Operands(ResidentWeights(model))
        net = build_net(model, EXACT.context)
        return forward_logits(net, operands, torch.tensor(tokens), [len(tokens)]).numpy()


def relative(found: Floats, expected: Floats) -> float:
    """The largest difference, against the largest logit."""
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def through(net: Net, operands: Operands, x: torch.Tensor, documents: Sequence[int]) -> torch.Tensor:
    """Logits from the stream as it enters the first block."""
    for block in net.blocks:
        x = block.forward(x, documents, operands)
    return logits_of(net, operands, x)


def random_factors(
    path: Path, names: Sequence[str], rank: int = 2, dtype: torch.dtype = torch.float32
) -> dict[str, Factors]:
    """Trainable pairs, neither factor zero, for the tensors of these names (of stacks for each expert)."""
    generator, shapes = torch.Generator().manual_seed(5), {t.name: t.shape for t in open_model(path).tensors}
    found = {}
    for name in names:
        n_in, n_out, *stack = shapes[name]
        pair = [
            torch.randn(*stack, *shape, generator=generator, dtype=torch.float64) * scale
            for shape, scale in (((rank, n_in), n_in**-0.5), ((n_out, rank), 0.3))
        ]
        a, b = (factor.to(dtype).requires_grad_() for factor in pair)
        found[name] = (a, b)
    return found
