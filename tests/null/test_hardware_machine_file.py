"""Machine files: what is written is what is read, and the package's profiles are sensible."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sixgig.errors import UsageError
from sixgig.hardware import (
    Absent,
    Cpu,
    Disk,
    Gpu,
    Kernels,
    KernelSpeed,
    Machine,
    Memory,
    Meter,
    ReadRate,
    load_machine,
    machine_document,
    profiles,
    save_machine,
)
from sixgig.hardware.validation import parse_json, validated

TEXT = st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1, max_size=40)
SIZE = st.integers(1, 2**63 - 1)
RATE = st.floats(1e-3, 1e15)
ABSENT = st.builds(Absent, TEXT)
CPUS = st.builds(
    Cpu, TEXT, TEXT, st.integers(1, 64), st.integers(64, 512), st.lists(TEXT, max_size=3).map(tuple)
)
MEMORIES = st.builds(
    Memory,
    st.integers(2**40, 2**50),
    st.integers(0, 2**40),
    st.none() | SIZE,
    st.integers(0, 2**50),
    RATE | ABSENT,
)
READS = st.lists(st.tuples(SIZE, RATE), min_size=1, max_size=4, unique_by=lambda rate: rate[0]).map(
    lambda rates: tuple(ReadRate(*rate) for rate in sorted(rates))
)
DISKS = st.builds(Disk, TEXT, TEXT, st.booleans(), st.integers(0, 2**60), READS | ABSENT, st.booleans())
GPUS = st.builds(
    Gpu,
    TEXT,
    st.sampled_from(["nvidia", "amd", "intel", "apple", "other"]),
    st.integers(2**40, 2**50),
    st.integers(0, 2**40),
    st.booleans(),
    st.none() | TEXT,
    st.none() | TEXT,
    st.none() | SIZE,
    st.none() | SIZE,
    RATE | ABSENT,
    RATE | ABSENT,
    TEXT | ABSENT,
)
METERS = st.builds(Meter, TEXT, st.sampled_from(["joules", "watts"]) | ABSENT)
SPEEDS = st.builds(
    KernelSpeed,
    type=TEXT,
    decode=RATE,
    prompt=RATE,
    repacked_decode=st.just(0.0) | RATE,
    repacked_prompt=st.just(0.0) | RATE,
)
KERNELS = st.builds(
    Kernels,
    engine=TEXT,
    threads=st.integers(1, 64),
    step_s=RATE,
    row_s=st.just(0.0) | RATE,
    row_width=SIZE,
    speeds=st.lists(SPEEDS, max_size=3, unique_by=lambda speed: speed.type).map(tuple),
)
MACHINES = st.builds(
    Machine,
    TEXT,
    st.sampled_from(["probed", "measured", "specification"]),
    TEXT,
    CPUS,
    MEMORIES,
    DISKS | ABSENT,
    st.lists(GPUS, max_size=2).map(tuple),
    st.lists(METERS, max_size=2).map(tuple),
    KERNELS | ABSENT,
    st.lists(TEXT, max_size=2).map(tuple),
)


@given(MACHINES)
def test_every_machine_survives_its_document(machine: Machine) -> None:
    document = parse_json(json.dumps(machine_document(machine)))
    assert document.pop("format") == "sixgig machine 1"
    assert validated(Machine, document, "test") == machine


@pytest.mark.parametrize("name", profiles())
def test_profiles_load_and_say_where_their_numbers_are_from(name: str) -> None:
    machine = load_machine(name)
    assert machine.name == name and machine.remarks
    assert isinstance(machine.disk, Disk) and not isinstance(machine.disk.reads, Absent)
    assert not isinstance(machine.memory.bandwidth_bytes_per_s, Absent)
    if machine.origin == "specification":
        assert machine.kernels == Absent("no such machine at hand")
        assert "nominal" in machine.remarks[0]


def test_the_promised_profiles_are_there() -> None:
    assert set(profiles()) >= {
        "gtx-1060-6g-24g",
        "rtx-5070-ti-64g",
        "raspberry-pi-5-16g",
        "m3-max-48g",
        "cpu-box-2c-24g",
    }


def test_a_file_goes_before_a_profile_of_the_same_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    machine = replace(load_machine("m3-max-48g"), name="mine")
    save_machine(machine, "m3-max-48g")
    assert load_machine("m3-max-48g").name == "mine"


def test_an_unknown_name_lists_the_profiles() -> None:
    with pytest.raises(UsageError, match=r"there is no profile or file 'nix'; .*gtx-1060-6g-24g, m3-max-48g"):
        load_machine("nix")


def test_saving_replaces_the_file_or_leaves_it_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, machine = tmp_path / "m.json", load_machine("m3-max-48g")
    save_machine(machine, path)
    assert os.listdir(tmp_path) == ["m.json"] and path.stat().st_mode & 0o400

    def fail(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(UsageError, match="No space left"):
        save_machine(replace(machine, name="other"), path)
    assert os.listdir(tmp_path) == ["m.json"] and load_machine(path) == machine


@pytest.mark.parametrize("name", ["absent/m.json", "\0", "x" * 300])
def test_a_place_that_cannot_be_written_is_an_error_with_a_cure(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"cannot write .*name another file"):
        save_machine(load_machine("m3-max-48g"), tmp_path / name)


def test_saving_follows_a_link_and_replaces_nothing_but_plain_files(tmp_path: Path) -> None:
    machine = load_machine("m3-max-48g")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    save_machine(machine, tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and load_machine(tmp_path / "target") == machine
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "."):
        with pytest.raises(UsageError, match="no plain file"):
            save_machine(machine, tmp_path / name)
    assert not (tmp_path / "pipe").is_file()


def test_fields_with_a_default_may_be_left_out(tmp_path: Path) -> None:
    document = machine_document(load_machine("m3-max-48g"))
    for name in ("gpus", "meters", "kernels", "remarks"):
        del document[name]
    (tmp_path / "m.json").write_text(json.dumps(document))
    assert load_machine(tmp_path / "m.json").kernels == Absent("not measured")
