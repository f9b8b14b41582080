"""This machine with all that can be known about it: probed, the engine asked, measured or remembered."""

from __future__ import annotations

from dataclasses import replace
from importlib import metadata
from pathlib import Path

from sixgig.errors import EngineError, UsageError
from sixgig.hardware import (
    Absent,
    EngineDevice,
    Gpu,
    Machine,
    available_bytes,
    kernels_are_due,
    measured,
    merge_engine_devices,
    models_folder,
    probe,
    remember_kernels,
    remembered,
)
from sixgig.hardware.conditions import DISTURBED, Conditions, Watch, look
from sixgig.jobs.engine_builds import EngineFacts
from sixgig.jobs.reporter import SILENT, Reporter
from sixgig.units import format_bytes

WHEEL = "xllamacpp"


def this_machine(disk_path: Path | None = None, again: bool = False, reporter: Reporter = SILENT) -> Machine:
    """As survey(), for whom the machine is enough."""
    return survey(disk_path or models_folder(), again, reporter)[0]


def known_machine(disk_path: Path) -> Machine:
    """This machine with what was measured before; nothing is measured now."""
    engine = _installed()
    return remembered(probe(disk_path=disk_path), None if isinstance(engine, Absent) else engine)


def gpu_machine(disk_path: Path) -> Machine:
    """As known_machine(), with the GPUs that the engine can use. UsageError where there is none."""
    machine = known_machine(disk_path)
    engine, devices = _ask_engine()
    gpus = _known_to_engine(machine.gpus, engine, devices)
    usable = tuple(gpu for gpu in gpus if not isinstance(gpu.engine_device, Absent) and not gpu.shares_ram)
    if not usable:
        seen = ", ".join(gpu.name for gpu in gpus) or "no GPU"
        cure = "leave --vram out, or see sixgig doctor for the build that suits your GPU"
        raise UsageError("the installed engine can use no GPU here", f"found: {seen}", cure)
    return replace(machine, gpus=usable)


def survey(disk_path: Path, again: bool = False, reporter: Reporter = SILENT) -> tuple[Machine, EngineFacts]:
    """This machine, measured where it is not yet known, or all of it `again`; and the engine on it.

    disk_path: a large file or a folder on the disk that models are read from. Never raises for what the
    machine lacks, a working engine included. Cancelled ends it.
    """
    engine, devices = _ask_engine()
    version = None if isinstance(engine.version, Absent) else engine.version
    found = remembered(probe(disk_path=disk_path), version)
    found = replace(found, gpus=_known_to_engine(found.gpus, engine, devices))
    found = measured(found, disk_path, again, reporter.say, reporter.check)
    if not engine.fault and (again or kernels_are_due(found)):
        found = _with_kernels(found, reporter)
    return found, engine


def _ask_engine() -> tuple[EngineFacts, tuple[EngineDevice, ...]]:
    """What the wheel is, and the devices it can compute on besides the processor."""
    from sixgig.inference.devices import engine_devices
    from sixgig.inference.threads import choose_waiting

    choose_waiting()
    version, requirement = _installed(), _requirement()
    try:
        return EngineFacts(version, requirement), engine_devices()
    except EngineError as error:
        fault = "; ".join(part for part in (error.what, error.numbers) if part)
        return EngineFacts(version, requirement, fault, error.cure), ()


def _known_to_engine(
    gpus: tuple[Gpu, ...], engine: EngineFacts, devices: tuple[EngineDevice, ...]
) -> tuple[Gpu, ...]:
    if not engine.fault:
        return merge_engine_devices(gpus, devices)
    return tuple(replace(gpu, engine_device=Absent("the engine does not load")) for gpu in gpus)


def _with_kernels(machine: Machine, reporter: Reporter) -> Machine:
    from sixgig.inference.kernels import NEEDED_BYTES, measure_kernels

    free = available_bytes()
    if free < NEEDED_BYTES:
        too_little = (
            f"{format_bytes(NEEDED_BYTES)} of memory needed to measure them, {format_bytes(free)} free"
        )
        return replace(machine, kernels=Absent(too_little))
    reporter.say("measuring the engine's kernels ...")
    try:
        with reporter.progress("measuring the engine's kernels") as progress:
            began, watch = look(), Watch()
            kernels = measure_kernels(machine.cpu.cores, progress=progress)
            if _is_calm(began) and not _is_calm(
                watch.conditions()
            ):  # others came, and were not reckoned with
                watch, kernels = Watch(), measure_kernels(machine.cpu.cores, progress=progress)
        reporter.check()
        return remember_kernels(machine, kernels, watch.conditions())
    except EngineError as error:
        return replace(machine, kernels=Absent(str(error)))


def _is_calm(conditions: Conditions) -> bool:
    return conditions.taken_from("processors") < DISTURBED


def _installed() -> str | Absent:
    try:
        return metadata.version(WHEEL)
    except metadata.PackageNotFoundError:
        return Absent(f"{WHEEL} is not installed")


def _requirement() -> str:
    """The one build this package works with, as its own metadata pins it: "xllamacpp==..."."""
    try:
        pins = metadata.requires("sixgig") or []
    except metadata.PackageNotFoundError:  # run from a source tree that nobody installed
        return WHEEL
    return next((pin.partition(";")[0].strip() for pin in pins if pin.startswith(WHEEL)), WHEEL)
