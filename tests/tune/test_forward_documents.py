"""Documents that are packed together do not see one another."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sixgig.finetune.net import build_net
from sixgig.finetune.operands import Operands
from sixgig.modelfile import open_model
from tests.tune.resident import ResidentWeights, forward_logits
from tests.tune.variants import ARCHITECTURES

Tiny = Callable[..., Path]
DOCUMENTS = (70, 1, 25)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_packed_documents_have_the_logits_of_each_alone(tiny: Tiny, architecture: str) -> None:
    model = open_model(tiny(architecture, "F32"))
    net, operands = build_net(model), Operands(ResidentWeights(model, torch.float64))
    tokens = torch.randint(model.n_vocab, (sum(DOCUMENTS),), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        packed = forward_logits(net, operands, tokens, DOCUMENTS)
        alone = [forward_logits(net, operands, part, [len(part)]) for part in tokens.split(DOCUMENTS)]
        merged = forward_logits(net, operands, tokens, [len(tokens)])
    torch.testing.assert_close(packed, torch.cat(alone), rtol=0, atol=1e-10)
    assert (packed - merged)[DOCUMENTS[0] :].abs().max() > 0.01, "the test would see a leak"
