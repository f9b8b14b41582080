"""Machines and models to plan with: each model's header opened once, machines by hand or generated."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import strategies as st

from sixgig.hardware import (
    Absent,
    Cpu,
    Disk,
    Gpu,
    Kernels,
    Machine,
    Memory,
    ReadRate,
    load_machine,
)
from sixgig.modelfile import ModelFile, open_model
from sixgig.planning import Record
from sixgig.planning.nominal import NOMINAL_CORE
from tests import described
from tests.described import families

MIB, GIB = 1 << 20, 1 << 30
NONE = Absent("there is none")


@cache
def folder() -> TemporaryDirectory[str]:
    """Where headers lie, as long as the process: holes, a few hundred kilobytes in all."""
    return TemporaryDirectory(prefix="planned-")


@cache
def model(
    name: str, routed: str | None = None, dense: str | None = None, down: str | None = None
) -> ModelFile:
    """A described model."""
    path = Path(folder().name) / f"{name}-{routed}-{dense}-{down}.gguf"
    return open_model(described.write(name, path, routed, dense, down))


@cache
def family(name: str) -> ModelFile:
    """A small model of a family."""
    return open_model(families.write(name, Path(folder().name) / f"{name}.gguf"))


GPU = load_machine("gtx-1060-6g-24g").gpus[0]
BOX = Machine(
    name="a box",
    origin="specification",
    os="Linux",
    cpu=Cpu("a processor", "x86_64", 8, 16),
    memory=Memory(64 * GIB, 60 * GIB, bandwidth_bytes_per_s=40e9),
    disk=Disk("a disk", "ext4", False, GIB, (ReadRate(64 << 10, 1.5e9), ReadRate(MIB, 3e9))),
)


def record(**changes: object) -> Record:
    """One run that took twice as long as predicted."""
    run = Record(
        at="2026-11-25T00:00:00",
        version="1",
        machine="here",
        model="m",
        size_bytes=GIB,
        mode="paged",
        context=4096,
        ubatch=512,
        predicted_peak_bytes=1000,
        measured_peak_bytes=1000,
        process_bytes=50,
        program_bytes=30,
        cache_share=0.5,
        hit_rate=0.8,
        predicted_decode_s=1.0,
        measured_decode_s=2.0,
        predicted_prompt_s=1.0,
        measured_prompt_s=3.0,
    )
    return replace(run, **changes)  # type: ignore[arg-type]


RATES = st.floats(1e8, 1e12)
READS = st.tuples(RATES, st.floats(1.0, 8.0)).map(
    lambda r: (ReadRate(64 << 10, r[0]), ReadRate(MIB, r[0] * r[1]))
)
DISKS = st.builds(replace, st.just(BOX.disk), reads=READS | st.just(NONE)) | st.just(NONE)
GPUS = st.builds(
    Gpu,
    st.sampled_from(["card", "chip"]),
    st.just("other"),
    st.integers(GIB, 200 * GIB),
    st.just(0),
    shares_ram=st.booleans(),
    bandwidth_bytes_per_s=RATES | st.just(NONE),
    link_bytes_per_s=RATES | st.just(NONE),
)
KERNELS = st.floats(0.1, 64.0).map(
    lambda cores: Kernels(
        "e",
        1,
        NOMINAL_CORE.step_s,
        NOMINAL_CORE.row_s,
        NOMINAL_CORE.row_width,
        tuple(
            replace(
                s, decode=cores * s.decode, prompt=cores * s.prompt, repacked_decode=cores * s.repacked_decode
            )
            for s in NOMINAL_CORE.speeds
        ),
    )
)
MACHINES = st.builds(
    replace,
    st.just(BOX),
    cpu=st.integers(1, 64).map(lambda cores: replace(BOX.cpu, cores=cores)),
    memory=(RATES | st.just(NONE)).map(lambda rate: replace(BOX.memory, bandwidth_bytes_per_s=rate)),
    disk=DISKS,
    gpus=st.lists(GPUS, max_size=2).map(tuple),
    kernels=KERNELS | st.just(NONE),
)
