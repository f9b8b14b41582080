"""The command `sixgig`: its verbs, and how every failure looks to the person who typed it."""

import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

from sixgig import __version__
from sixgig.cli import bench, demo, run
from sixgig.cli.terminal import abandon, harmless, let_text_pass, say
from sixgig.errors import SixgigError

OK, FAILED, MISUSED, INTERRUPTED = 0, 1, 2, 130

app = typer.Typer(
    name="sixgig",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
run.register(app)
demo.register(app)
bench.register(app)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"sixgig {__version__}")
        raise typer.Exit


@app.callback(epilog="Each command has a --help of its own, with examples.")
def sixgig(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Run language models that are larger than your memory.

    A mixture-of-experts model uses a few of its experts for each token. sixgig keeps as many in memory as
    your budget holds and reads the others from disk when they are needed. The text is the same either way.
    """


def prepare_openmp() -> None:
    """The one place for environment variables of the OpenMP runtime; it reads them when the engine loads.

    None is set: what helps readers and computing threads on few cores is to be measured first.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (default: the process's own); returns the exit status, whatever happens."""
    let_text_pass()
    prepare_openmp()
    try:
        status = app(arguments, prog_name="sixgig", standalone_mode=False)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        abandon(sys.stdout)
        return FAILED
    except Exception as error:
        return _complain(error)
    return status if isinstance(status, int) else OK


def _complain(error: Exception) -> int:
    """One line on stderr."""
    if isinstance(error, SixgigError):
        return _tell(str(error), FAILED)
    if hasattr(error, "format_message"):  # typer's own errors; their classes moved between its releases
        return _tell(_misuse(error), MISUSED)
    if isinstance(error, OSError):
        name = f"{error.filename}: " if error.filename else ""
        return _tell(f"{name}{error.strerror or error}; errno {error.errno}", FAILED)
    if isinstance(error, MemoryError):
        return _tell("out of memory; lower --ram or --context", FAILED)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{frame.filename.rpartition('/')[2]}:{frame.lineno}"
    return _tell(
        f"a bug in sixgig; {type(error).__name__}: {error} ({place}); please report this line", FAILED
    )


def _misuse(error: Exception) -> str:
    message = str(error.format_message()).rstrip(".")  # type: ignore[attr-defined]
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "sixgig"
    return f"{message[:1].lower()}{message[1:]}; see {command} --help"


def _tell(message: str, status: int) -> int:
    try:
        say("error: " + harmless(" ".join(message.split())))
    except OSError:
        abandon(sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
