"""Shows how a model routes: `python -m bench.verify_routing MODEL --trace OUT [--count 512]`.

Decodes a token stream with the stock library, notes which experts every layer chose, writes them as a routing
trace, and prints reuse distances, static skew, and hit rates of every policy and of Belady's optimum. A model
whose figures are unlike published routers' must not be used to measure speed: LRU over a quarter of the
experts hits about 80% there, and 97% means that routing hardly depends on the token.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from bench.plain import PlainContext, Settings
from bench.routing_probe import RoutingProbe
from bench.tokens import read_tokens, stream_for
from sixgig.errors import SixgigError, UsageError
from sixgig.modelfile import ModelFile, dequantise, open_model, read_tensor
from sixgig.pager.simulator import ReuseDistances, compare, reuse_distances
from sixgig.pager.trace import Shape, Trace, Visit, write_trace

SHARES = (0.05, 0.10, 0.25, 0.50)
SHOWN = 16
QUANTILES = (0.25, 0.50, 0.75, 0.90)
ROUTER_INPUTS = {"qwen35moe": "attn_post_norm", "qwen3moe": "ffn_norm"}


class Heard(Protocol):
    """What routers did, by layer: rows of expert ids, most likely first, and of the router's input."""

    chosen: dict[int, list[npt.NDArray[np.int32]]]
    inputs: dict[int, list[npt.NDArray[np.float32]]]


def listen(model: ModelFile, tokens: list[int], threads: int = 2) -> RoutingProbe:
    """Decode the tokens one by one with the stock library (mmap) and keep what the routers did."""
    probe = RoutingProbe(ROUTER_INPUTS.get(model.architecture, "ffn_norm"))
    settings = Settings(threads=threads, context=len(tokens) + 64)
    with PlainContext(model.parts[0], settings, probe.callback) as context:
        for token in tokens:
            context.decode(token)
    if not probe.chosen:
        raise UsageError("the model routed nothing", model.architecture, "use one with experts")
    return probe


def trace_of(model: ModelFile, probe: Heard) -> Trace:
    """One visit per token and layer, in the order they ran."""
    sizes = tuple(model.expert_bytes(layer) for layer in range(model.n_layers))
    return Trace(Shape(model.n_experts, sizes), tuple(_visits(probe)))


def _visits(probe: Heard) -> Iterator[Visit]:
    layers = sorted(probe.chosen)
    for token in range(len(probe.chosen[layers[0]])):
        for place, layer in enumerate(layers):
            experts = tuple(int(expert) for expert in probe.chosen[layer][token])
            yield Visit(token * len(layers) + place, layer, 1, experts)


def report(model: ModelFile, probe: Heard, trace: Trace) -> dict[str, Any]:
    """Every figure that tells lifelike routing from degenerate routing."""
    distances = reuse_distances(trace)
    largest = max(model.expert_bytes(layer) for layer in probe.chosen)
    budgets = [max(largest, int(share * trace.shape.routed_bytes)) for share in SHARES]
    table = compare(trace, budgets)
    return {
        "resident_shares": SHARES,
        "tokens": len(trace.visits) // trace.shape.n_routed_layers,
        "hit_rates": {name: [replay.hit_rate for replay in row] for name, row in table.items()},
        "reuse_distance_quantiles": [_quantiles(distances, layer) for layer in sorted(probe.chosen)],
        "busiest_quarter_share": _busiest_quarter(trace),
        "layers": [of_layer(trace, layer) for layer in sorted(probe.chosen)],
        "next_layer_share": next_layer_share(model, probe),
    }


def _quantiles(distances: ReuseDistances, layer: int) -> list[int | None]:
    """Reuse distances (other experts of the layer used since) that QUANTILES of all uses stay within."""
    uses = np.cumsum(distances.counts[layer]) / (distances.counts[layer].sum() + distances.first_uses[layer])
    return [int(np.argmax(uses >= q)) if uses[-1] >= q else None for q in QUANTILES]


def of_layer(trace: Trace, layer: int) -> dict[str, Any]:
    """How one layer's uses spread over its experts, and how many of a token's it had for the one before.

    shares: of all uses, by expert. entropy: of these, by that of an even spread. reused: by chance it would
    be the experts used over all.
    """
    visits = [set(visit.experts) for visit in trace if visit.layer == layer]
    shares = np.bincount([expert for visit in visits for expert in visit], minlength=trace.shape.n_experts)
    shares = shares / shares.sum()
    reused = [len(now & before) / len(now) for before, now in pairwise(visits)]
    there = shares[shares > 0]
    return {
        "shares": shares.round(4).tolist(),
        "entropy": float(-(there * np.log(there)).sum() / np.log(len(shares))),
        "reused": float(np.mean(reused)) if reused else 0.0,
    }


def _busiest_quarter(trace: Trace) -> float:
    """Share of all uses that fall on each layer's busiest quarter of experts: static skew (0.25 is none)."""
    counts = np.zeros((trace.shape.n_layers, trace.shape.n_experts))
    for visit in trace:
        counts[visit.layer, list(visit.experts)] += 1
    busiest = np.sort(counts, axis=1)[:, -(trace.shape.n_experts // 4) :]
    return float(busiest.sum() / counts.sum())


def next_layer_share(model: ModelFile, probe: Heard) -> float:
    """Part of a layer's experts that its router names already from the input of the layer before."""
    router = model.family.router
    tensors = {tensor.name: tensor for tensor in model.tensors}
    shares = []
    for layer in sorted(probe.chosen)[1:]:
        if layer - 1 not in probe.inputs:
            continue
        tensor = tensors[router.weight.format(layer=layer)]
        logits = np.stack(probe.inputs[layer - 1]) @ dequantise(read_tensor(model, tensor), tensor).T
        named = np.argsort(-logits, axis=1)[:, : model.n_experts_used]
        shares += [np.isin(a, b).mean() for a, b in zip(named, probe.chosen[layer], strict=True)]
    return float(np.mean(shares)) if shares else 0.0


def show(figures: dict[str, Any]) -> None:
    """The report as text on stderr."""
    lines = [f"{figures['tokens']} tokens decoded", "hit rates     " + "".join(f"{s:8.0%}" for s in SHARES)]
    for name, row in figures["hit_rates"].items():
        lines.append(f"{name:14s}" + "".join(f"{rate:8.1%}" for rate in row))
    lines.append("reuse distance that 25, 50, 75 and 90% of a layer's uses stay within, layer by layer:")
    lines += [f"  {row}" for row in figures["reuse_distance_quantiles"]]
    lines.append(
        "a layer's share of uses by expert, their entropy (1: even), reuse from one token to the next:"
    )
    lines += [
        f"  {_percent(each['shares'])}  {each['entropy']:.3f}  {each['reused']:.0%}"
        for each in figures["layers"]
    ]
    lines.append(f"busiest quarter of experts takes {figures['busiest_quarter_share']:.1%} of uses")
    lines.append(f"next layer's router on this layer's input names {figures['next_layer_share']:.1%}")
    print("\n".join(lines), file=sys.stderr)


def _percent(shares: list[float]) -> str:
    """The largest 16 at most, in file order below that."""
    shown = shares if len(shares) <= SHOWN else sorted(shares, reverse=True)[:SHOWN]
    return "".join(f"{share:5.0%}" for share in shown)


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.verify_routing", description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--tokens", type=Path, help="token file; drawn afresh when absent")
    parser.add_argument("--count", type=int, default=512)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--trace", type=Path, help="where to write the routing trace")
    options = parser.parse_args(arguments)
    try:
        print(json.dumps(_verify(options)))
    except SixgigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _verify(options: argparse.Namespace) -> dict[str, Any]:
    model = open_model(options.model)
    drawn = stream_for(options.model).draw(options.count, options.seed)
    probe = listen(model, read_tokens(options.tokens) if options.tokens else drawn)
    trace = trace_of(model, probe)
    if options.trace:
        write_trace(options.trace, trace.shape, trace.visits)
    figures = report(model, probe, trace)
    show(figures)
    return figures


if __name__ == "__main__":
    sys.exit(main())
