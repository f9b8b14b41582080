"""What a visit leaves in memory, measured block by block: the plan's constants come from here.

    python -m bench.tuning.activations MODEL.gguf [--tokens 1024]

Runs one block of each kind, forward and backward, on weights that are all one random buffer, and prints the
most memory it took against what the plan counts for it. MODEL's weights are not read.
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Iterator
from dataclasses import dataclass, fields
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from sixgig.families import Role
from sixgig.finetune.adapter import Adapter, targets
from sixgig.finetune.footing import find_footing
from sixgig.finetune.net import Net, build_net
from sixgig.finetune.operands import Operands
from sixgig.hardware import PeakSampler, process_memory
from sixgig.modelfile import ModelFile, open_model
from sixgig.planning import anatomy
from sixgig.planning.tuning import Batch, visit_bytes


@dataclass(frozen=True)
class Described(ModelFile):
    """A model whose file may lack a vocabulary."""

    @property
    def n_vocab(self) -> int:
        """Rows of the embedding."""
        return next(t.shape[1] for t in self.tensors if t.role is Role.EMBEDDING)


def described(path: Path) -> Described:
    """The model of a header."""
    model = open_model(path)
    return Described(**{field.name: getattr(model, field.name) for field in fields(ModelFile)})


class OneBuffer:
    """operands.Weights of any model: every matrix is the beginning of one buffer."""

    def __init__(self, net: Net) -> None:
        self._shapes = {tensor.name: tensor.shape[::-1] for tensor in net.model.tensors}
        inside = [t.shape[:2] for t in net.model.tensors if t.layer is not None]
        self._buffer = torch.randn(max(map(prod, inside))) * 0.02
        self._n_experts = net.model.n_experts

    def __contains__(self, name: str) -> bool:
        return name in self._shapes

    def matrix(self, name: str) -> Tensor:
        """As operands.Weights."""
        shape = self._shapes[name][-2:]
        return self._buffer[: prod(shape)].view(shape)

    def vector(self, name: str) -> Tensor:
        """As operands.Weights."""
        return torch.full(self._shapes[name], -0.1 if name.endswith("ssm_a") else 0.5)

    def expert_groups(self, layer: int) -> Iterator[Group]:
        """As operands.Weights."""
        yield Group(0, self._n_experts, self)


@dataclass
class Group:
    """operands.ExpertGroup."""

    first: int
    last: int
    weights: OneBuffer

    def matrix(self, name: str, expert: int) -> Tensor:
        """As operands.ExpertGroup."""
        return self.weights.matrix(name)


def visit(path: Path, number: int, tokens: int, results: multiprocessing.Queue[int]) -> None:
    """Bytes above those before, while block `number` runs backward."""
    find_footing(2)
    net = build_net(described(path))
    block = net.blocks[number]
    adapter = Adapter([t for t in targets(net.model) if t.name in block.dense], 16, 32, 0) if block else None
    operands = Operands(OneBuffer(net), adapter.factors, 2.0, value_unused=True)
    x, grad = torch.randn(tokens, net.model.n_embd), torch.randn(tokens, net.model.n_embd)
    before = process_memory().anonymous_bytes
    with PeakSampler(0.002) as sampler:
        part = x.requires_grad_()
        block.forward(part, [tokens], operands).backward(grad)
    results.put(sampler.peak.anonymous_bytes - before)


def main() -> None:
    """Each kind of block once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--tokens", type=int, default=1024)
    options = parser.parse_args()
    net = build_net(described(options.model))
    parts = anatomy(net.model)
    batch = Batch(options.tokens, options.tokens, 0)
    context, seen = multiprocessing.get_context("spawn"), set[str]()
    for number, block in enumerate(net.blocks):
        kind = type(block).__name__
        if kind in seen:
            continue
        seen.add(kind)
        results = context.Queue()
        process = context.Process(target=visit, args=(options.model, number, options.tokens, results))
        process.start()
        found = results.get()
        process.join()
        mixing, feeding = visit_bytes(parts, parts.layers[block.layer], batch)
        planned = feeding if number % 2 else mixing
        print(f"{kind:16} {found / 2**20:8.1f} MiB, planned {planned / 2**20:8.1f}: {found / planned:.2f}")


if __name__ == "__main__":
    main()
