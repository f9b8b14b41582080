"""The engine's kernels are measured as they are: every type, within reason, and nothing is left behind."""

import subprocess
import sys
from itertools import cycle

import pytest

from sixgig.errors import EngineError
from sixgig.hardware import Cores, Kernels, usable_cores
from sixgig.hardware.memory import process_memory
from sixgig.inference import kernels as kernels_module
from sixgig.inference.kernels import MEASURED_TYPES, measure_kernels
from sixgig.llamacpp import WHEEL_VERSION
from sixgig.modelfile import TYPE_BY_NAME
from sixgig.planning.nominal import NOMINAL_CORE


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


TIMES_S = (0.5, 0.003, 0.001, 0.002)  # of each graph; the first does not count


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("others", "cores", "counted_s", "scale"),
    [
        (0.2, 4, 0.002, 1),  # the median
        (1.0, 4, 0.001, 4 / 3),  # the quickest, on the threads that others leave
        (9.0, 4, 0.001, 2),  # never fewer than half
        (1.0, 1, 0.001, 1),
    ],
)
def test_beside_other_work_the_quickest_on_the_threads_left_stands_for_all(
    monkeypatch: pytest.MonkeyPatch, others: float, cores: int, counted_s: float, scale: float
) -> None:
    times = cycle(TIMES_S)
    monkeypatch.setattr(kernels_module, "others_now", lambda *_: others)
    monkeypatch.setattr(kernels_module, "usable_cores", lambda: Cores(cores, cores, cores))
    monkeypatch.setattr(kernels_module._Bench, "_once", lambda *_: next(times))
    found = measure_kernels(cores, ("Q8_0",))
    shape = kernels_module._decoding(TYPE_BY_NAME["Q8_0"])
    assert found.speeds[0].decode == pytest.approx(scale * shape.n_products / counted_s)
    assert found.threads == cores


@pytest.mark.skipif(usable_cores().performance < 2, reason="one thread never waits for another")
def test_beside_busy_processes_kernels_come_nearer_than_all_threads_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One comparison of three is enough: the machine may be busy otherwise."""
    monkeypatch.setattr(kernels_module, "WEIGHTS_BYTES", 16 << 20)
    monkeypatch.setattr(kernels_module, "PROMPT_TOKENS", 32)
    threads = usable_cores().performance
    spinning = [sys.executable, "-c", "while True: pass"]
    busy = [subprocess.Popen(spinning) for _ in range(usable_cores().logical)]
    try:
        assert any(_ratio_of_care(threads, monkeypatch) > 1 for _ in range(3))
    finally:
        for process in busy:
            process.kill()
            process.wait()


def _ratio_of_care(threads: int, monkeypatch: pytest.MonkeyPatch) -> float:
    """What is found beside other work over what is found where nobody looks for it."""
    with monkeypatch.context() as patch:
        patch.setattr(kernels_module, "others_now", lambda *_: 0.0)
        blind = measure_kernels(threads, ("Q4_K",)).speeds[0].decode
    return measure_kernels(threads, ("Q4_K",)).speeds[0].decode / blind
