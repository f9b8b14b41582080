"""Converted checkpoints: the torch forward pass gives transformers' logits, which know nothing of the engine."""

from pathlib import Path

import numpy as np
import pytest
import torch

from bench import convert_peer
from sixgig.checkpoint import convert
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
    "llama-longrope",
    "llama-longrope-short",
    "llama-yarn",
    "llama3",
    "mistral3",
    "phi3",
    "phi3-longrope",
    "phi3-longrope-short",
    "qwen2-yarn",
)


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
