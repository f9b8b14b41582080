"""Muon against numpy in float64 and torch's own; skipped experts; states that go on to the same bits."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.torch import load, save
from torch import Tensor

from sixgig.errors import TrainingError, UsageError
from sixgig.finetune import optimisers
from sixgig.finetune.choices import LEARNING_RATES
from sixgig.finetune.optimisers import (
    Muon,
    load_state,
    make_optimiser,
    orthogonalised,
    state_tensors,
)

Matrix = NDArray[np.float64]
SHAPES = [(4, 9), (9, 4), (4, 9), (3, 4, 9), (5, 9, 4), (6, 6)]


def draw(seed: int, shapes: list[tuple[int, ...]] = SHAPES, dtype=torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]


def parameters(dtype=torch.float64, shapes: list[tuple[int, ...]] = SHAPES) -> list[Tensor]:
    return [tensor.requires_grad_() for tensor in draw(0, shapes, dtype)]


def step(optimiser: torch.optim.Optimizer, trained: list[Tensor], gradients: list[Tensor]) -> None:
    for parameter, gradient in zip(trained, gradients, strict=True):
        parameter.grad = gradient
    optimiser.step()


def numpy_step(weights: Matrix, gradient: Matrix, momentum: Matrix, lr: float, decay: float) -> None:
    """One matrix, as Jordan's and Liu's texts say it; in place."""
    momentum += 0.05 * (gradient - momentum)
    x = 0.05 * gradient + 0.95 * momentum
    x = x / np.sqrt((x**2).sum())
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    weights *= 1 - lr * decay
    weights -= lr * 0.2 * np.sqrt(max(x.shape)) * x


@pytest.mark.parametrize("batch_elements", [1, 100, 1 << 24], ids=["one", "few", "all at once"])
def test_muon_is_numpy_s_matrix_by_matrix(batch_elements: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many matrices are taken together, and each expert of a stack by itself."""
    monkeypatch.setattr(optimisers, "BATCH_ELEMENTS", batch_elements)
    trained = parameters()
    optimiser = Muon(trained, lr=0.02, weight_decay=0.1)
    weights = [tensor.detach().numpy().copy().reshape(-1, *tensor.shape[-2:]) for tensor in trained]
    momenta = [np.zeros_like(tensor) for tensor in weights]
    for seed in (1, 2, 3):
        gradients = draw(seed)
        for stack, gradient, momentum in zip(weights, gradients, momenta, strict=True):
            for number, matrix in enumerate(gradient.numpy().reshape(stack.shape)):
                numpy_step(stack[number], matrix, momentum[number], lr=0.02, decay=0.1)
        step(optimiser, trained, gradients)
    for ours, theirs in zip(trained, weights, strict=True):
        np.testing.assert_allclose(
            ours.detach().numpy().reshape(theirs.shape), theirs, rtol=1e-10, atol=1e-12
        )


def test_muon_is_torch_s_on_matrices_as_far_as_bfloat16_goes() -> None:
    shapes = [shape for shape in SHAPES if len(shape) == 2]
    ours, theirs = parameters(torch.float32, shapes), parameters(torch.float32, shapes)
    options = {"lr": 0.02, "weight_decay": 0.1}
    mine = Muon(ours, **options)
    torch_s = torch.optim.Muon(theirs, **options, adjust_lr_fn="match_rms_adamw")
    for seed in (1, 2, 3):
        gradients = draw(seed, shapes, torch.float32)
        step(mine, ours, gradients)
        step(torch_s, theirs, [gradient.clone() for gradient in gradients])
    for start, a, b in zip(parameters(torch.float32, shapes), ours, theirs, strict=True):
        assert (a - b).norm() < 0.03 * (b - start).norm()
    for a, b in zip(ours, theirs, strict=True):
        momenta = mine.state[a]["momentum_buffer"], torch_s.state[b]["momentum_buffer"]
        torch.testing.assert_close(*momenta)


@limits(max_examples=40)
@given(
    st.integers(1, 5),
    st.integers(1, 24),
    st.integers(1, 24),
    st.floats(-12, 6),
    st.integers(0, 10**6),
)
def test_orthogonalised_whatever_the_scale(n: int, rows: int, columns: int, scale: float, seed: int) -> None:
    """The singular vectors stay, the values are near 1; gradients as small as 1e-12 are no exception."""
    (drawn,) = draw(seed, [(n, rows, columns)])
    left, values, right = torch.linalg.svd(drawn, full_matrices=False)
    matrices = (left * values.clamp(min=0.1).unsqueeze(-2)) @ right
    turned = orthogonalised((matrices * 10**scale).float()).double()
    gains = (left.mT @ turned @ right.mT).diagonal(dim1=-2, dim2=-1)
    assert gains.min() > 0.65
    assert gains.max() < 1.25
    torch.testing.assert_close((left * gains.unsqueeze(-2)) @ right, turned, rtol=0, atol=2e-3)


def test_experts_without_a_gradient_stay_to_the_bit() -> None:
    """Their weights and momenta, while the others of the stack move; a matrix without gradient as well."""
    trained = parameters(torch.float32, [(4, 3, 5), (3, 5)])
    optimiser = Muon(trained, lr=0.1, weight_decay=0.5)
    step(optimiser, trained, draw(1, [(4, 3, 5), (3, 5)], torch.float32))
    weights, momentum = trained[0].detach().clone(), optimiser.state[trained[0]]["momentum_buffer"].clone()
    alone = trained[1].detach().clone()
    (gradient,) = draw(2, [(4, 3, 5)], torch.float32)
    gradient[[0, 2]] = 0
    step(optimiser, trained, [gradient, torch.zeros(3, 5)])
    stayed = (trained[0] == weights).flatten(1).all(1)
    remembered = (optimiser.state[trained[0]]["momentum_buffer"] == momentum).flatten(1).all(1)
    assert stayed.tolist() == remembered.tolist() == [True, False, True, False]
    assert torch.equal(trained[1], alone)


def test_a_step_without_any_gradient_changes_nothing() -> None:
    """As of the factors A in the first step, when B is zero."""
    trained = parameters(torch.float32)
    trained.append(torch.ones(2, 2, requires_grad=True))
    optimiser = Muon(trained, lr=0.1, weight_decay=0.5)
    step(optimiser, trained, [torch.zeros_like(tensor) for tensor in trained[:-1]] + [None])
    assert all(torch.equal(a, b) for a, b in zip(trained, parameters(torch.float32), strict=False))


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_training_goes_on_to_the_same_bits(name: str) -> None:
    """Through a file, with the weights; some gradients are missing or zero."""

    def train(optimiser: torch.optim.Optimizer, trained: list[Tensor], seeds: range) -> None:
        for seed in seeds:
            gradients = draw(seed, dtype=torch.float32)
            gradients[3][seed % 3] = 0
            step(optimiser, trained, [*gradients[:-1], gradients[-1] if seed > 2 else None])

    through = parameters(torch.float32)
    optimiser = make_optimiser(name, through, weight_decay=0.1)
    train(optimiser, through, range(5))
    halted = parameters(torch.float32)
    first = make_optimiser(name, halted, weight_decay=0.1)
    train(first, halted, range(2))
    resumed = [tensor.detach().clone().requires_grad_() for tensor in halted]
    second = make_optimiser(name, resumed, weight_decay=0.1)
    load_state(second, load(save(state_tensors(first))))
    train(second, resumed, range(2, 5))
    assert all(torch.equal(a, b) for a, b in zip(through, resumed, strict=True))
    states = state_tensors(optimiser), state_tensors(second)
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.parametrize("name", ["0.momentum_buffer", "7.momentum_buffer", "x"])
def test_a_state_of_other_parameters_is_refused(name: str) -> None:
    optimiser = make_optimiser("muon", parameters())
    with pytest.raises(TrainingError, match="another adapter"):
        load_state(optimiser, {name: torch.zeros(2, 2)})


def test_names_and_rates() -> None:
    for name, rate in LEARNING_RATES.items():
        assert make_optimiser(name, parameters()).param_groups[0]["lr"] == rate
    with pytest.raises(UsageError, match="no optimiser 'sgd'"):
        make_optimiser("sgd", parameters())


@pytest.mark.parametrize(("name", "rate"), [("adamw", 0.03), ("muon", 0.15)])
def test_low_rank_factors_find_a_low_rank_matrix(name: str, rate: float) -> None:
    """From PEFT's start (B zero) to an error a hundred times smaller, at rates five apart as the defaults."""
    target = torch.linalg.multi_dot(draw(1, [(30, 3), (3, 20)], torch.float32))
    (a,) = parameters(torch.float32, [(4, 20)])
    b = torch.zeros(30, 4, requires_grad=True)
    optimiser = make_optimiser(name, [a, b], lr=rate)
    for number in range(300):
        optimiser.param_groups[0]["lr"] = rate * (1 - number / 300)
        optimiser.zero_grad()
        loss = (b @ a - target).square().mean()
        loss.backward()
        optimiser.step()
    assert loss < 1e-2 * target.square().mean()
