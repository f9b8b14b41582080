"""The recipe of the mixture that speaks: equal to the dense model at first, routed evenly, trained, paged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.mixture.__main__ import main
from bench.mixture.figures import apart, logits_of
from bench.mixture.routers import first_routers, hear
from bench.mixture.train import routers, split
from bench.mixture.upcycle import upcycle
from bench.verify_routing import of_layer
from sixgig.errors import UsageError
from sixgig.modelfile import dequantise, open_model, read_tensor
from sixgig.modelfile.lora import Lora
from sixgig.pager.trace import Shape, Trace, Visit

Tiny = Callable[..., Path]
N_EXPERTS, N_USED, N_EMBD, N_LAYERS = 8, 2, 256, 2
TOKENS = [3 + i * i * 7 % 251 for i in range(60)]


def random_routers(size: float) -> list[np.ndarray]:
    random = np.random.default_rng(1)
    return [(size * random.standard_normal((N_EXPERTS, N_EMBD))).astype(np.float32) for _ in range(N_LAYERS)]


@pytest.mark.parametrize(("size", "difference"), [(0.0, 0.0), (1.0, 1e-4)])
def test_at_first_the_logits_are_the_dense_models(
    size: float, difference: float, tiny: Tiny, tmp_path: Path
) -> None:
    """To the bit where both gates are 1/2, to rounding with any other router."""
    dense = open_model(tiny("llama", "Q8_0", n_layers=N_LAYERS))
    mixture = open_model(upcycle(dense, random_routers(size), N_USED, tmp_path / "mixture.gguf"))
    assert (mixture.n_experts, mixture.n_experts_used) == (N_EXPERTS, N_USED)
    found = apart(logits_of(dense, TOKENS, 1), logits_of(mixture, TOKENS, 1))
    assert found["largest_difference"] <= difference * found["deviation"]
    assert {path.name for path in tmp_path.iterdir()} == {"mixture.gguf"}


def test_each_expert_has_the_dense_models_bytes_and_all_else_is_as_it_was(tiny: Tiny, tmp_path: Path) -> None:
    dense = open_model(tiny("llama", "Q4_0", n_layers=N_LAYERS))
    given = random_routers(1.0)
    mixture = open_model(upcycle(dense, given, N_USED, tmp_path / "mixture.gguf"))
    found = {tensor.name: (tensor, read_tensor(mixture, tensor)) for tensor in mixture.tensors}
    for layer, router in enumerate(given):
        tensor, raw = found.pop(f"blk.{layer}.ffn_gate_inp.weight")
        assert np.array_equal(dequantise(raw, tensor), router)
    for tensor in dense.tensors:
        name = tensor.name.replace(".weight", "_exps.weight") if "ffn_gate" in tensor.name else tensor.name
        name = name.replace("ffn_up.", "ffn_up_exps.").replace("ffn_down.", "ffn_down_exps.")
        _, raw = found.pop(name)
        expected = read_tensor(dense, tensor)
        assert np.array_equal(raw, np.tile(expected, N_EXPERTS) if "_exps" in name else expected)
    assert not found


def test_what_is_no_dense_llama_or_has_other_layers_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    out = tmp_path / "mixture.gguf"
    for other in ("mixtral", "qwen3"):
        with pytest.raises(UsageError, match="cannot be copied into experts; "):
            upcycle(open_model(tiny(other, "Q8_0")), random_routers(1.0), N_USED, out)
    dense = open_model(tiny("llama", "Q8_0", n_layers=N_LAYERS))
    with pytest.raises(UsageError, match="routers do not fit"):
        upcycle(dense, random_routers(1.0)[:1], N_USED, out)
    assert not out.exists()


def test_first_routers_use_all_experts_by_the_token_and_are_drawn_by_the_seed(
    tiny: Tiny, tmp_path: Path
) -> None:
    dense = open_model(tiny("llama", "Q8_0", n_layers=N_LAYERS))
    one, again, other = (first_routers(dense, TOKENS, N_EXPERTS, seed, 1) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    heard = hear(open_model(upcycle(dense, one, N_USED, tmp_path / "mixture.gguf")), TOKENS, 1)
    for layer, router in enumerate(one):
        logits = np.stack(heard.inputs[layer]) @ router.T
        assert np.abs(logits.mean(0)).max() < 0.1 and np.abs(logits.std(0) - 1).max() < 0.1
        chosen = np.stack(heard.chosen[layer])
        assert chosen.shape == (len(TOKENS), N_USED)
        assert np.array_equal(np.sort(chosen), np.sort(np.argsort(-logits)[:, :N_USED]))
        assert np.bincount(chosen.flatten(), minlength=N_EXPERTS).min() > 0


def test_shares_entropy_and_reuse_of_a_trace_made_by_hand() -> None:
    uses = [(0, 1), (1, 2), (1, 2), (3, 0)]
    trace = Trace(Shape(4, (8, 8)), tuple(Visit(at, 1, 1, experts) for at, experts in enumerate(uses)))
    found = of_layer(trace, 1)
    assert found["shares"] == [0.25, 0.375, 0.25, 0.125]
    assert found["reused"] == pytest.approx((0.5 + 1 + 0) / 3)
    shares = np.array(found["shares"])
    assert found["entropy"] == pytest.approx(-(shares * np.log(shares)).sum() / np.log(4))


def test_a_trained_adapter_is_split_into_routers_and_experts(tiny: Tiny) -> None:
    model = open_model(tiny("mixtral", "F32", n_layers=2, n_experts=4))
    random = np.random.default_rng(1)
    pairs = {
        target.name: (
            random.standard_normal((3, target.shape[0])).astype(np.float32),
            random.standard_normal((target.shape[1], 3)).astype(np.float32),
        )
        for target in routers(model)
    }
    expert = {"blk.0.ffn_up_exps.weight": (np.zeros((4, 3, 256), np.float32),) * 2}
    before = [np.ones((4, model.n_embd), np.float32) for _ in pairs]
    rest, after = split(Lora("llama", 6.0, pairs | expert), before, model)
    assert rest.pairs.keys() == expert.keys() and rest.alpha == 6.0
    for (a, b), router in zip(pairs.values(), after, strict=True):
        np.testing.assert_allclose(router, 1 + 2.0 * b @ a, rtol=1e-5, atol=1e-5)


def test_the_whole_recipe_learns_routes_and_pages_to_the_same_bits(
    tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dense = tiny("llama", "Q8_0", n_layers=N_LAYERS)
    text = tmp_path / "text.txt"
    text.write_text("The quick brown fox jumps over the lazy dog. " * 600)
    out = tmp_path / "mixture.gguf"
    command = [str(out), "--dense", str(dense), "--text", str(text), "--steps", "3", "--tokens", "160"]
    assert main([*command, "--threads", "1", "--ram", "3G", "--rate", "3e-3"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["start"]["perplexity"] == pytest.approx(found["start"]["dense"]["perplexity"], rel=1e-4)
    assert found["trained"]["perplexity"] < found["start"]["perplexity"]
    assert [each["share"] for each in found["paging"]] == [0.25, 0.5]
    assert all(each["same_bits"] and each["decode"]["misses"] for each in found["paging"])
    assert found["paging"][0]["decode"]["hit_rate"] < found["paging"][1]["decode"]["hit_rate"]
    layers = found["trained"]["routing"]["layers"]
    assert [sum(each["shares"]) for each in layers] == pytest.approx([1] * N_LAYERS, abs=1e-3)
    assert {path.name for path in tmp_path.iterdir()} == {"text.txt", "mixture.gguf"}
