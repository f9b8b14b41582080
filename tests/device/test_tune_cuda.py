"""Tuning on a GPU gives the CPU's losses and gradients, within --vram."""

import json
from pathlib import Path

import pytest
import torch

from sixgig.finetune import session
from sixgig.finetune.adapter import Adapter
from sixgig.finetune.session import Setup, open_stepper
from tests.tune import test_step as cpu
from tests.tune.tune_command import data, start

pytestmark = [
    pytest.mark.device,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no CUDA device here"),
]
VRAM_BYTES = 2 << 30
__all__ = ["data"]


def _on_gpu(adapter: Adapter) -> Adapter:
    moved = Adapter(adapter.targets, adapter.rank, adapter.alpha, 0, "cuda")
    moved.load(adapter.tensors().items())
    return moved


@pytest.mark.parametrize("family", cpu.FAMILIES)
@pytest.mark.parametrize("type_name", ["F32", "Q4_K"])
def test_gradients_are_the_processors(
    family: str, type_name: str, tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "product_type", lambda device: torch.float32)
    net = cpu._net(tiny, family, type_name)
    batch, plan = cpu._batch(net), cpu._plan(net, stays=False, n_on_disk=2)
    loss, wanted = cpu._streamed(net, batch, plan, tmp_path)
    adapter = _on_gpu(cpu._adapter(net))
    setup = Setup(adapter.targets, 4, 8.0, 0, threads=2, vram_bytes=VRAM_BYTES)
    torch.cuda.reset_peak_memory_stats()
    with open_stepper(net, adapter, plan, setup, tmp_path) as (stepper, _):
        assert stepper.gradients(batch).mean == pytest.approx(loss, rel=1e-4)
    assert torch.cuda.max_memory_allocated() <= VRAM_BYTES
    for parameter, expected in zip(adapter.parameters, wanted, strict=True):
        torch.testing.assert_close(parameter.grad.cpu(), expected, rtol=1e-2, atol=1e-4)


def test_main_memory_holds_the_driver_too_and_stays_as_predicted(data: Path, tmp_path: Path) -> None:
    process = start(data, tmp_path / "out", "--vram", str(VRAM_BYTES), "--steps", "2", "--json")
    told, said = process.communicate(timeout=300)
    assert process.returncode == 0, said.decode()
    found = json.loads(told)
    assert found["peak_memory_bytes"] <= found["predicted_peak_memory_bytes"]
