"""What turns gradients into new factors: their bound, AdamW as torch has it, and Muon for stacks of matrices.

Muon: Jordan et al. 2024 (kellerjordan.github.io/posts/muon); its step's size: Liu et al. 2025
(arXiv 2502.16982), section 2.2. torch.optim.Muon takes single matrices only and orthogonalises in bfloat16.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.optim import AdamW, Optimizer

from sixgig.errors import TrainingError, UsageError
from sixgig.finetune.choices import LEARNING_RATES

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of X, X X^T X, (X X^T)^2 X
ITERATIONS = 5
UPDATE_RMS = 0.2  # of Muon's update before the learning rate, as AdamW's usually is
SMALLEST_NORM = 1e-15  # torch's 1e-7 would hold back experts that few tokens came to
BATCH_ELEMENTS = 1 << 20  # of matrices orthogonalised at once: 4 MiB stay in the cache


def make_optimiser(
    name: str, parameters: Sequence[Tensor], lr: float | None = None, weight_decay: float = 0.0
) -> Optimizer:
    """ "adamw" or "muon"; without lr the one of LEARNING_RATES. UsageError for another name.

    AdamW takes the parameters one by one: torch's joined form (foreach) holds another copy of them all.
    """
    if name not in LEARNING_RATES:
        raise UsageError(f"there is no optimiser {name!r}", cure=f"known: {', '.join(LEARNING_RATES)}")
    lr = LEARNING_RATES[name] if lr is None else lr
    if name == "muon":
        return Muon(parameters, lr, weight_decay)
    return AdamW(parameters, lr, weight_decay=weight_decay, foreach=False, fused=False)


class Muon(Optimizer):
    """For matrices, and stacks of them with the experts in front: each matrix is orthogonalised by itself.

    Nesterov momentum; weight decay apart from the gradient; all in the parameters' own type. A matrix whose
    gradient is all zeros (no token came to the expert) keeps its momentum and its weights.
    """

    def __init__(
        self, params: Iterable[Tensor], lr: float, weight_decay: float = 0.0, momentum: float = 0.95
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Takes one step with the gradients there are."""
        assert closure is None, "gradients are computed before"
        for group in self.param_groups:
            for batch in _batches(self._touched(group["params"])):
                _update(batch, group["lr"], group["weight_decay"], group["momentum"])
        return None

    def _touched(self, parameters: Iterable[Tensor]) -> Iterator[_Matrices]:
        for parameter in parameters:
            if parameter.grad is None:
                continue
            if "momentum_buffer" not in self.state[parameter]:
                self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
            momentum = self.state[parameter]["momentum_buffer"]
            weights, gradient, momentum = map(_stack, (parameter.detach(), parameter.grad, momentum))
            numbers = gradient.flatten(1).any(1).nonzero().squeeze(1)
            yield _Matrices(weights, gradient, momentum, numbers)


@dataclass(frozen=True)
class _Matrices:
    """Some matrices, by their numbers, of a parameter (n, rows, columns), its gradient and its momentum."""

    weights: Tensor
    gradient: Tensor
    momentum: Tensor
    numbers: Tensor


def _stack(tensor: Tensor) -> Tensor:
    return tensor.view(-1, *tensor.shape[-2:])


def _batches(parts: Iterable[_Matrices]) -> Iterator[list[_Matrices]]:
    """Matrices of one shape, up to BATCH_ELEMENTS together."""
    waiting = defaultdict[torch.Size, list[_Matrices]](list)
    for part in parts:
        shape = part.weights.shape[1:]
        most = max(1, BATCH_ELEMENTS // shape.numel())
        for numbers in torch.split(part.numbers, most):
            if sum(len(other.numbers) for other in waiting[shape]) + len(numbers) > most:
                yield waiting.pop(shape)
            waiting[shape].append(replace(part, numbers=numbers))
    yield from waiting.values()


def _update(batch: Sequence[_Matrices], lr: float, weight_decay: float, momentum: float) -> None:
    gradient = torch.cat([part.gradient[part.numbers] for part in batch])
    average = torch.cat([part.momentum[part.numbers] for part in batch]).lerp_(gradient, 1 - momentum)
    direction = orthogonalised(gradient.lerp_(average, momentum))
    size = lr * UPDATE_RMS * max(direction.shape[1:]) ** 0.5
    lengths = [len(part.numbers) for part in batch]
    averages, directions = torch.split(average, lengths), torch.split(direction, lengths)
    for part, average, direction in zip(batch, averages, directions, strict=True):
        part.momentum[part.numbers] = average
        part.weights[part.numbers] = part.weights[part.numbers] * (1 - lr * weight_decay) - size * direction


def orthogonalised(matrices: Tensor) -> Tensor:
    """Each of (n, rows, columns) with its singular values brought near 1, by Newton-Schulz iterations.

    Singular values of at least a 500th of the matrix's norm land between 0.68 and 1.21.
    """
    is_tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if is_tall else matrices
    x = x / torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True).clamp(min=SMALLEST_NORM)
    linear, cubic, quintic = COEFFICIENTS
    for _ in range(ITERATIONS):
        gram = torch.bmm(x, x.mT)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=cubic, alpha=quintic), x, beta=linear)
    return x.mT if is_tall else x


def state_tensors(optimiser: Optimizer) -> dict[str, Tensor]:
    """What the optimiser remembers, by "<number of the parameter>.<name>"; not copied."""
    return {
        f"{number}.{name}": tensor
        for number, parameter in enumerate(_parameters(optimiser))
        for name, tensor in optimiser.state.get(parameter, {}).items()
    }


def _parameters(optimiser: Optimizer) -> list[Tensor]:
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]


def load_state(optimiser: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Go on from an earlier `state_tensors`, to the same bits, with parameters in the same order.

    Takes the tensors over. TrainingError for tensors of other parameters.
    """
    parameters = {str(number): p for number, p in enumerate(_parameters(optimiser))}
    optimiser.state.clear()
    for full_name, tensor in tensors.items():
        number, _, name = full_name.partition(".")
        parameter = parameters.get(number)
        if parameter is None or tensor.shape not in (parameter.shape, ()):
            numbers = f"{full_name} of shape {tuple(tensor.shape)}"
            raise TrainingError("the optimiser's state is of another adapter", numbers)
        # torch's counter of steps, a scalar, stays in main memory.
        optimiser.state[parameter][name] = tensor.to(parameter.device if tensor.dim() else "cpu")


def clip(parameters: Iterable[Tensor], limit: float) -> float:
    """The norm of all gradients together; they are shrunk to the limit when it is above, if it is finite.

    Summed in float64 and in the parameters' order: equal runs give equal bits.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norms = [float(torch.linalg.vector_norm(gradient, dtype=torch.float64)) for gradient in gradients]
    norm = math.hypot(*norms)
    if limit < norm < math.inf:
        for gradient in gradients:
            gradient.mul_(limit / norm)
    return norm
