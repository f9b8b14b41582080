"""The engine's kernels are measured as they are: every type, within reason, and nothing is left behind."""

import pytest

from sixgig.errors import EngineError
from sixgig.hardware import Kernels
from sixgig.hardware.memory import process_memory
from sixgig.inference import kernels as kernels_module
from sixgig.inference.kernels import MEASURED_TYPES, measure_kernels
from sixgig.llamacpp import WHEEL_VERSION
from sixgig.modelfile import TYPE_BY_NAME
from sixgig.plan.nominal import NOMINAL_CORE


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels_module, "WEIGHTS_BYTES", 4 << 20)
    monkeypatch.setattr(kernels_module, "PROMPT_TOKENS", 32)


@pytest.mark.usefixtures("small")
def test_each_type_has_a_speed_and_only_some_a_repacked_one() -> None:
    found = measure_kernels(1, ("F32", "Q4_0", "Q6_K"))
    assert (found.engine, found.threads) == (WHEEL_VERSION, 1)
    assert [speed.type for speed in found.speeds] == ["F32", "Q4_0", "Q6_K"]
    assert all(1e7 < speed.decode < 1e13 and 1e7 < speed.prompt < 1e13 for speed in found.speeds)
    assert found.speeds[0].repacked_decode == found.speeds[0].repacked_prompt == 0.0
    assert 0 < found.step_s < 1e-2 and 0 <= found.row_s < 1e-3


@pytest.mark.usefixtures("small")
def test_measuring_gives_its_memory_back() -> None:
    measure_kernels(1, ("Q8_0",))
    before = process_memory().resident_bytes
    for _ in range(5):
        measure_kernels(1, ("Q8_0",))
    assert (
        process_memory().resident_bytes - before < 8 << 20
    )  # one round that kept its matrices would be 20 MiB


def test_every_measured_and_nominal_type_is_one_of_ggml() -> None:
    assert set(MEASURED_TYPES) <= set(TYPE_BY_NAME)
    assert {speed.type for speed in NOMINAL_CORE.speeds} == set(MEASURED_TYPES)
    assert isinstance(NOMINAL_CORE, Kernels)


@pytest.mark.usefixtures("small")
def test_a_product_that_fails_is_an_error_not_a_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels_module._Bench, "_once", _fail)
    with pytest.raises(EngineError, match="cannot compute"):
        measure_kernels(1, ("F32",))


def _fail(_bench: object, _graph: int) -> float:
    raise EngineError("the engine cannot compute a product")
