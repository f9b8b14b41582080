"""The trainable part: pairs of low-rank factors beside frozen matrices.

Source: LoRA, Hu et al. 2021 (arXiv 2106.09685), sections 4.1 and 4.2; A is drawn as PEFT draws it, B is zero.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

import torch
from torch import Tensor

from sixgig.errors import UsageError
from sixgig.families import Role
from sixgig.finetune.choices import DEFAULT_PARTS, ROLES, Part
from sixgig.finetune.operands import Factors
from sixgig.modelfile import ModelFile
from sixgig.modelfile import Tensor as StoredTensor
from sixgig.modelfile.lora import Lora


@dataclass(frozen=True)
class Target:
    """One adapted tensor; `shape` is ne order: (n_in, n_out), of a stack (n_in, n_out, n_experts)."""

    name: str
    shape: tuple[int, ...]

    @property
    def stack(self) -> tuple[int, ...]:
        """(n_experts,) of a stack, () of a matrix."""
        return self.shape[2:]

    def n_weights(self, rank: int) -> int:
        """Trainable weights of its pair."""
        return rank * (self.shape[0] + self.shape[1]) * (self.stack[0] if self.stack else 1)


def targets(model: ModelFile, parts: Collection[Part] = DEFAULT_PARTS) -> tuple[Target, ...]:
    """The model's matrices in these parts, in file order; UsageError when there are none."""
    roles = {role for part in parts for role in ROLES[part]}
    n_layers = model.n_layers - model.hyperparameters.n_prediction_layers
    found = tuple(Target(t.name, t.shape) for t in model.tensors if _is_target(t, roles, n_layers))
    if not found:
        has = [part for part in Part if any(t.role in ROLES[part] for t in model.tensors)]
        numbers = f"asked for {', '.join(parts)}"
        raise UsageError("the model has none of the parts to tune", numbers, f"it has {', '.join(has)}")
    return found


def _is_target(tensor: StoredTensor, roles: set[Role], n_layers: int) -> bool:
    in_a_layer = tensor.layer is not None and tensor.layer < n_layers
    is_matrix = len(tensor.shape) >= 2 and tensor.name.endswith(".weight")
    return in_a_layer and is_matrix and tensor.role in roles


class Adapter:
    """Factors in float32, by tensor name, in a fixed order. `scale` is alpha / rank."""

    def __init__(
        self, targets: Sequence[Target], rank: int, alpha: float, seed: int, device: str = "cpu"
    ) -> None:
        self.targets, self.rank, self.alpha = tuple(targets), rank, alpha
        self.factors: dict[str, Factors] = {}
        for target in self.targets:
            a, b = _drawn(target, rank, seed)
            self.factors[target.name] = (
                a.to(device).requires_grad_(),
                b.to(device).requires_grad_(),
            )

    @property
    def scale(self) -> float:
        """What the product of a pair is multiplied by."""
        return self.alpha / self.rank

    @property
    def parameters(self) -> list[Tensor]:
        """A and B of every pair, in order."""
        return [factor for pair in self.factors.values() for factor in pair]

    @property
    def n_weights(self) -> int:
        """Trainable weights."""
        return sum(parameter.numel() for parameter in self.parameters)

    def tensors(self) -> dict[str, Tensor]:
        """The factors under "<tensor>.lora_a" and "<tensor>.lora_b", detached, not copied."""
        return {
            f"{name}.{kind}": factor.detach()
            for name, pair in self.factors.items()
            for kind, factor in zip(("lora_a", "lora_b"), pair, strict=True)
        }

    def load(self, tensors: Iterable[tuple[str, Tensor]]) -> None:
        """Take the values of an earlier `tensors()`."""
        factors = self.tensors()
        for name, tensor in tensors:
            factors[name].copy_(tensor)

    def to_lora(self, architecture: str, tensors: dict[str, Tensor] | None = None) -> Lora:
        """For the files; `tensors`: another state of this adapter, the present one by default."""
        values = {
            name: tensor.cpu().numpy()
            for name, tensor in (self.tensors() if tensors is None else tensors).items()
        }
        pairs = {name: (values[f"{name}.lora_a"], values[f"{name}.lora_b"]) for name in self.factors}
        return Lora(architecture, self.alpha, pairs)


def _drawn(target: Target, rank: int, seed: int) -> Factors:
    """A uniform within 1 / sqrt(n_in); drawn by name, so that other targets do not change it."""
    digest = sha256(f"{seed} {target.name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little", signed=True))
    n_in, n_out = target.shape[:2]
    bound = n_in**-0.5
    a = torch.empty(*target.stack, rank, n_in).uniform_(-bound, bound, generator=generator)
    return a, torch.zeros(*target.stack, n_out, rank)
