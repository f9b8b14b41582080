"""On a trained Qwen3.5-MoE: logits and gradients are those of transformers and its autograd."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from sixgig.finetune.net import build_net
from sixgig.finetune.operands import Operands
from sixgig.modelfile import open_model
from tests.tune.resident import ResidentWeights, forward_logits
from tests.tune.variants import random_factors, through

TOKENS = torch.tensor([3 + i * i * 7 % 4001 for i in range(100)])
SCALE = 0.5
ATTENTION = {"attn_q": "q_proj", "attn_k": "k_proj", "attn_v": "v_proj", "attn_output": "o_proj"}
SHARED = {"ffn_gate_shexp": "gate_proj", "ffn_up_shexp": "up_proj", "ffn_down_shexp": "down_proj"}
EXPERTS = {
    "ffn_gate_exps": ("gate_up_proj", slice(0, 256)),
    "ffn_up_exps": ("gate_up_proj", slice(256, 512)),
    "ffn_down_exps": ("down_proj", slice(0, 256)),
}


@pytest.fixture
def trained(shared_model: Path) -> Iterator[torch.nn.Module]:
    transformers = pytest.importorskip("transformers")
    yield transformers.AutoModelForCausalLM.from_pretrained(shared_model.parent, dtype=torch.float32).eval()


def theirs(model: torch.nn.Module, layer: int) -> dict[str, torch.Tensor]:
    """Their parameters by our names; of stacks of gate and up, views of what they keep in one."""
    part = model.model.layers[layer]
    found = {f"{ours}.weight": getattr(part.self_attn, name).weight for ours, name in ATTENTION.items()}
    found |= {f"{ours}.weight": getattr(part.mlp.shared_expert, n).weight for ours, n in SHARED.items()}
    return {f"blk.{layer}.{name}": weight for name, weight in found.items()}


def test_logits(trained: torch.nn.Module, shared_model: Path) -> None:
    model = open_model(shared_model)
    with torch.no_grad():
        found = forward_logits(build_net(model), Operands(ResidentWeights(model)), TOKENS, [len(TOKENS)])
        torch.testing.assert_close(found, trained(TOKENS[None]).logits[0], rtol=0, atol=5e-5)


def test_gradients_of_the_stream_and_of_every_factor(trained: torch.nn.Module, shared_model: Path) -> None:
    """A pair's gradients follow from that of the whole matrix, B A included, which autograd gives them."""
    layer, model = 3, open_model(shared_model)
    weights, net = ResidentWeights(model), build_net(model)
    names = [f"blk.{layer}.{name}.weight" for name in (*ATTENTION, *SHARED, *EXPERTS)]
    factors = random_factors(shared_model, names)
    coefficients = torch.randn(len(TOKENS), model.n_vocab, generator=torch.Generator().manual_seed(1))

    x = weights.matrix(net.embedding)[TOKENS].requires_grad_()
    ours = through(net, Operands(weights, factors, SCALE), x, [len(TOKENS)])
    ours.backward(coefficients)

    dense, experts = theirs(trained, layer), trained.model.layers[layer].mlp.experts
    with torch.no_grad():
        for name, weight in dense.items():
            a, b = factors[name]
            weight += SCALE * b @ a
        for name, (stack, rows) in EXPERTS.items():
            a, b = factors[f"blk.{layer}.{name}.weight"]
            getattr(experts, stack)[:, rows] += SCALE * b @ a
    embeds = weights.matrix(net.embedding)[TOKENS].requires_grad_()
    expected = trained(inputs_embeds=embeds[None]).logits[0]
    expected.backward(coefficients)

    torch.testing.assert_close(ours, expected, rtol=0, atol=5e-5)
    assert difference(x.grad, embeds.grad) < 1e-5
    gradients = {name: weight.grad for name, weight in dense.items()}
    for name, (stack, rows) in EXPERTS.items():
        gradients[f"blk.{layer}.{name}.weight"] = getattr(experts, stack).grad[:, rows]
    for name, gradient in gradients.items():
        a, b = factors[name]
        assert difference(a.grad, SCALE * b.detach().mT @ gradient) < 1e-5, name
        assert difference(b.grad, SCALE * gradient @ a.detach().mT) < 1e-5, name


def difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    """In norm, relative."""
    return float((found - expected).norm() / expected.norm())
