"""What the planner places on a GPU is said to the engine exactly; nothing paged is ever borrowed by a GPU."""

import ctypes
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sixgig.errors import BudgetError
from sixgig.hardware import Gpu
from sixgig.hardware.memory import ProcessMemory
from sixgig.inference import EngineOptions
from sixgig.inference.devices import engine_devices
from sixgig.inference.dry_load import Measured, engine_bytes
from sixgig.inference.load import open_engine
from sixgig.inference.loading import model_params, name_patterns
from sixgig.inference.memory import placed
from sixgig.inference.request import PagingOptions
from sixgig.llamacpp import BufferNeed, ContextParams, ModelTraits, load_library
from sixgig.modelfile import open_model
from sixgig.planning import GPU_CONTEXT_BYTES, Budgets, Needs, Placement, Refusal, fit
from sixgig.planning.needs import device_needs

GPU = Gpu("card", "nvidia", 6 << 30, 6 << 30)
MEASURED = Measured(
    (
        BufferNeed("CPU", 100, 10, 1),
        BufferNeed("CPU_REPACK", 200, 0, 0),
        BufferNeed("CUDA_Host", 0, 0, 5),
        BufferNeed("SIXGIG_PAGED", 9000, 0, 3),
        BufferNeed("CUDA0", 4000, 400, 40),
    ),
    ProcessMemory(1, 2, 3, 4),
    ModelTraits(True, False, False, True, 0, False),
)


def test_without_a_gpu_nothing_changes(tiny: Callable[..., Path]) -> None:
    options = EngineOptions(context=256)
    assert placed(options, open_model(tiny("qwen3moe")), Placement()) is options


@pytest.mark.parametrize(("n_layers", "n_experts", "gpu_layers"), [(2, 0, 2), (4, 0, 5), (4, 3, 5)])
def test_the_last_layers_move_and_only_their_experts_may(
    tiny: Callable[..., Path], n_layers: int, n_experts: int, gpu_layers: int
) -> None:
    model = open_model(tiny("qwen3moe"))
    options = placed(EngineOptions(), model, Placement(GPU, n_layers, n_experts))
    assert options.gpu_layers == gpu_layers
    kept = {int(name.split(".")[1]) for name in options.host_tensors}
    assert kept == set(range(4 - n_experts))
    assert len(options.host_tensors) == 3 * (4 - n_experts)


def test_overrides_name_these_tensors_and_no_others() -> None:
    options = EngineOptions(host_tensors=("blk.1.ffn_up_exps.weight",))
    params, overrides = model_params(load_library(), options)
    assert params.tensor_buft_overrides == ctypes.addressof(overrides)
    pattern = overrides[0].pattern.decode()
    assert re.search(pattern, "blk.1.ffn_up_exps.weight")
    assert not re.search(pattern, "blk.11.ffn_up_exps.weight")
    assert not re.search(pattern, "blk.1.ffn_up_exps.weights")
    assert overrides[0].buffer_type and overrides[1].pattern is None


NAMES = st.from_regex(r"(blk|v\.blk)\.[0-9]{1,3}\.[a-z_.+]{1,4}|[a-z_.]{1,4}", fullmatch=True)


@given(st.sets(NAMES, max_size=12), st.sets(NAMES, max_size=12))
def test_patterns_match_exactly_the_names_they_were_made_of(names: set[str], others: set[str]) -> None:
    patterns = name_patterns(sorted(names))
    for name in names | others:
        assert any(re.search(pattern, name) for pattern in patterns) == (name in names)


def test_a_large_model_needs_one_pattern() -> None:
    """The engine compiles each one for each tensor."""
    stems = ("ffn_gate_exps", "ffn_up_exps", "ffn_down_exps")
    assert len(name_patterns(f"blk.{layer}.{stem}.weight" for layer in range(3, 61) for stem in stems)) == 1


def test_a_model_loads_with_overrides_and_its_logits_are_the_same(tiny: Callable[..., Path]) -> None:
    model = open_model(tiny("qwen3moe"))
    kept = tuple(tensor.name for tensor in model.routed_experts())
    logits = []
    for names in ((), kept):
        options = EngineOptions(context=256, ubatch=64, threads=1, extra_buffers=False, host_tensors=names)
        with open_engine(model, 1 << 30, options, PagingOptions(always=True)) as engine:
            engine.prefill([5, 6, 7, 8])
            logits.append(engine.logits().tolist())
    assert logits[0] == logits[1]


def test_paged_weights_are_never_lent_to_a_gpu() -> None:
    params = ContextParams()
    EngineOptions(gpu_layers=5).apply_to_context(params)
    assert params.op_offload and params.offload_kqv
    EngineOptions(gpu_layers=5, offload_products=False).apply_to_context(params)
    assert not params.op_offload and params.offload_kqv


def test_main_memory_and_a_gpus_are_told_apart() -> None:
    host = engine_bytes(MEASURED)
    assert (host.weights_bytes, host.context_bytes, host.compute_bytes) == (300, 10, 9)
    device = engine_bytes(MEASURED, on_device=True)
    assert (device.weights_bytes, device.context_bytes, device.compute_bytes) == (4000, 400, 40)


def test_a_gpu_is_not_filled_past_its_budget() -> None:
    needs = Needs(device_needs(engine_bytes(MEASURED, on_device=True)))
    fit([needs], Budgets(1 << 30, 4440 + GPU_CONTEXT_BYTES))
    with pytest.raises(BudgetError, match="raise --vram") as refused:
        fit([needs], Budgets(1 << 30, 4439 + GPU_CONTEXT_BYTES))
    assert isinstance(refused.value, Refusal)
    assert fit([needs], Budgets(1 << 30, refused.value.smallest_bytes)).vram_bytes == 4440 + GPU_CONTEXT_BYTES


def test_a_cpu_build_names_no_device() -> None:
    assert engine_devices() == ()
