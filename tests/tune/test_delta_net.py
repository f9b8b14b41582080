"""Gated DeltaNet: the rule over chunks against the rule token by token, the mixer against transformers'."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st
from torch import Tensor
from transformers import Qwen3_5MoeTextConfig
from transformers.models.qwen3_5_moe import modeling_qwen3_5_moe as oracle

from sixgig.families.terms import delta_net as layout
from sixgig.families.terms.config import Config
from sixgig.finetune.delta_net import delta_net_tensors, gated_delta_net, gated_delta_rule
from sixgig.finetune.operands import Operands
from sixgig.modelfile import Recurrent, open_model

EPSILON = 1e-6
SHAPE = Recurrent(conv_kernel=4, state_size=8, group_count=2, time_step_rank=6, inner_size=6 * 5)
WIDTH = 12


class Given:
    """operands.Weights from a dictionary."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.tensors, self.asked = tensors, set[str]()

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def matrix(self, name: str) -> Tensor:
        self.asked.add(name)
        return self.tensors[name]

    vector = matrix


def random_weights(shape: Recurrent, width: int, seed: int = 0, dtype=torch.float64) -> dict[str, Tensor]:
    """Of layer 3, so large that every part of the mixer matters."""
    generator = torch.Generator().manual_seed(seed)
    key_rows, inner, n_values = shape.state_size * shape.group_count, shape.inner_size, shape.time_step_rank
    sizes = {
        "attn_qkv.weight": (2 * key_rows + inner, width),
        "attn_gate.weight": (inner, width),
        "ssm_beta.weight": (n_values, width),
        "ssm_alpha.weight": (n_values, width),
        "ssm_conv1d.weight": (2 * key_rows + inner, shape.conv_kernel),
        "ssm_dt.bias": (n_values,),
        "ssm_norm.weight": (inner // n_values,),
        "ssm_out.weight": (width, inner),
    }
    made = {
        f"blk.3.{name}": torch.randn(size, generator=generator, dtype=dtype) / size[-1] ** 0.5
        for name, size in sizes.items()
    }
    made["blk.3.ssm_a"] = -torch.rand(n_values, generator=generator, dtype=dtype) * 2
    return made


def mixer(x: Tensor, documents: list[int], operands: Operands, shape: Recurrent = SHAPE) -> Tensor:
    return gated_delta_net(x, 3, shape, documents, operands, EPSILON)


def draw(n_tokens: int, seed: int, dtype=torch.float64) -> list[Tensor]:
    """What goes into the rule: 2 key heads of width 8, 3 value heads for each, of width 5."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*size: int) -> Tensor:
        return torch.randn(size, generator=generator, dtype=torch.float64)

    queries, keys = normal(2, n_tokens, 8), normal(2, n_tokens, 8)
    made = [
        queries / queries.norm(dim=-1, keepdim=True) / 8**0.5,
        keys / keys.norm(dim=-1, keepdim=True),
        normal(3, 2, n_tokens, 5),
        -torch.nn.functional.softplus(normal(3, 2, n_tokens)),
        torch.sigmoid(normal(3, 2, n_tokens)),
    ]
    return [x.to(dtype) for x in made]


def recurrent_delta_rule(queries, keys, values, decay, beta) -> Tensor:
    """The slow twin: the state after every token."""
    state = values.new_zeros(*values.shape[:2], keys.shape[-1], values.shape[-1])
    outputs = []
    for t in range(keys.shape[1]):
        state = state * decay[:, :, t].exp()[..., None, None]
        remembered = torch.einsum("kd,rkdv->rkv", keys[:, t], state)
        written = beta[:, :, t, None] * (values[:, :, t] - remembered)
        state = state + torch.einsum("kd,rkv->rkdv", keys[:, t], written)
        outputs.append(torch.einsum("kd,rkdv->rkv", queries[:, t], state))
    return torch.stack(outputs, dim=2)


@limits(max_examples=25)
@given(n_tokens=st.integers(1, 200), seed=st.integers(0, 10**6))
def test_rule_over_chunks_is_the_rule_token_by_token(n_tokens: int, seed: int) -> None:
    given_ = draw(n_tokens, seed)
    torch.testing.assert_close(
        gated_delta_rule(*given_), recurrent_delta_rule(*given_), rtol=1e-11, atol=1e-12
    )


def test_gradients_of_the_rule_are_those_token_by_token() -> None:
    given_ = [x.requires_grad_() for x in draw(150, seed=1)]
    wanted = torch.randn(3, 2, 150, 5, dtype=torch.float64)
    ours = torch.autograd.grad((gated_delta_rule(*given_) * wanted).sum(), given_)
    theirs = torch.autograd.grad((recurrent_delta_rule(*given_) * wanted).sum(), given_)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("reset", [0.0, -60.0, -3000.0], ids=["mild", "strong", "beyond exp"])
def test_float32_is_accurate_even_where_the_state_is_wiped(reset: float) -> None:
    """Every fifth token forgets everything; the gradient stays finite, the error at rounding's level."""
    exact = draw(130, seed=2)
    exact[3][:, :, ::5] += reset
    exact = [x.float().double() for x in exact]
    ours = [x.float().requires_grad_() for x in exact]
    outputs = gated_delta_rule(*ours)
    torch.testing.assert_close(outputs.double(), recurrent_delta_rule(*exact), rtol=0, atol=3e-6)
    gradients = torch.autograd.grad(outputs.sum(), ours)
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("n_tokens", [1, 64, 147])
def test_rule_is_transformers_rule(n_tokens: int) -> None:
    """Which repeats key heads next to each other: given them once for each value head, in our order."""
    queries, keys, values, decay, beta = draw(n_tokens, seed=3, dtype=torch.float32)
    theirs, _ = oracle.torch_chunk_gated_delta_rule(
        *(
            rows.repeat(3, 1, 1).transpose(0, 1)[None] * scale
            for rows, scale in ((queries, 8**0.5), (keys, 1))
        ),
        values.flatten(0, 1).transpose(0, 1)[None],
        g=decay.flatten(0, 1).T[None],
        beta=beta.flatten(0, 1).T[None],
    )
    ours = gated_delta_rule(queries, keys, values, decay, beta).flatten(0, 1).transpose(0, 1)
    torch.testing.assert_close(ours, theirs[0], rtol=1e-5, atol=1e-6)


def transformers_mixer(settings: dict[str, object], width: int) -> oracle.Qwen3_5MoeGatedDeltaNet:
    """With random weights; a vocabulary and layers of no matter."""
    torch.manual_seed(4)
    config = Qwen3_5MoeTextConfig(hidden_size=width, rms_norm_eps=EPSILON, num_hidden_layers=4, **settings)
    module = oracle.Qwen3_5MoeGatedDeltaNet(config, layer_idx=0).float()
    with torch.no_grad():
        for parameter in (module.dt_bias, module.norm.weight):
            parameter.normal_()
    return module


def as_gguf(module: torch.nn.Module, settings: dict[str, object]) -> dict[str, Tensor]:
    """The module's weights as the converter lays them out."""
    config = Config(settings)
    transforms = {
        "in_proj_qkv.weight": ("attn_qkv.weight", layout.QUERY_KEY_VALUE_HEADS),
        "in_proj_z.weight": ("attn_gate.weight", layout.VALUE_HEADS),
        "in_proj_a.weight": ("ssm_alpha.weight", layout.VALUE_HEADS),
        "in_proj_b.weight": ("ssm_beta.weight", layout.VALUE_HEADS),
        "conv1d.weight": ("ssm_conv1d.weight", layout.CONVOLUTION),
        "out_proj.weight": ("ssm_out.weight", layout.VALUE_HEAD_COLUMNS),
        "A_log": ("ssm_a", layout.DECAY),
        "dt_bias": ("ssm_dt.bias", layout.VALUE_HEADS),
    }
    stored = {name: tensor.detach().numpy() for name, tensor in module.state_dict().items()}
    made = {"blk.3.ssm_norm.weight": torch.from_numpy(stored.pop("norm.weight"))}
    for name, values in stored.items():
        gguf_name, transform = transforms[name]
        made[f"blk.3.{gguf_name}"] = torch.from_numpy(np.ascontiguousarray(transform.apply(values, config)))
    return made


def test_mixer_is_transformers_mixer_in_value_and_gradient() -> None:
    settings = {
        "linear_num_key_heads": 4,
        "linear_num_value_heads": 12,
        "linear_key_head_dim": 16,
        "linear_value_head_dim": 24,
        "linear_conv_kernel_dim": 4,
    }
    module = transformers_mixer(settings, width=48)
    shape = Recurrent(conv_kernel=4, state_size=16, group_count=4, time_step_rank=12, inner_size=12 * 24)
    x = torch.randn(150, 48, requires_grad=True)
    wanted = torch.randn(150, 48)
    theirs = module(x[None])[0]
    ours = mixer(x, [150], Operands(Given(as_gguf(module, settings))), shape)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    gradients = [torch.autograd.grad((y * wanted).sum(), x)[0] for y in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


@limits(max_examples=15)
@given(st.lists(st.integers(1, 90), min_size=2, max_size=4), st.data())
def test_a_document_does_not_see_the_others(documents: list[int], data: st.DataObject) -> None:
    """Bit for bit; the lengths stay, so that the projections have the same shapes."""
    mine = data.draw(st.integers(0, len(documents) - 1))
    first = sum(documents[:mine])
    here = slice(first, first + documents[mine])
    operands = Operands(Given(random_weights(SHAPE, WIDTH, dtype=torch.float32)))
    x = torch.randn(sum(documents), WIDTH)
    other = torch.randn_like(x)
    other[here] = x[here]
    assert torch.equal(mixer(x, documents, operands)[here], mixer(other, documents, operands)[here])


def test_documents_together_are_documents_alone() -> None:
    operands = Operands(Given(random_weights(SHAPE, WIDTH)))
    documents = [1, 3, 64, 65, 20]
    x = torch.randn(sum(documents), WIDTH, dtype=torch.float64)
    alone = [mixer(part, [len(part)], operands) for part in x.split(documents)]
    torch.testing.assert_close(mixer(x, documents, operands), torch.cat(alone), rtol=1e-12, atol=1e-12)


def test_no_gradient_crosses_a_document_s_border() -> None:
    operands = Operands(Given(random_weights(SHAPE, WIDTH)))
    x = torch.randn(90, WIDTH, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(mixer(x, [20, 70], operands)[20:].sum(), x)
    assert not gradient[:20].any()
    assert gradient[20:].any(dim=1).all()


def test_gradients_of_input_and_factors_are_numerically_right() -> None:
    """Within one chunk; across chunks the gradient is compared with the slow twin's above."""
    shape = Recurrent(conv_kernel=3, state_size=3, group_count=1, time_step_rank=2, inner_size=4)
    weights = Given(random_weights(shape, 4))
    names = [name for name in delta_net_tensors(3) if weights.tensors[name].dim() == 2 and "conv" not in name]
    sizes = [weights.tensors[name].shape for name in names]
    factors = [
        torch.randn(size, dtype=torch.float64, requires_grad=True)
        for n_out, n_in in sizes
        for size in ((2, n_in), (n_out, 2))
    ]
    x = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)

    def run(x: Tensor, *factors: Tensor) -> Tensor:
        pairs = dict(zip(names, zip(factors[::2], factors[1::2], strict=True), strict=True))
        return mixer(x, [2, 4], Operands(weights, pairs, scale=0.5), shape)

    assert torch.autograd.gradcheck(run, (x, *factors), fast_mode=False)


def test_names_are_what_the_mixer_reads_and_what_a_file_has(tiny) -> None:
    weights = Given(random_weights(SHAPE, WIDTH))
    mixer(torch.randn(3, WIDTH, dtype=torch.float64), [3], Operands(weights))
    assert set(delta_net_tensors(3)) == weights.asked
    stored = {tensor.name for tensor in open_model(tiny("qwen35moe")).tensors}
    assert set(delta_net_tensors(2)) <= stored


def test_repeats_are_equal_bit_for_bit() -> None:
    operands = Operands(Given(random_weights(SHAPE, WIDTH, dtype=torch.float32)))
    x = torch.randn(100, WIDTH, requires_grad=True)
    gradients = [torch.autograd.grad(mixer(x, [100], operands).square().sum(), x)[0] for _ in range(2)]
    assert torch.equal(*gradients)


def test_frugal_chunks_have_the_same_bits() -> None:
    inputs = [x.requires_grad_() for x in draw(100, 7, torch.float32)]
    found = []
    for frugal in (True, False):
        y = gated_delta_rule(*inputs, frugal)
        found.append([y, *torch.autograd.grad(y.square().sum(), inputs)])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
