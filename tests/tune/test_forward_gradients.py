"""Gradients of the blocks: finite differences, and weights whose memory is handed out again."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from bench.mixture.train import routers
from sixgig.finetune import experts
from sixgig.finetune.adapter import targets
from sixgig.finetune.choices import Part
from sixgig.finetune.mixture import Mixture
from sixgig.finetune.net import Net, build_net
from sixgig.finetune.operands import ExpertGroup, Factors, Operands
from sixgig.modelfile import open_model
from tests.tune.resident import ResidentWeights
from tests.tune.variants import ARCHITECTURES, random_factors, through

Tiny = Callable[..., Path]
DOCUMENTS = (9, 1, 6)
SCALE = 0.5


class Recycled:
    """operands.Weights as a stream gives them: one buffer for all matrices, a group gone after its turn."""

    def __init__(self, whole: ResidentWeights) -> None:
        self._whole = whole
        self._buffer = torch.empty(1 << 18, dtype=whole.matrix("token_embd.weight").dtype)
        self.n_passes = 0

    def __contains__(self, name: str) -> bool:
        return name in self._whole

    def matrix(self, name: str) -> torch.Tensor:
        return self.lend(self._whole.matrix(name))

    def vector(self, name: str) -> torch.Tensor:
        return self._whole.vector(name)

    def lend(self, matrix: torch.Tensor) -> torch.Tensor:
        self._buffer.fill_(torch.nan)
        # .data, or autograd would tell of the reuse that a stream does behind its back.
        return self._buffer.data[: matrix.numel()].view(matrix.shape).copy_(matrix)

    def expert_groups(self, layer: int) -> Iterator[ExpertGroup]:
        self.n_passes += 1
        for group in self._whole.expert_groups(layer):
            lent = _Lent(group, self)
            yield lent
            lent.here = False


class _Lent:
    def __init__(self, group: ExpertGroup, owner: Recycled) -> None:
        self.first, self.last, self._group, self._owner = group.first, group.last, group, owner
        self.here = True

    def matrix(self, name: str, expert: int) -> torch.Tensor:
        assert self.here, "the group is gone"
        return self._owner.lend(self._group.matrix(name, expert))


def random_stream(n_embd: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(sum(DOCUMENTS), n_embd, generator=torch.Generator().manual_seed(7), dtype=dtype)


def all_factors(path: Path, dtype: torch.dtype = torch.float32) -> dict[str, Factors]:
    """Routers' too, which only bench.mixture trains."""
    model = open_model(path)
    adapted = (*targets(model, list(Part)), *routers(model))
    return random_factors(path, [target.name for target in adapted], 2, dtype)


def gradients(net: Net, operands: Operands, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    """Of a random sum of logits: of the stream, then of all factors in order."""
    x = random_stream(net.model.n_embd, dtype).requires_grad_()
    logits = through(net, operands, x, DOCUMENTS)
    coefficients = torch.randn(logits.shape, generator=torch.Generator().manual_seed(8), dtype=dtype)
    inputs = [x, *(factor for pair in operands.factors.values() for factor in pair)]
    return list(torch.autograd.grad(logits, inputs, coefficients))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_blocks_have_the_gradients_of_finite_differences(tiny: Tiny, architecture: str) -> None:
    """Of the stream (through norms, RoPE, attention, router, gates) and of every pair, experts' included."""
    path = tiny(architecture, "F32")
    model, factors = open_model(path), all_factors(path, torch.float64)
    net, weights = build_net(model), ResidentWeights(model, torch.float64)
    for block in (*net.blocks[:1], *net.blocks[-2:]):
        names = [name for name in (*block.dense, *block.routed) if name in factors]

        def forward(x: torch.Tensor, *flat: torch.Tensor, block=block, names=names) -> torch.Tensor:
            pairs = dict(zip(names, zip(flat[::2], flat[1::2], strict=True), strict=True))
            return block.forward(x, DOCUMENTS, Operands(weights, pairs, SCALE))

        x = random_stream(model.n_embd, torch.float64).requires_grad_()
        inputs = (x, *(factor for name in names for factor in factors[name]))
        assert len(names) >= 2
        torch.autograd.gradcheck(forward, inputs, fast_mode=True)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_no_gradient_needs_memory_that_was_handed_out_again(tiny: Tiny, architecture: str) -> None:
    """The same bits as with weights that stay; experts pass by once forward and once backward."""
    path = tiny(architecture, "Q8_0")
    model, whole = open_model(path), ResidentWeights(open_model(path), group_size=3)
    net, factors, recycled = build_net(model), all_factors(path), Recycled(whole)
    expected = gradients(net, Operands(whole, factors, SCALE))
    found = gradients(net, Operands(recycled, factors, SCALE))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True))
    assert recycled.n_passes == 2 * sum(isinstance(block, Mixture) for block in net.blocks)


def test_experts_in_several_runs_of_rows_sum_to_the_same(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """And large matrices, which are not held, give the same bits."""
    path = tiny("qwen3moe", "F32", n_layers=1)
    net, factors = build_net(open_model(path)), all_factors(path, torch.float64)
    operands = Operands(Recycled(ResidentWeights(net.model, torch.float64)), factors, SCALE)
    expected = gradients(net, operands, torch.float64)
    monkeypatch.setattr(experts, "HELD_ELEMENTS", 0)
    found = gradients(net, operands, torch.float64)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True))
    monkeypatch.setattr(experts, "MOST_ROWS", 2)
    torch.testing.assert_close(gradients(net, operands, torch.float64), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("architecture", ["mixtral", "qwen35moe"])
def test_a_value_that_is_not_used_costs_no_reading(tiny: Tiny, architecture: str) -> None:
    """Forward the experts are left out and not read; backward nothing differs by a bit."""
    path = tiny(architecture, "F32", n_layers=4)
    net, factors = build_net(open_model(path)), all_factors(path)
    recycled = Recycled(ResidentWeights(net.model))
    block = net.blocks[-1]
    assert block.joined

    def run(value_unused: bool) -> tuple[torch.Tensor, ...]:
        operands = Operands(recycled, factors, SCALE, value_unused)
        x = random_stream(net.model.n_embd, torch.float32).requires_grad_()
        y = block.forward(x, DOCUMENTS, operands)
        n_forward = recycled.n_passes
        inputs = [x, *(factor for name in block.routed for factor in factors[name])]
        found = torch.autograd.grad(y, inputs, torch.ones_like(y))
        assert (n_forward, recycled.n_passes) == ((0, 1) if value_unused else (1, 2))
        recycled.n_passes = 0
        return found

    assert all(torch.equal(lean, full) for lean, full in zip(run(True), run(False), strict=True))


def test_only_mixtures_take_all_micro_batches_together(tiny: Tiny) -> None:
    net = build_net(open_model(tiny("qwen35moe", "F32")))
    assert [block.joined for block in net.blocks] == [False, True] * 4
