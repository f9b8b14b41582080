"""`sixgig doctor` on a machine whose engine, devices and measurements are made up."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from sixgig.cli.main import main
from sixgig.errors import EngineError
from sixgig.hardware import Absent, EngineDevice, Kernels, KernelSpeed, ReadRate, load_machine
from sixgig.hardware import measurements as measurements_module
from sixgig.hardware.measuring import DiskReads

GIB = 1 << 30
KERNELS = Kernels(
    engine="", threads=2, step_s=3e-6, row_s=1e-8, row_width=4096,
    speeds=(KernelSpeed(type="Q4_K", decode=2e10, prompt=5e10),),
)  # fmt: skip


class Bench:
    """What stands in for the engine. devices: its list, or the error that loading it gives."""

    def __init__(self) -> None:
        self.devices: tuple[EngineDevice, ...] | EngineError = ()
        self.kernels_measured = 0

    def engine_devices(self) -> tuple[EngineDevice, ...]:
        if isinstance(self.devices, EngineError):
            raise self.devices
        return self.devices

    def measure_kernels(self, threads: int, progress: Callable[[float], object]) -> Kernels:
        from importlib.metadata import version

        self.kernels_measured += 1
        return Kernels(**(vars(KERNELS) | {"engine": version("xllamacpp"), "threads": threads}))


@pytest.fixture(autouse=True)
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    made = Bench()
    for name in ("devices", "kernels"):
        module = ModuleType(f"sixgig.inference.{name}")
        vars(module).update(engine_devices=made.engine_devices, measure_kernels=made.measure_kernels)
        vars(module).update(NEEDED_BYTES=192 << 20)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(
        measurements_module.platformdirs, "user_cache_dir", lambda name: str(tmp_path / "cache")
    )
    monkeypatch.setattr(measurements_module, "measure_memory", lambda cores, available: 3e10)
    reads = DiskReads((ReadRate(1 << 16, 1e9), ReadRate(1 << 20, 3e9)), direct=True)
    monkeypatch.setattr(measurements_module, "measure_disk", lambda path, check: reads)
    monkeypatch.setenv("COLUMNS", "80")
    return made


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, str]:
    assert main(["doctor", *arguments]) == 0
    captured = capsys.readouterr()
    return captured.out, captured.err


def test_it_shows_facts_and_findings_in_eighty_columns(capsys: pytest.CaptureFixture[str]) -> None:
    out, err = run(capsys)
    for words in ("processor", "memory", "2.79 GiB/s", "Q4_K: 20.0 G weights/s", "engine", "energy"):
        assert words in out
    assert max(len(line) for line in out.splitlines()) <= 80 and "\x1b" not in out
    assert err.splitlines() == [
        f"measuring {what} ..." for what in ("memory", "the disk", "the engine's kernels")
    ]


def test_its_document_is_alone_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(run(capsys, "--json")[0])
    assert document["machine"]["format"] == "sixgig machine 1"
    assert document["machine"]["memory"]["bandwidth_bytes_per_s"] == 3e10
    assert {finding["topic"] for finding in document["findings"]} >= {"engine", "disk", "energy"}
    assert all(set(finding) == {"topic", "level", "text", "cure"} for finding in document["findings"])


def test_what_was_measured_is_remembered_until_asked_again(
    capsys: pytest.CaptureFixture[str], bench: Bench
) -> None:
    run(capsys)
    assert run(capsys)[1] == "" and bench.kernels_measured == 1
    assert "measuring memory" in run(capsys, "--again")[1] and bench.kernels_measured == 2


def test_an_engine_that_does_not_load_is_a_finding(capsys: pytest.CaptureFixture[str], bench: Bench) -> None:
    bench.devices = EngineError(
        "the OpenMP runtime is missing", "libgomp.so.1 not found", "apt install libgomp1"
    )
    document = json.loads(run(capsys, "--json")[0])
    finding = next(finding for finding in document["findings"] if finding["topic"] == "engine")
    assert finding["level"] == "problem" and "libgomp.so.1 not found" in finding["text"]
    assert finding["cure"] == "apt install libgomp1"
    assert bench.kernels_measured == 0


def test_kernels_that_cannot_be_measured_are_absent(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(threads: int, progress: Callable[[float], object]) -> Kernels:
        raise EngineError("the engine has no CPU backend")

    monkeypatch.setattr(sys.modules["sixgig.inference.kernels"], "measure_kernels", fail)
    document = json.loads(run(capsys, "--json")[0])
    assert document["machine"]["kernels"] == {"reason": "the engine has no CPU backend"}


def test_a_gpu_that_the_engine_lists_is_there(capsys: pytest.CaptureFixture[str], bench: Bench) -> None:
    bench.devices = (EngineDevice("Vulkan0", "A \x1b[31mRadeon\x1b[0m", "gpu", 8 * GIB, 7 * GIB),)
    out, _ = run(capsys)
    assert "Vulkan0" in out and "8.00 GiB" in out and "\x1b" not in out


def test_save_writes_a_file_that_loads(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out, err = run(capsys, "--save", str(tmp_path / "mine.json"), "--json")
    machine = load_machine(tmp_path / "mine.json")
    assert machine.origin == "probed" and not isinstance(machine.kernels, Absent)
    assert json.loads(out)["machine"]["cpu"]["name"] == machine.cpu.name
    assert "mine.json" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--disk", "/no/such/place"], "--disk /no/such/place cannot be used; No such file"),
        (["--save", "/no/such/place/m.json"], "cannot write /no/such/place/m.json; No such file"),
    ],
)
def test_mistyped_paths_are_errors(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(["doctor", *arguments]) == 1
    captured = capsys.readouterr()
    assert f"error: {words}" in captured.err and captured.out == ""


def test_the_command_line_imports_nothing_heavy_for_it() -> None:
    heavy = (
        "pydantic",
        "pynvml",
        "rich.table",
        "huggingface_hub",
        "sixgig.inference",
        "sixgig.jobs.machines",
    )
    script = f"import sys, sixgig.cli.app; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_kernels_are_not_measured_in_memory_that_is_not_there(
    bench: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sixgig.jobs.machines.available_bytes", lambda: 64 << 20)
    out, _ = run(capsys, "--json")
    assert bench.kernels_measured == 0
    assert "64.00 MiB free" in json.loads(out)["machine"]["kernels"]["reason"]
