"""Machine files that are broken or lie: one UsageError each that names field, value, cure; never a hang."""

import copy
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sixgig.errors import UsageError
from sixgig.hardware import load_machine, machine_document

DOCUMENT = json.loads(json.dumps(machine_document(load_machine("gtx-1060-6g-24g"))))
CURE = "mend the file, or write a new one with sixgig doctor --save FILE"
KERNELS = {"engine": "e", "threads": 1, "step_s": 0, "row_s": 0, "row_width": 4096}
SPEED = {"type": "Q4_K", "decode": 1, "prompt": 1}
Change = Callable[[dict[str, Any]], object]


def refused(path: Path, content: bytes | str) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UsageError) as caught:
        load_machine(path)
    message = str(caught.value)
    assert message.endswith(CURE) and len(message) < 500
    return message


def changed(change: Change) -> str:
    document = copy.deepcopy(DOCUMENT)
    change(document)
    return json.dumps(document)


def test_the_file_that_the_others_are_made_from_is_good(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text(json.dumps(DOCUMENT))
    assert load_machine(tmp_path / "m.json").name == "gtx-1060-6g-24g"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        (b"\x7fELF\x00\xff\xfe" * 9, "not JSON"),
        (b"GGUF\x03\x00\x00\x00", "not JSON"),
        ("[" * 200_000, "nested too deeply"),
        ('{"a":' * 50_000, "nested too deeply"),
        ("[]", "no machine file"),
        ("null", "no machine file"),
        ('"text"', "no machine file"),
        ("{}", "format is 'None'"),
        ('{"format": "sixgig machine 2"}', "sixgig machine 2"),
        ('{"format": {"a": 1}}', "no machine file"),
        ('{"format": "sixgig machine 1"}', "name: field required"),
        ('{"format": "sixgig machine 1", "format": "x"}', "'format' is there twice"),
        ('{"format": "sixgig machine 1", "name": NaN}', "NaN is no number"),
        ('{"format": -Infinity}', "-Infinity is no number"),
        ("1" * 5000, "not JSON"),
        (" " * (1 << 20) + "{}", "too large"),
    ],
    ids=lambda value: repr(value[:20]),
)
def test_what_is_no_machine_file_is_refused(tmp_path: Path, content: bytes | str, words: str) -> None:
    assert words in refused(tmp_path / "m.json", content)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.update(surprise=1), "surprise: unexpected"),
        (lambda d: d["gpus"][0].update(tensor_cores=4), "gpus[0].tensor_cores: unexpected"),
        (lambda d: d["cpu"].pop("cores"), "cpu.cores: field required"),
        (lambda d: d["cpu"].update(cores="4"), "cpu.cores: input should be a valid integer; found '4'"),
        (lambda d: d["cpu"].update(cores=True), "cpu.cores: input should be a valid integer; found True"),
        (lambda d: d["cpu"].update(cores=0), "cpu.cores must be above 0 and below 2**63; found 0"),
        (lambda d: d["cpu"].update(cores=99), "cpu.cores is more than logical_cores; found 99"),
        (lambda d: d["cpu"].update(name=""), "cpu.name must have 1 to 1000 characters"),
        (lambda d: d["cpu"].update(name="\x1b[2J"), "cpu.name has control characters"),
        (lambda d: d["cpu"].update(name="\ud800"), "surrogate"),
        (lambda d: d["cpu"].update(isa="avx2"), "cpu.isa"),
        (lambda d: d["memory"].update(ram_bytes=-1), "memory.ram_bytes must be above 0"),
        (lambda d: d["memory"].update(ram_bytes=1.5), "memory.ram_bytes"),
        (lambda d: d["memory"].update(ram_bytes=2**63), "memory.ram_bytes must be above 0 and below 2**63"),
        (lambda d: d["memory"].update(ram_bytes=10**400), "memory.ram_bytes"),
        (
            lambda d: d["memory"].update(available_bytes=2**62),
            "memory.available_bytes is more than ram_bytes",
        ),
        (
            lambda d: d["memory"].update(bandwidth_bytes_per_s=0),
            "memory.bandwidth_bytes_per_s must be above 0",
        ),
        (lambda d: d["memory"].update(bandwidth_bytes_per_s=10**400), "memory.bandwidth_bytes_per_s"),
        (lambda d: d["memory"].update(bandwidth_bytes_per_s=None), "memory.bandwidth_bytes_per_s"),
        (lambda d: d["memory"].update(bandwidth_bytes_per_s={"reason": 5}), "bandwidth_bytes_per_s.reason"),
        (lambda d: d["memory"].update(bandwidth_bytes_per_s={}), "memory.bandwidth_bytes_per_s"),
        (lambda d: d["disk"].update(reads=[]), "disk.reads is empty"),
        (lambda d: d["disk"]["reads"].reverse(), "disk.reads must go from the smallest block"),
        (lambda d: d["disk"]["reads"].append(d["disk"]["reads"][0]), "disk.reads must go from"),
        (lambda d: d["disk"]["reads"][1].update(bytes_per_s=-3), "disk.reads[1].bytes_per_s must be above 0"),
        (lambda d: d["disk"].update(reads=d["disk"]["reads"] * 200), "disk.reads has more than 256 entries"),
        (lambda d: d["disk"].update(rotating="no"), "disk.rotating"),
        (lambda d: d.update(disk={"reason": ""}), "disk.reason must have 1 to 1000"),
        (lambda d: d.update(disk=7), "disk: "),
        (lambda d: d["gpus"][0].update(vendor="3dfx"), "gpus[0].vendor"),
        (lambda d: d["gpus"][0].update(free_bytes=2**60), "gpus[0].free_bytes is more than memory_bytes"),
        (lambda d: d.update(gpus={}), "gpus: "),
        (lambda d: d.update(meters=[{"name": "m", "reads": "amperes"}]), "meters[0].reads"),
        (lambda d: d.update(origin="guessed"), "origin: "),
        (
            lambda d: d.update(kernels=KERNELS | {"speeds": [SPEED, SPEED]}),
            "kernels.speeds names a type twice",
        ),
        (
            lambda d: d.update(kernels=KERNELS | {"speeds": [SPEED | {"decode": 0}]}),
            "speeds[0].decode must be",
        ),
        (
            lambda d: d.update(kernels=KERNELS | {"step_s": -1, "speeds": []}),
            "kernels.step_s must be 0 or more",
        ),
    ],
)
def test_a_lie_is_named_with_its_place_and_value(tmp_path: Path, change: Change, words: str) -> None:
    assert words in refused(tmp_path / "m.json", changed(change))


def test_a_rate_too_large_for_a_number_is_refused(tmp_path: Path) -> None:
    text = json.dumps(DOCUMENT).replace(
        '"bandwidth_bytes_per_s": 30000000000.0', '"bandwidth_bytes_per_s": 1e999'
    )
    assert "1e999" in text
    assert "memory.bandwidth_bytes_per_s" in refused(tmp_path / "m.json", text)


def test_a_name_twice_inside_is_refused(tmp_path: Path) -> None:
    text = json.dumps(DOCUMENT).replace('"cores": 4', '"cores": 4, "cores": 2')
    assert "'cores' is there twice" in refused(tmp_path / "m.json", text)


@pytest.mark.parametrize("depth", [100, 300, 900])
def test_depth_that_a_reader_may_or_may_not_take_is_no_crash(tmp_path: Path, depth: int) -> None:
    nested = "[" * depth + "]" * depth
    text = json.dumps(DOCUMENT)[:-1] + f', "surprise": {nested}}}'
    refused(tmp_path / "m.json", text)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no plain file"):
        load_machine(tmp_path)
    with pytest.raises(UsageError):
        load_machine("")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.timeout(10)
def test_a_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="no plain file"):
        load_machine(tmp_path / "pipe")


@pytest.mark.timeout(10)
@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="this system has no /dev/zero")
def test_an_endless_device_is_refused() -> None:
    with pytest.raises(UsageError, match="no plain file"):
        load_machine("/dev/zero")


@pytest.mark.parametrize(
    "name", ["\0", "x" * 5000, "../profiles/m3-max-48g", "M3-MAX-48G", "m3-max-48g.json"]
)
def test_a_name_is_no_way_to_other_files(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="the profiles are"):
        load_machine(name)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
PLACES = st.sampled_from(
    [(name,) for name in DOCUMENT if name != "format"]
    + [(part, name) for part in ("cpu", "memory", "disk") for name in DOCUMENT[part]]
    + [("gpus", 0, name) for name in DOCUMENT["gpus"][0]]
    + [("disk", "reads", 0, name) for name in DOCUMENT["disk"]["reads"][0]]
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=PLACES, value=VALUES)
def test_any_value_anywhere_gives_a_machine_or_a_usage_error(
    tmp_path: Path, place: tuple[str | int, ...], value: Any
) -> None:
    document: Any = copy.deepcopy(DOCUMENT)
    inner = document
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    (tmp_path / "m.json").write_text(json.dumps(document))
    try:
        load_machine(tmp_path / "m.json")
    except UsageError as error:
        assert error.cure == CURE


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 3000), junk=st.binary(max_size=6))
def test_bytes_overwritten_anywhere_are_no_crash(tmp_path: Path, at: int, junk: bytes) -> None:
    content = json.dumps(DOCUMENT).encode()
    (tmp_path / "m.json").write_bytes(content[:at] + junk + content[at + len(junk) :])
    try:
        load_machine(tmp_path / "m.json")
    except UsageError as error:
        assert error.cure == CURE
