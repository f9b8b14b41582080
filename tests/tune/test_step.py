"""Gradients of the streamed step: those of the model held whole, to the last bit, and those of calculus."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from sixgig.finetune.adapter import Adapter, targets
from sixgig.finetune.choices import Part
from sixgig.finetune.head import head_loss
from sixgig.finetune.net import Net, build_net
from sixgig.finetune.operands import Operands
from sixgig.finetune.packing import MicroBatch
from sixgig.finetune.session import Setup, open_stepper
from sixgig.finetune.step import spans
from sixgig.modelfile import open_model
from sixgig.planning import Budgets, anatomy
from sixgig.planning.pieces import pieces_of
from sixgig.planning.tuning import TuningPlan
from tests.tune.resident import ResidentWeights, forward_logits
from tests.tune.variants import ARCHITECTURES

LENGTHS = ((40, 7), (64,), (1, 30, 20))
TOKENS = sum(map(sum, LENGTHS))


def _net(tiny, family: str, type_name: str = "F32") -> Net:
    return build_net(open_model(tiny(family, type_name, n_layers=4 if family == "qwen35moe" else 2)))


def _adapter(net: Net, seed: int = 0) -> Adapter:
    """On every part there is, with a B that is not zero, so that A has a gradient."""
    parts = [part for part in Part if _has(net, part)]
    adapter = Adapter(targets(net.model, parts), 4, 8.0, seed)
    generator = torch.Generator().manual_seed(seed)
    for _, b in adapter.factors.values():
        b.data.normal_(0, 0.05, generator=generator)
    return adapter


def _has(net: Net, part: Part) -> bool:
    try:
        return bool(targets(net.model, [part]))
    except Exception:
        return False


def _batch(net: Net, seed: int = 0) -> list[MicroBatch]:
    random = np.random.default_rng(seed)
    return [
        MicroBatch(
            random.integers(0, net.model.n_vocab, sum(lengths)).astype(np.int32),
            random.random(sum(lengths)) < 0.7,
            lengths,
        )
        for lengths in LENGTHS
    ]


def _plan(net: Net, stays: bool, n_on_disk: int = 0, group_bytes: int = 1 << 15) -> TuningPlan:
    pieces = pieces_of(anatomy(net.model))
    room = max(visit.least_bytes for visit in pieces.visits) + max(p.held_bytes for p in pieces.head)
    kept = frozenset(pieces.forward()) if stays else frozenset()
    return TuningPlan(
        "unpaged", Budgets(1 << 40), (), room, kept, n_on_disk, 0, 4 * TOKENS * net.model.n_embd
    )


def _streamed(
    net: Net, batch: Sequence[MicroBatch], plan: TuningPlan, folder: Path
) -> tuple[float, list[Tensor]]:
    adapter = _adapter(net)
    setup = Setup(adapter.targets, 4, 8.0, 0, threads=2)
    with open_stepper(net, adapter, plan, setup, folder) as (stepper, reader):
        loss = stepper.gradients(batch)
        assert stepper.loss(batch).sum_nll == pytest.approx(loss.sum_nll, rel=1e-12)
        whole = sum(piece.size_bytes for piece in pieces_of(anatomy(net.model)).step())
        assert plan.stays or reader.counters.bytes_read <= 2 * whole
    return loss.mean, [parameter.grad for parameter in adapter.parameters]


def _blocks(net: Net, x: Tensor, batch: Sequence[MicroBatch], operands: Operands) -> Tensor:
    """The whole net under one graph."""
    for block in net.blocks:
        x = torch.cat(
            [block.forward(x[s.first : s.last], s.documents, operands) for s in spans(block, batch)]
        )
    return x


def _resident(net: Net, batch: Sequence[MicroBatch]) -> tuple[float, list[Tensor]]:
    """All weights held dequantised, one autograd graph, nothing computed twice."""
    adapter, weights = _adapter(net), ResidentWeights(net.model)
    tokens = torch.from_numpy(np.concatenate([m.tokens for m in batch])).long()
    wanted = torch.from_numpy(np.concatenate([m.targets for m in batch]))
    x = _blocks(
        net,
        weights.matrix(net.embedding)[tokens] * net.embedding_scale,
        batch,
        Operands(weights, adapter.factors, adapter.scale),
    )
    learnt = (wanted >= 0).nonzero().squeeze(1)
    hidden = net.normed(x[learnt], weights)
    head = weights.matrix(net.head)
    found = head_loss(hidden.detach(), wanted[learnt], [(0, head)], True, net.logit_cap)
    hidden.backward(found.gradient / len(learnt))
    return float(found.nll.double().sum()) / len(learnt), [parameter.grad for parameter in adapter.parameters]


@pytest.mark.parametrize("family", ARCHITECTURES)
@pytest.mark.parametrize("type_name", ["F32", "Q4_K"])
def test_streamed_gradients_equal_the_resident_models_to_the_last_bit(
    family: str, type_name: str, tiny, tmp_path: Path
) -> None:
    torch.set_num_threads(2)
    net = _net(tiny, family, type_name)
    batch = _batch(net)
    loss, wanted = _resident(net, batch)
    for plan in (_plan(net, stays=False), _plan(net, stays=True), _plan(net, False, n_on_disk=3)):
        streamed, found = _streamed(net, batch, plan, tmp_path)
        assert streamed == loss
        for gradient, expected in zip(found, wanted, strict=True):
            assert torch.equal(gradient, expected)
    assert all(gradient.abs().max() > 0 for gradient in wanted if gradient.dim() == 2)


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_gradients_equal_torchs_cross_entropy_over_whole_logits(family: str, tiny, tmp_path: Path) -> None:
    """Another way through: each document by itself, logits whole, torch's own loss."""
    net = _net(tiny, family)
    batch = _batch(net)
    adapter = _adapter(net)
    operands = Operands(ResidentWeights(net.model), adapter.factors, adapter.scale)
    total, n_learnt = torch.zeros(()), sum(int((m.targets >= 0).sum()) for m in batch)
    for micro in batch:
        first = 0
        for length in micro.documents:
            tokens = torch.from_numpy(micro.tokens[first : first + length]).long()
            logits = forward_logits(net, operands, tokens, [length])
            wanted = torch.from_numpy(micro.targets[first : first + length])
            total = total + cross_entropy(logits, wanted, ignore_index=-1, reduction="sum")
            first += length
    (total / n_learnt).backward()
    _, found = _streamed(net, batch, _plan(net, stays=False), tmp_path)
    for gradient, parameter in zip(found, adapter.parameters, strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=2e-3, atol=2e-6)


@pytest.mark.parametrize("family", ["llama", "qwen35moe"])
def test_gradients_are_the_slope_of_the_loss(family: str, tiny, tmp_path: Path) -> None:
    """Finite differences in float64, along a random direction of all factors together."""
    net = _net(tiny, family)
    batch = _batch(net)
    _, gradients = _streamed(net, batch, _plan(net, stays=False), tmp_path)
    generator = torch.Generator().manual_seed(3)
    adapter = _adapter(net)
    direction = [torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in adapter.parameters]
    slope = sum(float((d * g.double()).sum()) for d, g in zip(direction, gradients, strict=True))
    step = 1e-5
    losses = [_loss_at(net, batch, adapter, direction, sign * step) for sign in (1, -1)]
    assert (losses[0] - losses[1]) / (2 * step) == pytest.approx(slope, rel=2e-4)


def _loss_at(
    net: Net, batch: Sequence[MicroBatch], adapter: Adapter, direction: list[Tensor], way: float
) -> float:
    moved = iter([p.detach().double() + way * d for p, d in zip(adapter.parameters, direction, strict=True)])
    factors = {name: (next(moved), next(moved)) for name in adapter.factors}
    weights = ResidentWeights(net.model, torch.float64)
    operands = Operands(weights, factors, adapter.scale)
    tokens = torch.from_numpy(np.concatenate([m.tokens for m in batch])).long()
    wanted = torch.from_numpy(np.concatenate([m.targets for m in batch]))
    with torch.no_grad():
        documents = [length for m in batch for length in m.documents]
        logits = forward_logits(net, operands, tokens, documents)
        return float(cross_entropy(logits, wanted, ignore_index=-1))


def test_blocks_below_the_lowest_adapted_one_are_not_visited_again(tiny, tmp_path: Path) -> None:
    net = _net(tiny, "qwen3")
    wanted = [target for target in targets(net.model) if target.name.startswith("blk.1.")]
    adapter = Adapter(wanted, 4, 8.0, 0)
    setup = Setup(adapter.targets, 4, 8.0, 0, threads=2)
    pieces = pieces_of(anatomy(net.model))
    with ExitStack() as stack:
        stepper, reader = stack.enter_context(
            open_stepper(net, adapter, _plan(net, stays=False), setup, tmp_path)
        )
        stepper.gradients(_batch(net))
        forward = sum(piece.size_bytes for piece in pieces.forward())
        again = sum(visit.dense.size_bytes for visit in pieces.visits[2:])
        assert reader.counters.bytes_read == forward + again
