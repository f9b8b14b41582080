"""What this machine has, what that means for running models, and what to do about it."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path

from sixgig.errors import UsageError
from sixgig.hardware import Machine, disturbances, models_folder, save_machine
from sixgig.jobs.door import door
from sixgig.jobs.engine_builds import EngineFacts
from sixgig.jobs.findings import Finding, findings
from sixgig.jobs.machines import survey
from sixgig.jobs.reporter import Request

_CALMER = "sixgig doctor --again, when nothing else runs"


@dataclass(frozen=True)
class DoctorRequest(Request):
    """None means the default.

    disk: a folder or a large file on the disk to look at; by default where downloaded models are kept.
    again: measure what was measured before, too.
    """

    disk: str | Path | None = None
    _: KW_ONLY
    again: bool = False


@dataclass(frozen=True)
class DoctorResult:
    """The machine as measured, the engine on it, the path whose disk was looked at, and what was found."""

    machine: Machine
    engine: EngineFacts
    disk_path: Path
    findings: tuple[Finding, ...]

    def save(self, path: str | Path) -> None:
        """Write the machine to a file, for plan(machine=path) anywhere. Raises UsageError."""
        save_machine(self.machine, path)


def _doctor(request: DoctorRequest) -> DoctorResult:
    """Look at this machine: what it has, what to mend.

    Memory, disk and the engine's kernels are measured where that was not yet done, some seconds each, and
    remembered. A folder without a large model gets a file of up to 1 GiB meanwhile. What the machine lacks, a
    working engine included, is a finding; UsageError where `disk` is not there; Cancelled. May be called from
    any thread.
    """
    path = models_folder() if request.disk is None else _existing(request.disk)
    machine, engine = survey(path, request.again, request.listener)
    disturbed = (Finding("machine", "note", line, _CALMER) for line in disturbances(machine))
    return DoctorResult(machine, engine, path, (*findings(machine, engine), *disturbed))


doctor = door(DoctorRequest, _doctor)
"""Find out about this machine; arguments: DoctorRequest."""


def _existing(disk: str | Path) -> Path:
    try:
        return Path(disk).expanduser().resolve(strict=True)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"--disk {disk} cannot be used", why, "name an existing folder or file") from error
