"""The last product and the loss, by rows of the vocabulary: no logits are ever held whole.

The gradient is gathered in the same pass as the normaliser and scaled when a larger logit turns up, as
FlashAttention does along keys (Dao et al. 2022, arXiv 2205.14135, section 3.1).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sixgig.planning.tuning import LEAST_ROWS, LOGITS_ELEMENTS


@dataclass(frozen=True)
class HeadLoss:
    """nll: (tokens,) in nats. gradient: of the sum of nll with respect to the hidden states, or None."""

    nll: Tensor
    gradient: Tensor | None


def head_loss(
    hidden: Tensor,
    targets: Tensor,
    rows: Iterable[tuple[int, Tensor]],
    with_gradient: bool,
    logit_cap: float = 0.0,
) -> HeadLoss:
    """Cross-entropy of hidden (tokens, n_embd), after the final norm, against targets (tokens,), int64.

    rows: the head's matrix as (first row, weights (n_rows, n_embd)), each row once. logit_cap: as of net.Net.
    Runs without autograd.
    """
    with torch.no_grad():
        sums = _Sums(hidden, targets, with_gradient, logit_cap)
        for first, weights in _chunks(rows, len(hidden)):
            sums.add(first, weights)
        return sums.result()


def _chunks(rows: Iterable[tuple[int, Tensor]], n_tokens: int) -> Iterator[tuple[int, Tensor]]:
    """Few enough rows for a chunk of logits."""
    step = max(LEAST_ROWS, LOGITS_ELEMENTS // max(1, n_tokens))
    for first, weights in rows:
        for at in range(0, len(weights), step):
            yield first + at, weights[at : at + step]


class _Sums:
    """What is known of each token after some rows: the largest logit, the sum of exp(logit - largest), the
    target's logit; and the gradient's two parts, the sum of exp(logit - largest) times the row, and the
    target's row.
    """

    def __init__(self, hidden: Tensor, targets: Tensor, with_gradient: bool, logit_cap: float) -> None:
        self._hidden, self._targets, self._cap = hidden, targets, logit_cap
        self._largest = hidden.new_full((len(hidden), 1), -torch.inf)
        self._total = hidden.new_zeros(len(hidden), 1)
        self._wanted = hidden.new_zeros(len(hidden))
        self._pull = torch.zeros_like(hidden) if with_gradient else None
        self._push = torch.zeros_like(hidden) if with_gradient else None

    def add(self, first: int, weights: Tensor) -> None:
        """Rows [first, first + len(weights))."""
        logits = (self._hidden.to(weights.dtype) @ weights.T).to(self._hidden.dtype)
        if self._cap:
            logits.div_(self._cap).tanh_().mul_(self._cap)
        slopes = None
        if self._cap and self._pull is not None:
            slopes = (logits / self._cap).square_().neg_().add_(1)
        self._note_targets(first, weights, logits, slopes)
        largest = torch.maximum(self._largest, logits.amax(1, keepdim=True))
        shrink = torch.exp(self._largest - largest)
        shares = logits.sub_(largest).exp_()
        self._total.mul_(shrink).add_(shares.sum(1, keepdim=True))
        if self._pull is not None:
            shares = shares if slopes is None else shares.mul_(slopes)
            _add_product(self._pull.mul_(shrink), shares, weights)
        self._largest = largest

    def _note_targets(self, first: int, weights: Tensor, logits: Tensor, slopes: Tensor | None) -> None:
        """The logits, and the rows, of targets that lie in this chunk."""
        here = ((self._targets >= first) & (self._targets < first + len(weights))).nonzero().squeeze(1)
        places = self._targets[here] - first
        self._wanted[here] = logits[here, places]
        if self._push is not None:
            rows = weights[places].to(self._push.dtype)
            self._push[here] = rows if slopes is None else rows * slopes[here, places].unsqueeze(1)

    def result(self) -> HeadLoss:
        """After the last rows."""
        nll = self._largest.squeeze(1) + self._total.squeeze(1).log() - self._wanted
        if self._pull is None or self._push is None:
            return HeadLoss(nll, None)
        return HeadLoss(nll, self._pull.div_(self._total).sub_(self._push))


def _add_product(total: Tensor, shares: Tensor, weights: Tensor) -> None:
    """In place where one type allows: the product is as large as all hidden states."""
    if weights.dtype == total.dtype:
        total.addmm_(shares, weights)
    else:
        total.add_((shares.to(weights.dtype) @ weights).to(total.dtype))
