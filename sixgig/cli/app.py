"""The verbs, put together."""

from typing import Annotated

import typer

from sixgig import __version__
from sixgig.cli import bench, demo, doctor, ledger, plan, run, score, serve, shrink, tune
from sixgig.cli.help import Group
from sixgig.cli.once import OnceCommand

app = typer.Typer(
    name="sixgig",
    cls=Group,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
run.register(app)
serve.register(app)
demo.register(app)
bench.register(app)
doctor.register(app)
plan.register(app)
score.register(app)
shrink.register(app)
tune.register(app)
ledger.register(app)
for verb in app.registered_commands:
    verb.cls = OnceCommand


def _version(wanted: bool) -> None:
    if wanted:
        print(f"sixgig {__version__}")
        raise typer.Exit


EPILOG = """Each command has a --help of its own, with examples.

\b
Exit status:
  0: done
  1: it could not be done: a file is
     missing or damaged, a model does
     not fit, disk or network failed
  2: it was asked wrongly: an option,
     a text or a setting must change
  130: interrupted

Pipes and files get UTF-8 whatever the locale, unless PYTHONIOENCODING names another encoding.
"""


@app.callback(epilog=EPILOG, invoke_without_command=True)
def sixgig(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Run language models that are larger than your memory.

    A mixture-of-experts model uses a few of its experts for each token. sixgig keeps as many in memory as
    your budget holds and reads the others from disk when they are needed. The text is the same either way.
    """
    if context.invoked_subcommand is None:
        print(context.get_help())
