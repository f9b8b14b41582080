"""Converted checkpoints: the torch forward pass gives the logits of transformers."""

from pathlib import Path

import numpy as np
import pytest
import torch

from bench import convert_cases, convert_peer
from sixgig.checkpoint import convert
from sixgig.families import families, recipes
from sixgig.finetune.net import build_net
from sixgig.finetune.operands import Operands
from sixgig.modelfile import open_model
from tests.tune.resident import ResidentWeights, forward_logits
from tests.tune.variants import relative

pytest.importorskip("transformers")
NEAR = 1e-5  # of the largest logit; float32 sums in another order
CASES = (
    "gemma3",
    "gemma3-pattern",
    "gemma3-yarn",
    "granite",
    "granite-longrope",
    "granitemoe-llama3",
    "granitemoe-shared",
    "llama-longrope",
    "llama-longrope-short",
    "llama-yarn",
    "llama3",
    "mistral3",
    "phi3",
    "phi3-longrope",
    "phi3-longrope-short",
    "qwen2-yarn",
    "qwen2moe",
    "qwen35",
    "qwen3moe",
    "qwen3vlmoe",
    "seed_oss",
    "seed_oss-tied-yarn",
)


def test_a_case_of_every_family_that_can_be_tuned_is_among_them() -> None:
    """Qwen3 has its own (test_forward_parity), Qwen3.5-MoE a trained model (test_forward_transformers)."""
    named = {recipes()[convert_cases.CASES[name][0]].architecture for name in CASES}
    assert named | {"qwen3", "qwen35moe"} == {name for name, one in families().items() if one.tuning}


@pytest.mark.parametrize("name", CASES)
def test_a_converted_checkpoint_has_the_logits_of_transformers(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GELU whole, where the engine takes it from a table in float16."""
    monkeypatch.setattr(convert_peer, "_look_up_gelu", lambda model: None)
    convert_peer.make(name, tmp_path / "m")
    convert(tmp_path / "m", tmp_path / "m.gguf")
    expected, model = np.load(tmp_path / "m" / "expected.npz"), open_model(tmp_path / "m.gguf")
    tokens = torch.from_numpy(expected["tokens"])
    with torch.no_grad():
        net, operands = build_net(model, len(tokens)), Operands(ResidentWeights(model))
        found = forward_logits(net, operands, tokens, [len(tokens)]).numpy()
    assert relative(found, expected["logits"]) < NEAR
