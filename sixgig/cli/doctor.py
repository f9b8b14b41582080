"""`sixgig doctor`: what this machine has, what that means for running models, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sixgig.cli.parameters import Json, Quiet

if TYPE_CHECKING:
    from pathlib import Path

EPILOG = """\b
Examples:
  sixgig doctor                      measures once, then remembers
  sixgig doctor --disk /data/models  the disk that your models are on
  sixgig doctor --save mine.json     for plans made elsewhere
"""

DiskPath = Annotated[
    str | None,
    typer.Option(
        "--disk",
        metavar="PATH",
        help="A folder or a large file on the disk to look at.",
        show_default="where downloaded models are kept",
    ),
]
Again = Annotated[bool, typer.Option("--again", help="Measure again what was measured before.")]
Save = Annotated[
    str | None,
    typer.Option("--save", metavar="FILE", help="Write the machine to a file that plans can be made for."),
]


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("doctor", epilog=EPILOG)(doctor)


def doctor(
    disk: DiskPath = None, again: Again = False, save: Save = None, json: Json = False, quiet: Quiet = False
) -> None:
    """Look at this machine: what it has, what to mend.

    Measures memory, disk and the engine's kernels at the first run. A folder without a large model gets a
    file of up to 1 GiB for the few seconds that takes. Findings are no failures: the exit status is 0 all
    the same.
    """
    from sixgig.cli.diagnosis import diagnosis_document, show_diagnosis
    from sixgig.cli.report import write_json
    from sixgig.cli.reporter import TerminalReporter
    from sixgig.cli.terminal import say
    from sixgig.hardware import disturbances, save_machine
    from sixgig.jobs.findings import Finding, findings
    from sixgig.jobs.machines import survey

    seen = survey(_existing(disk), again, TerminalReporter())
    cure = "sixgig doctor --again, when nothing else runs"
    notes = (Finding("machine", "note", line, cure) for line in disturbances(seen.machine))
    found = (*findings(seen.machine, seen.engine), *notes)
    if save is not None:
        save_machine(seen.machine, save)
        say(f"saved as {save}")
    if json:
        write_json(diagnosis_document(seen, found))
    else:
        show_diagnosis(seen, found)


def _existing(disk: str | None) -> Path | None:
    from pathlib import Path

    from sixgig.errors import UsageError

    if disk is None:
        return None
    try:
        return Path(disk).expanduser().resolve(strict=True)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"--disk {disk} cannot be used", why, "name an existing folder or file") from error
