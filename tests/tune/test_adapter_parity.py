"""What was tuned in torch is what llama.cpp runs, paged and unpaged, with the adapter file."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.mixture.train import routers
from sixgig.finetune.adapter import Adapter, targets
from sixgig.finetune.choices import Part
from sixgig.finetune.net import build_net
from sixgig.finetune.operands import Operands
from sixgig.inference.load import open_engine
from sixgig.inference.request import PagingOptions
from sixgig.modelfile import open_model
from sixgig.modelfile.lora import write_lora
from tests.tiny.dense import DENSE
from tests.tune.resident import ResidentWeights, forward_logits
from tests.tune.variants import EXACT, PROMPT, fused, relative

TOLERANCE, EFFECT = 3e-6, 3e-2  # of the largest logit
HALF = 5e-4  # of Gemma: the engine takes GELU from a table in float16
CASES = [
    ("llama", Part.ATTENTION),
    ("llama", Part.DENSE),
    ("qwen3", Part.ATTENTION),
    ("qwen2", Part.ATTENTION),
    ("gemma3", Part.ATTENTION),
    ("gemma3", Part.DENSE),
    ("mistral3", Part.ATTENTION),
    ("phi3", Part.ATTENTION),  # queries, keys and values in one matrix
    ("phi3", Part.DENSE),  # gate and up in one
    ("mixtral", Part.EXPERTS),
    ("mixtral", "routers"),  # as bench.mixture trains them
    ("qwen35moe", "routers"),
    ("qwen3moe", Part.EXPERTS),
    ("qwen35moe", Part.ATTENTION),  # DeltaNet's projections with it
    ("qwen35moe", Part.SHARED),
    ("qwen35moe", Part.EXPERTS),
]


def _adapter(path: Path, part: Part | str) -> Adapter:
    """As if it had been tuned for long."""
    model = open_model(path)
    adapted = targets(model, [part]) if isinstance(part, Part) else routers(model)
    adapter = Adapter(adapted, 4, 8.0, seed=1)
    generator = torch.Generator().manual_seed(2)
    for _, b in adapter.factors.values():
        b.data.normal_(0, 0.2 * b.shape[-2] ** -0.5, generator=generator)
    return adapter


def _torch_logits(path: Path, adapter: Adapter | None) -> np.ndarray:
    model = open_model(path)
    factors, scale = ({}, 1.0) if adapter is None else (adapter.factors, adapter.scale)
    with torch.no_grad():
        operands = Operands(ResidentWeights(model), factors, scale)
        net = build_net(model, EXACT.context)
        return forward_logits(net, operands, torch.tensor(PROMPT), [len(PROMPT)]).numpy()


@pytest.mark.parametrize(("family", "part"), CASES)
def test_llama_cpp_with_the_written_adapter_gives_torchs_logits(
    family: str, part: Part | str, tiny, tmp_path: Path
) -> None:
    path = tiny(family, "F32", n_layers=4 if family == "qwen35moe" else 2)
    _check(path, family, part, tmp_path)


@pytest.mark.parametrize(("family", "part"), [("llama", Part.ATTENTION), ("qwen35moe", Part.EXPERTS)])
def test_matrices_that_a_file_keeps_in_one_are_adapted_as_one(
    family: str, part: Part, tiny, tmp_path: Path
) -> None:
    path = fused(tiny(family, "F32", n_layers=4), tmp_path / "fused.gguf")
    _check(path, family, part, tmp_path)


def _check(path: Path, family: str, part: Part | str, tmp_path: Path) -> None:
    adapter = _adapter(path, part)
    wanted, plain = _torch_logits(path, adapter), _torch_logits(path, None)
    assert relative(wanted, plain) > EFFECT
    write_lora(tmp_path / "adapter.gguf", adapter.to_lora(open_model(path).architecture), "tuned")
    for paging in [None] if family in DENSE else [None, PagingOptions(always=True)]:
        with open_engine(path, 4 << 30, replace(EXACT), paging, adapter=tmp_path / "adapter.gguf") as engine:
            found = np.array(engine.all_logits(PROMPT))
        assert relative(found, wanted) < (HALF if family == "gemma3" else TOLERANCE)
