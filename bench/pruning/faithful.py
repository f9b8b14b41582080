"""Peers for structured pruning, plainly as their papers have them, in torch on a Hugging Face Llama.

    TORCH_PYTHON -m bench.pruning.faithful HF_FOLDER WORK

WORK holds the windows that `bench.pruning.compare prepare` cut; each choice goes to WORK/peers as one .npz:
groups.N and channels.N that stay in layer N, and output.N and down.N, what is added to the outputs.

FLAP (An et al., AAAI 2024), WIFV metric: variance of an input times the sum of squares of its weights; for
heads squared; standardised over a layer's channels; averaged over a head; statistics from the dense stream.
"global" is one ranking of heads and channels, a head counting as d (2g + 2) / 3 channels (512 / 3 without
grouping), "uniform" the same share of both in every layer, whole key-value groups in either. Wanda-sp (same
paper): |W| times the norm of its input, averaged over outputs, the same share in every layer, each layer's
statistics from a stream that the layers before have already been pruned in. Magnitude: the sum of squares of
all weights of a group or channel. At least a group and MIN_CHANNELS channels stay: no file holds fewer.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

FRACTIONS, MIN_CHANNELS, BATCH = (0.2, 0.5), 1, 8
Scores = list[tuple[Tensor, Tensor]]
Kept = list[tuple[Tensor, Tensor]]


@dataclass
class Inputs:
    """Moments of a projection's inputs, float64 [n_in]."""

    mean: Tensor
    variance: Tensor
    mean_square: Tensor


class Meter:
    """Adds up a projection's inputs as they pass."""

    def __init__(self, projection: nn.Linear) -> None:
        self.count, self.sums, self.squares = 0, torch.zeros(()), torch.zeros(())
        self.hook = projection.register_forward_pre_hook(self._add)

    def _add(self, _module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        rows = arguments[0].flatten(0, -2).double()
        self.count += len(rows)
        self.sums = self.sums + rows.sum(0)
        self.squares = self.squares + rows.square().sum(0)

    def result(self) -> Inputs:
        """What came by; ends the counting."""
        self.hook.remove()
        mean, square = self.sums / self.count, self.squares / self.count
        return Inputs(mean, square - mean.square(), square)


class Walk:
    """Windows on their way through a model's layers, one layer after the other."""

    def __init__(self, model: nn.Module, windows: Tensor) -> None:
        self.model = model.model
        self.states = [self.model.embed_tokens(part) for part in windows.split(BATCH)]
        self.rotary = self.model.rotary_emb(self.states[0], torch.arange(windows.shape[1])[None])

    def layers(self) -> Iterator[tuple[nn.Module, Inputs, Inputs]]:
        """Each layer, inputs of its o_proj and down_proj; what is then changed in it counts for the next."""
        for layer in self.model.layers:
            meters = Meter(layer.self_attn.o_proj), Meter(layer.mlp.down_proj)
            self._through(layer)
            yield layer, meters[0].result(), meters[1].result()
            self.states = self._through(layer)

    def _through(self, layer: nn.Module) -> list[Tensor]:
        outputs = (layer(state, position_embeddings=self.rotary) for state in self.states)
        return [out[0] if isinstance(out, tuple) else out for out in outputs]


@dataclass(frozen=True)
class Shape:
    """Groups and channels of every layer, inputs of a group, and how many channels one counts as."""

    n_groups: int
    n_channels: int
    inputs: int
    weight: float

    @staticmethod
    def of(config: object) -> "Shape":
        """From a Llama's configuration."""
        queries = config.num_attention_heads // config.num_key_value_heads  # type: ignore[attr-defined]
        width = config.head_dim  # type: ignore[attr-defined]
        groups, channels = config.num_key_value_heads, config.intermediate_size  # type: ignore[attr-defined]
        return Shape(groups, channels, queries * width, width * (2 * queries + 2) / 3)

    def by_group(self, metric: Tensor) -> Tensor:
        """[inputs] to [groups, inputs of one]."""
        return metric.reshape(self.n_groups, self.inputs)


def standardised(metric: Tensor) -> Tensor:
    """Mean 0, deviation 1."""
    return (metric - metric.mean()) / metric.std()


def fluctuation(weight: Tensor, inputs: Inputs) -> Tensor:
    """WIFV, [n_in]."""
    return inputs.variance * weight.double().square().sum(0)


def wanda(weight: Tensor, inputs: Inputs) -> Tensor:
    """Wanda's metric, structured, [n_in]."""
    return (weight.double().abs() * inputs.mean_square.sqrt()).mean(0)


def flap_scores(shape: Shape, found: list[tuple[nn.Module, Inputs, Inputs]]) -> Scores:
    """Standardised, by group and by channel."""
    scores = []
    for layer, heads, channels in found:
        of_heads = standardised(fluctuation(layer.self_attn.o_proj.weight, heads).square())
        of_channels = standardised(fluctuation(layer.mlp.down_proj.weight, channels))
        scores.append((shape.by_group(of_heads).mean(1), of_channels))
    return scores


def magnitude_scores(shape: Shape, model: nn.Module) -> Scores:
    """Sums of squares."""

    def rows(projection: nn.Linear) -> Tensor:
        return projection.weight.double().square().sum(1)

    scores = []
    for layer in model.model.layers:
        attention, network = layer.self_attn, layer.mlp
        parts = [rows(attention.q_proj), rows(attention.k_proj), rows(attention.v_proj)]
        parts.append(attention.o_proj.weight.double().square().sum(0))
        groups = sum(part.reshape(shape.n_groups, -1).sum(1) for part in parts)
        down = network.down_proj.weight.double().square().sum(0)
        scores.append((groups, rows(network.gate_proj) + rows(network.up_proj) + down))
    return scores


Keep = Callable[[Shape, Scores, float], Kept]


def keep_global(shape: Shape, scores: Scores, fraction: float) -> Kept:
    """One ranking, cut where what stays is nearest to 1 - fraction."""
    metric = torch.cat([*(groups for groups, _ in scores), *(channels for _, channels in scores)])
    weights = torch.ones_like(metric)
    weights[: len(scores) * shape.n_groups] = shape.weight
    ranked, order = metric.sort(descending=True)
    stays = weights[order].cumsum(0)
    threshold = ranked[(stays - weights.sum() * (1 - fraction)).abs().argmin()]
    return [(best(g, int((g >= threshold).sum())), best(c, int((c >= threshold).sum()))) for g, c in scores]


def keep_uniform(shape: Shape, scores: Scores, fraction: float) -> Kept:
    """The same share of groups and channels everywhere."""
    counts = round(shape.n_groups * (1 - fraction)), round(shape.n_channels * (1 - fraction))
    return [(best(groups, counts[0]), best(channels, counts[1])) for groups, channels in scores]


def best(scores: Tensor, count: int) -> Tensor:
    """Those with the highest scores, ascending; one at least."""
    return scores.topk(max(count, MIN_CHANNELS)).indices.sort().values


def wanda_sp(shape: Shape, model: nn.Module, windows: Tensor, fraction: float) -> Kept:
    """Layer by layer; the model is pruned on the way and restored."""
    kept: Kept = []
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for layer, heads, channels in Walk(model, windows).layers():
        output, down = layer.self_attn.o_proj.weight, layer.mlp.down_proj.weight
        scores = [(shape.by_group(wanda(output, heads)).sum(1), wanda(down, channels))]
        kept += keep_uniform(shape, scores, fraction)
        output *= mask_of(inputs_of(shape, kept[-1][0]), output)
        down *= mask_of(kept[-1][1], down)
    model.load_state_dict(before)
    return kept


def inputs_of(shape: Shape, groups: Tensor) -> Tensor:
    """Inputs of o_proj that belong to groups."""
    return (groups[:, None] * shape.inputs + torch.arange(shape.inputs)).flatten()


def mask_of(kept: Tensor, weight: Tensor) -> Tensor:
    """1 for inputs that stay."""
    return torch.zeros(weight.shape[1]).index_fill(0, kept, 1.0)


def biases(shape: Shape, found: list[tuple[nn.Module, Inputs, Inputs]], kept: Kept) -> dict[str, np.ndarray]:
    """What the removed inputs added on average."""
    added = {}
    for number, ((layer, heads, channels), (groups, rest)) in enumerate(zip(found, kept, strict=True)):
        parts = (
            ("output", layer.self_attn.o_proj.weight, heads, inputs_of(shape, groups)),
            ("down", layer.mlp.down_proj.weight, channels, rest),
        )
        for name, weight, inputs, stays in parts:
            gone = 1.0 - mask_of(stays, weight).double()
            added[f"{name}.{number}"] = (weight.double() @ (inputs.mean * gone)).float().numpy()
    return added


def save(path: Path, kept: Kept, added: dict[str, np.ndarray]) -> None:
    """One choice."""
    stays = {f"groups.{number}": groups.numpy() for number, (groups, _) in enumerate(kept)}
    stays |= {f"channels.{number}": channels.numpy() for number, (_, channels) in enumerate(kept)}
    np.savez(path, **stays, **added)
    print(path.name, flush=True)


@torch.no_grad()
def main() -> None:
    """Every peer, fraction and seed."""
    parser = argparse.ArgumentParser(description="Choose what plain implementations would prune.")
    parser.add_argument("model", type=Path, help="the Hugging Face folder")
    parser.add_argument("work", type=Path, help="folder with windows.npz")
    given = parser.parse_args()
    model = AutoModelForCausalLM.from_pretrained(given.model, dtype=torch.float32).eval()
    shape, windows, out = Shape.of(model.config), np.load(given.work / "windows.npz"), given.work / "peers"
    out.mkdir(exist_ok=True)
    seeds = [key.split(".")[1] for key in windows.files if key.startswith("calibration.")]
    ways: dict[str, Keep] = {"global": keep_global, "uniform": keep_uniform}
    for fraction in FRACTIONS:
        kept = keep_uniform(shape, magnitude_scores(shape, model), fraction)
        save(out / f"magnitude {fraction}.npz", kept, {})
        for seed in seeds:
            ids = torch.from_numpy(windows[f"calibration.{seed}"].astype(np.int64))
            found = list(Walk(model, ids).layers())
            save(out / f"Wanda-sp {fraction} {seed}.npz", wanda_sp(shape, model, ids, fraction), {})
            for name, keep in ways.items():
                kept = keep(shape, flap_scores(shape, found), fraction)
                save(out / f"FLAP, {name} {fraction} {seed}.npz", kept, {})
                save(out / f"FLAP, {name}, bias {fraction} {seed}.npz", kept, biases(shape, found, kept))


if __name__ == "__main__":
    main()
