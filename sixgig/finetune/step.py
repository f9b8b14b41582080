"""Losses and gradients of a batch, block by block: the whole batch goes through a block while it is here.

Forward, only what enters each block is kept. Backward, a block is computed again, now with gradients, from
its input; so nothing but one block's weights and activations is ever held. Source: gradient checkpointing,
Chen et al. 2016 (arXiv 1604.06174), with the layer as the outer loop and micro-batches as the inner one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from sixgig.finetune.adapter import Adapter
from sixgig.finetune.boundaries import Boundaries
from sixgig.finetune.head import HeadLoss, head_loss
from sixgig.finetune.net import Block, Net
from sixgig.finetune.operands import Operands
from sixgig.finetune.packing import MicroBatch
from sixgig.finetune.reader import Reader
from sixgig.finetune.stored import Embedding, StreamedWeights
from sixgig.planning.pieces import Pieces

NORM_TOKENS = 512  # at once through the final norm backward
Kind = Literal["step", "forward"]


@dataclass(frozen=True)
class Loss:
    """Of the tokens that are learnt: the sum of their nll in nats, and how many there are; the same of each
    document, where asked for."""

    sum_nll: float
    n_tokens: int
    documents: tuple[tuple[float, int], ...] = ()

    @property
    def mean(self) -> float:
        """Nats a token."""
        return self.sum_nll / self.n_tokens


@dataclass(frozen=True)
class Span:
    """Tokens [first, last) that go through a block together, and the lengths of the documents in them."""

    first: int
    last: int
    documents: tuple[int, ...]


class Stepper:
    """One net, one adapter. gradients() adds to the factors' .grad, as torch does.

    check: called before each block; what it raises ends the step.
    """

    def __init__(
        self,
        net: Net,
        pieces: Pieces,
        reader: Reader,
        weights: StreamedWeights,
        adapter: Adapter,
        boundaries: Boundaries,
        device: torch.device,
        check: Callable[[], object] = lambda: None,
    ) -> None:
        self._net, self._pieces, self._reader, self._weights = net, pieces, reader, weights
        self._boundaries, self._device, self._check = boundaries, device, check
        self._embedding = Embedding(net.model, net.embedding)
        self._operands = Operands(weights, adapter.factors, adapter.scale)
        self._lowest = lowest_adapted(net.blocks, adapter)
        self._expected = deque[Kind]()

    def expect(self, kind: Kind) -> None:
        """Read ahead for a call that will come next, while other work is done."""
        pieces = self._pieces.step(self._lowest) if kind == "step" else self._pieces.forward()
        self._reader.announce(pieces)
        self._expected.append(kind)

    def loss(self, batch: Sequence[MicroBatch]) -> Loss:
        """Of a batch and each of its documents, without gradients."""
        self._begin("forward")
        x = self._forward(batch, keep=False)
        found = self._head(x, batch, with_gradient=False)
        return replace(_summed(found), documents=_by_document(found, batch))

    def gradients(self, batch: Sequence[MicroBatch]) -> Loss:
        """Of the mean nll over all tokens of the batch that are learnt."""
        self._begin("step")
        x = self._forward(batch, keep=True)
        found = self._head(x, batch, with_gradient=True)
        self._backward(x, batch)
        return _summed(found)

    def _begin(self, kind: Kind) -> None:
        if not self._expected:
            self.expect(kind)
        assert self._expected.popleft() == kind, "what was expected comes"

    def _forward(self, batch: Sequence[MicroBatch], keep: bool) -> Tensor:
        tokens = np.concatenate([micro.tokens for micro in batch])
        x = self._embedding.rows(tokens).to(self._device).mul_(self._net.embedding_scale)
        with torch.no_grad():
            for number, block in enumerate(self._net.blocks):
                self._check()
                if keep and number >= self._lowest:
                    self._boundaries.keep(number, x)
                with self._weights.visit(self._pieces.visits[number]):
                    for span in spans(block, batch):
                        part = x[span.first : span.last]
                        part.copy_(block.forward(part, span.documents, self._operands))
        return x

    def _head(self, x: Tensor, batch: Sequence[MicroBatch], with_gradient: bool) -> HeadLoss:
        """The loss of the tokens that are learnt; x becomes the gradient of its mean with respect to x."""
        targets = torch.from_numpy(np.concatenate([micro.targets for micro in batch])).to(self._device)
        learnt = (targets >= 0).nonzero().squeeze(1)
        with torch.no_grad():
            hidden = self._normed(x[learnt])
        rows, cap = self._weights.head_rows(), self._net.logit_cap
        found = head_loss(hidden, targets[learnt], rows, with_gradient, cap)
        del hidden
        if found.gradient is not None:
            self._through_norm(x, learnt, found.gradient.div_(len(learnt)))
        return HeadLoss(found.nll, None)

    def _through_norm(self, x: Tensor, learnt: Tensor, grad: Tensor) -> None:
        """In place, some tokens at a time: x becomes the gradient with respect to x."""
        for places, part in zip(
            torch.split(learnt, NORM_TOKENS), torch.split(grad, NORM_TOKENS), strict=True
        ):
            rows = x[places].requires_grad_()
            part.copy_(torch.autograd.grad(self._normed(rows), rows, part)[0])
        x.zero_()
        x[learnt] = grad

    def _normed(self, x: Tensor) -> Tensor:
        return self._net.normed(x, self._weights)

    def _backward(self, grad: Tensor, batch: Sequence[MicroBatch]) -> None:
        """Down to the lowest adapted block; micro-batches last to first, as autograd would take them."""
        operands = replace(self._operands, value_unused=True)
        for number in range(len(self._net.blocks) - 1, self._lowest - 1, -1):
            self._check()
            block, x = self._net.blocks[number], self._boundaries.take(number)
            with self._weights.visit(self._pieces.visits[number]):
                for span in reversed(spans(block, batch)):
                    part = x[span.first : span.last].detach().requires_grad_()
                    y = block.forward(part, span.documents, operands)
                    torch.autograd.backward(y, grad[span.first : span.last])
                    assert part.grad is not None, "every block passes the stream on"
                    grad[span.first : span.last] = part.grad


def spans(block: Block, batch: Sequence[MicroBatch]) -> list[Span]:
    """Each micro-batch by itself, or all together where the block wants them so."""
    found, first = [], 0
    for micro in batch:
        found.append(Span(first, first + len(micro.tokens), micro.documents))
        first = found[-1].last
    if not block.joined:
        return found
    return [Span(0, first, tuple(length for span in found for length in span.documents))]


def lowest_adapted(blocks: Sequence[Block], adapter: Adapter) -> int:
    """The first block with a tensor that is adapted: below it no gradient is needed."""
    adapted = adapter.factors.keys()
    return next(n for n, block in enumerate(blocks) if adapted & {*block.dense, *block.routed})


def _summed(found: HeadLoss) -> Loss:
    return Loss(float(found.nll.double().sum()), len(found.nll))


def _by_document(found: HeadLoss, batch: Sequence[MicroBatch]) -> tuple[tuple[float, int], ...]:
    learnt = (np.split(micro.targets >= 0, np.cumsum(micro.documents)[:-1]) for micro in batch)
    counts = [int(marks.sum()) for documents in learnt for marks in documents]
    parts = torch.split(found.nll.double(), counts)
    return tuple((float(part.sum()), count) for part, count in zip(parts, counts, strict=True))
