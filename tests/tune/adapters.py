"""Random adapters with an effect, and the model that one is merged into, which the engine must agree with."""

from pathlib import Path

import numpy as np

from sixgig.modelfile import TYPE_BY_NAME, dequantise, open_model, read_tensor
from sixgig.modelfile.lora import Lora, write_lora
from sixgig.modelfile.writer import NewTensor, lay_out

ATTENTION = ("attn_q.", "attn_k.", "attn_v.", "attn_output.")
DELTA_NET = ("attn_qkv.", "attn_gate.", "ssm_out.", "ssm_alpha.", "ssm_beta.")
SHARED_EXPERT = ("ffn_gate_shexp.", "ffn_up_shexp.", "ffn_down_shexp.")
ROUTED_EXPERTS = ("ffn_gate_exps.", "ffn_up_exps.", "ffn_down_exps.")
DENSE = ("ffn_gate.", "ffn_up.", "ffn_down.")


def random_lora(
    path: Path, kinds: tuple[str, ...], rank: int = 4, alpha: float = 8.0, gain: float = 0.3
) -> Lora:
    """Pairs for every weight of these kinds; B A, scaled, is about `gain` times as large as the weight."""
    model, random = open_model(path), np.random.default_rng(1)
    pairs = {}
    for tensor in model.tensors:
        if not tensor.name.endswith("weight") or not any(f".{kind}" in f".{tensor.name}" for kind in kinds):
            continue
        n_in, n_out, *stack = tensor.shape
        size = float(dequantise(read_tensor(model, tensor), tensor).std())
        a = random.standard_normal((*stack, rank, n_in), np.float32)
        deviation = gain * size * rank**0.5 / (alpha or rank)
        b = random.standard_normal((*stack, n_out, rank), np.float32) * np.float32(deviation)
        pairs[tensor.name] = (a, b)
    assert pairs
    return Lora(model.architecture, alpha, pairs)


def written(path: Path, lora: Lora) -> Path:
    write_lora(path, lora, "random")
    return path


def merged(path: Path, model_path: Path, lora: Lora | None = None) -> Path:
    """The model in float32, with scale * B A added to what the adapter adapts."""
    model, arrays = open_model(model_path), {}
    for tensor in model.tensors:
        weight = dequantise(read_tensor(model, tensor), tensor)
        if lora is not None and tensor.name in lora.pairs:
            a, b = lora.pairs[tensor.name]
            weight = weight + np.float32(lora.alpha / a.shape[-2] if lora.alpha else 1) * (b @ a)
        arrays[tensor.name] = weight
    new = [NewTensor(name, array.shape[::-1], TYPE_BY_NAME["F32"]) for name, array in arrays.items()]
    layout = lay_out(model.metadata, {}, new, 32)
    with path.open("wb") as file:
        file.write(layout.header)
        for offset, array in zip(layout.offsets, arrays.values(), strict=True):
            file.seek(offset)
            file.write(array.tobytes())
        file.truncate(layout.size_bytes)
    return path
