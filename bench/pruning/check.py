"""Perplexities of pruned GGUF files, computed in torch: does the engine run what the numbers say?

    TORCH_PYTHON -m bench.pruning.check HF_FOLDER WORK FILE.gguf [FILE.gguf ...]

The dense Hugging Face model gets each file's attn_output and ffn_down where inputs stayed, nothing elsewhere,
and its biases. Which inputs stayed is found by comparing rows of ffn_up and attn_v with the dense file's.
"""

import argparse
import math
from pathlib import Path

import numpy as np
import torch
from gguf import GGUFReader, dequantize
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, PreTrainedModel

BATCH = 8
Arrays = dict[str, np.ndarray]


def arrays(path: Path) -> Arrays:
    """Every tensor in float32."""
    return {tensor.name: dequantize(tensor.data, tensor.tensor_type) for tensor in GGUFReader(path).tensors}


def stayed(pruned: np.ndarray, dense: np.ndarray) -> np.ndarray:
    """Which rows of `dense` are the rows of `pruned`."""
    numbers = {row.tobytes(): number for number, row in enumerate(dense)}
    return np.array([numbers[row.tobytes()] for row in pruned])


def fill(linear: torch.nn.Linear, matrix: np.ndarray, inputs: np.ndarray, bias: np.ndarray | None) -> None:
    """The matrix where inputs stayed, zeros elsewhere."""
    whole = np.zeros(linear.weight.shape, np.float32)
    whole[:, inputs] = matrix
    linear.weight.data = torch.from_numpy(whole)
    linear.bias = None if bias is None else torch.nn.Parameter(torch.from_numpy(bias.copy()))


def take_on(model: PreTrainedModel, pruned: Arrays, dense: Arrays) -> None:
    """Make the model compute what the pruned file does."""
    per_group = model.config.num_attention_heads // model.config.num_key_value_heads
    width = model.config.head_dim
    for number, layer in enumerate(model.model.layers):
        name = f"blk.{number}."
        values = stayed(pruned[name + "attn_v.weight"], dense[name + "attn_v.weight"])
        groups = values[::width] // width
        heads = (groups[:, None] * per_group * width + np.arange(per_group * width)).ravel()
        channels = stayed(pruned[name + "ffn_up.weight"], dense[name + "ffn_up.weight"])
        for stem, linear, inputs in (
            ("attn_output", layer.self_attn.o_proj, heads),
            ("ffn_down", layer.mlp.down_proj, channels),
        ):
            fill(linear, pruned[f"{name}{stem}.weight"], inputs, pruned.get(f"{name}{stem}.bias"))


@torch.no_grad()
def perplexity(model: PreTrainedModel, windows: np.ndarray) -> float:
    """Over all windows, each from its second token."""
    total, count = 0.0, 0
    for ids in torch.from_numpy(windows.astype(np.int64)).split(BATCH):
        logits = model(input_ids=ids).logits[:, :-1]
        total += cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="sum").item()
        count += ids[:, 1:].numel()
    return math.exp(total / count)


def main() -> None:
    """Print a row for each file."""
    parser = argparse.ArgumentParser(description="Compute perplexities of pruned files in torch.")
    parser.add_argument("model", type=Path, help="the dense Hugging Face folder")
    parser.add_argument("work", type=Path, help="folder that bench.pruning.compare prepared")
    parser.add_argument("files", type=Path, nargs="+", help="pruned files")
    given = parser.parse_args()
    model = AutoModelForCausalLM.from_pretrained(given.model, dtype=torch.float32).eval()
    windows, dense = np.load(given.work / "windows.npz"), arrays(given.work / "dense.gguf")
    for path in given.files:
        take_on(model, arrays(path), dense)
        for key in windows.files:
            if key.startswith("judged."):
                print(f"{path.name:24} {key[7:]:12} {perplexity(model, windows[key]):9.3f}", flush=True)


if __name__ == "__main__":
    main()
