"""`sixgig doctor`: what this machine has, what that means for running models, and what to do about it."""

from __future__ import annotations

from typing import Annotated

import typer

from sixgig.cli.parameters import Json, Quiet

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
    from sixgig.cli import doctor_tables
    from sixgig.cli.report import write_json
    from sixgig.cli.reporter import TerminalReporter
    from sixgig.cli.terminal import say
    from sixgig.jobs.doctor import doctor as doctor_job

    result = doctor_job(disk, again=again, reporter=TerminalReporter())
    if save is not None:
        result.save(save)
        say(f"saved as {save}")
    if json:
        write_json(doctor_tables.doctor_document(result))
    else:
        doctor_tables.show_doctor(result)
