"""The loss and its gradient by rows of the vocabulary equal torch's over whole logits."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from sixgig.finetune import head
from sixgig.finetune.head import head_loss


@given(
    n_tokens=st.integers(1, 40),
    n_vocab=st.integers(2, 300),
    step=st.integers(1, 300),
    scale=st.sampled_from([1.0, 30.0]),
    cap=st.sampled_from([0.0, 5.0, 30.0]),
    seed=st.integers(0, 9),
)
def test_loss_and_gradient_equal_torchs(n_tokens, n_vocab, step, scale, cap, seed) -> None:
    """Of logits as they are, and of capped ones."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(n_tokens, 16, generator=generator, dtype=torch.float64).requires_grad_()
    weights = scale * torch.randn(n_vocab, 16, generator=generator, dtype=torch.float64)
    targets = torch.randint(n_vocab, (n_tokens,), generator=generator)
    logits = hidden @ weights.T
    logits = cap * torch.tanh(logits / cap) if cap else logits
    nll = cross_entropy(logits, targets, reduction="none")
    nll.sum().backward()
    rows = [(first, weights[first : first + step]) for first in range(0, n_vocab, step)]
    found = head_loss(hidden.detach(), targets, rows, with_gradient=True, logit_cap=cap)
    torch.testing.assert_close(found.nll, nll.detach(), rtol=1e-12, atol=1e-10)
    torch.testing.assert_close(found.gradient, hidden.grad, rtol=1e-10, atol=1e-10)


def test_logits_are_computed_in_chunks_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "LOGITS_ELEMENTS", 8 * 64)
    hidden, weights, targets = torch.randn(8, 4), torch.randn(1000, 4), torch.randint(1000, (8,))
    sizes = [len(chunk) for _, chunk in head._chunks([(0, weights)], len(hidden))]
    assert max(sizes) == 64 and sum(sizes) == 1000
    whole = cross_entropy(hidden @ weights.T, targets, reduction="none")
    torch.testing.assert_close(head_loss(hidden, targets, [(0, weights)], False).nll, whole)


def test_float32_stays_close_with_logits_of_any_size() -> None:
    hidden, weights, targets = 50 * torch.randn(16, 64), torch.randn(5000, 64), torch.randint(5000, (16,))
    exact = hidden.double().requires_grad_()
    cross_entropy(exact @ weights.double().T, targets, reduction="sum").backward()
    found = head_loss(hidden, targets, [(0, weights[:1000]), (1000, weights[1000:])], True)
    torch.testing.assert_close(found.gradient.double(), exact.grad, rtol=1e-3, atol=1e-3)


def test_a_vocabulary_of_248k_gives_torchs_loss_and_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    hidden, weights = torch.randn(6, 32, generator=generator), torch.randn(248_320, 32, generator=generator)
    targets = torch.randint(len(weights), (6,), generator=generator)
    exact = hidden.double().requires_grad_()
    nll = cross_entropy(exact @ weights.double().T, targets, reduction="none")
    nll.sum().backward()
    rows = [(first, weights[first : first + 50_000]) for first in range(0, len(weights), 50_000)]
    found = head_loss(hidden, targets, rows, True)
    torch.testing.assert_close(found.nll.double(), nll.detach(), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found.gradient.double(), exact.grad, rtol=1e-5, atol=1e-5)
