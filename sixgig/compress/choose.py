"""Chooses a type for every tensor: the least expected loss that fits a number of bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sixgig.compress.distortion import Distortions
from sixgig.compress.knapsack import Choice, solve
from sixgig.compress.types import candidates
from sixgig.modelfile import TYPE_BY_NAME, GgmlType
from sixgig.modelfile.header import padded
from sixgig.modelfile.writer import PAGE_BYTES, NewTensor, lay_out
from sixgig.weights.stored import WeightInfo, Weights

Costs = Mapping[str, float]


@dataclass(frozen=True)
class Recipe:
    """types: by tensor name. expected_loss: nats of KL divergence by the costs it was chosen with."""

    types: Mapping[str, str]
    size_bytes: int
    expected_loss: float

    def ggml_types(self) -> dict[str, GgmlType]:
        """The types themselves."""
        return {name: TYPE_BY_NAME[kind] for name, kind in self.types.items()}


def choose(
    weights: Weights, distortions: Distortions, costs: Costs, budget_bytes: int, metadata_bytes: int
) -> Recipe:
    """The recipe whose file takes at most `budget_bytes`, header and padding included.

    A type's cost is the tensor's (nats per unit of relative error) times the error there.
    metadata_bytes: the header. Raises BudgetError with the smallest size possible.
    """
    kinds = [_worthwhile(info, distortions) for info in weights.tensors]
    groups = [
        [_choice(info, kind, distortions, costs) for kind in options]
        for info, options in zip(weights.tensors, kinds, strict=True)
    ]
    solution = solve(groups, budget_bytes - metadata_bytes)
    chosen = zip(weights.tensors, kinds, solution.choices, strict=True)
    types = {info.name: options[at].name for info, options, at in chosen}
    return Recipe(types, metadata_bytes + solution.size_bytes, solution.cost)


def header_bytes(weights: Weights, metadata: Mapping[str, object]) -> int:
    """Bytes before the first tensor; the same whatever the types are."""
    new = [NewTensor(info.name, info.shape, info.type) for info in weights.tensors]
    return len(lay_out(weights.model.metadata, {**weights.changes, **metadata}, new).header)


def stored_bytes(info: WeightInfo, kind: GgmlType) -> int:
    """Bytes of a tensor in a type, padding included."""
    return padded(NewTensor(info.name, info.shape, kind).size_bytes, PAGE_BYTES)


def smallest_bytes(weights: Weights, metadata_bytes: int) -> int:
    """The smallest file there can be."""
    return metadata_bytes + sum(
        min(stored_bytes(info, kind) for kind in candidates(info)) for info in weights.tensors
    )


def _worthwhile(info: WeightInfo, distortions: Distortions) -> tuple[GgmlType, ...]:
    return tuple(kind for kind in candidates(info) if kind.name in distortions[info.name].errors)


def _choice(info: WeightInfo, kind: GgmlType, distortions: Distortions, costs: Costs) -> Choice:
    cost = distortions[info.name].errors[kind.name] * costs.get(info.name, 0.0)
    return Choice(stored_bytes(info, kind), cost)
