"""The learning rate's course, and the gradient's bound against torch's own."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sixgig.finetune.optimisers import clip
from sixgig.finetune.schedule import (
    BATCH_TOKENS,
    FEWEST_STEPS,
    MOST_EPOCHS,
    batch_tokens,
    epochs_for,
    learning_rate,
)

LENGTHS = st.tuples(st.integers(1, 500), st.integers(0, 500)).filter(lambda pair: pair[1] < pair[0])


@given(LENGTHS, st.floats(1e-6, 1.0))
def test_rate_rises_to_its_peak_then_falls_to_a_tenth(lengths: tuple[int, int], peak: float) -> None:
    total, warmup = lengths
    rates = [learning_rate(step, total, warmup, peak) for step in range(total)]
    top = warmup or 1
    assert rates[:top] == sorted(rates[:top])
    assert rates[top - 1] == max(rates) == peak
    assert rates[top - 1 :] == sorted(rates[top - 1 :], reverse=True)
    assert min(rates) > 0
    if total > warmup + 1:
        assert rates[-1] == pytest.approx(peak / 10)


@given(st.lists(st.integers(2, 1024), min_size=1, max_size=300))
def test_a_step_is_of_a_few_rows_and_few_rows_get_more_epochs(lengths: list[int]) -> None:
    """As many steps as an adapter needs to move, unless that took more epochs than help."""
    batch = batch_tokens(lengths, 2)
    assert min(4 * sum(lengths) / len(lengths), BATCH_TOKENS) <= batch <= BATCH_TOKENS

    def n_steps(epochs: int) -> int:
        return -(-epochs * sum(lengths) // batch)

    epochs = epochs_for(n_steps)
    assert 2 <= epochs <= MOST_EPOCHS
    assert n_steps(epochs) >= FEWEST_STEPS or epochs == MOST_EPOCHS
    assert epochs == 2 or n_steps(epochs - 1) < FEWEST_STEPS


def test_much_data_is_learnt_as_before() -> None:
    assert batch_tokens([500] * 2000, 2) == 4096
    assert epochs_for(lambda epochs: epochs * 250) == 2


def test_rate_in_figures() -> None:
    rates = [learning_rate(step, total_steps=7, warmup_steps=2, peak=1.0) for step in range(7)]
    assert rates == pytest.approx([0.5, 1.0, 1.0, 0.8682, 0.55, 0.2318, 0.1], abs=1e-4)


def test_a_run_of_one_step_takes_it_at_the_peak() -> None:
    assert learning_rate(0, 1, 0, 3e-4) == 3e-4


def with_gradients(seed: int, scale: float) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    made = [torch.zeros(3, 4, requires_grad=True), torch.zeros(2, 5, 6, requires_grad=True)]
    for parameter in made:
        parameter.grad = torch.randn(parameter.shape, generator=generator) * scale
    return [*made, torch.zeros(2, requires_grad=True)]


@given(st.integers(0, 1000), st.floats(1e-3, 1e3), st.floats(1e-2, 1e2))
def test_clipping_is_torch_s(seed: int, scale: float, limit: float) -> None:
    """A parameter without a gradient is left out."""
    ours, theirs = with_gradients(seed, scale), with_gradients(seed, scale)
    norm = clip(ours, limit)
    assert norm == pytest.approx(float(torch.nn.utils.clip_grad_norm_(theirs, limit)), rel=1e-5)
    for a, b in zip(ours[:2], theirs[:2], strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-3, atol=0)
    assert clip(ours, limit) <= limit * (1 + 1e-6)


def test_small_gradients_keep_their_bits() -> None:
    ours, before = with_gradients(0, 1e-3), with_gradients(0, 1e-3)
    clip(ours, 1.0)
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(ours[:2], before[:2], strict=True))


def test_the_norm_neither_overflows_nor_hides_what_is_no_number() -> None:
    huge = with_gradients(0, 1e30)
    assert math.isfinite(clip(huge, 1.0))
    assert clip(huge, 2.0) == pytest.approx(1.0)
    huge[0].grad[0, 0] = torch.nan
    assert math.isnan(clip(huge, 1.0))
    huge[0].grad[0, 0] = torch.inf
    assert clip(huge, 1.0) == math.inf
    assert huge[1].grad.isfinite().all()
