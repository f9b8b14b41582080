"""The command `sixgig`, and how every failure looks to the person who typed it."""

import re
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from sixgig.cli.terminal import (
    Verbosity,
    abandon,
    choose_verbosity,
    let_text_pass,
    open_closed_streams,
    warn_line,
)
from sixgig.errors import SixgigError, UsageError

OK, FAILED, MISUSED, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (default: the process's own); returns the exit status, whatever happens.

    0: done. 1: could not be done here and now (a file, memory, the disk, the network; a bug of ours).
    2: asked wrongly (an option, a value, a text or a configuration that must be changed). 130: interrupted.
    """
    try:
        open_closed_streams()
        let_text_pass()
        choose_verbosity(Verbosity.USUAL)
        from sixgig.cli.app import app  # here, so that Ctrl-C is caught from the first import on

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
        return _tell(str(error), _status(error))
    if hasattr(error, "format_message"):  # typer's own errors; their classes moved between its releases
        return _tell(_misuse(error), MISUSED)
    if isinstance(error, OSError):
        name = f"{error.filename}: " if error.filename else ""
        return _tell(f"{name}{error.strerror or error}; errno {error.errno}", FAILED)
    if isinstance(error, ImportError):
        return _tell(f"sixgig's installation is incomplete; {error}; install it again", FAILED)
    if isinstance(error, MemoryError):
        return _tell("out of memory; lower --ram or --context", FAILED)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{frame.filename.rpartition('/')[2]}:{frame.lineno}"
    return _tell(
        f"a bug in sixgig; {type(error).__name__}: {error} ({place}); please report this line", FAILED
    )


def _status(error: SixgigError) -> int:
    """MISUSED where something else must be asked for; what the system refused may work the next time."""
    refused = isinstance(error.__cause__, OSError | ImportError)
    return MISUSED if isinstance(error, UsageError) and not refused else FAILED


def _misuse(error: Any) -> str:
    """What an error of typer's says, and what was meant where that is known."""
    message, context = str(error.format_message()).rstrip("."), getattr(error, "ctx", None)
    meant = _meant(error, context.command) if context else ""
    if meant:
        message = f"{str(error.message).rstrip('.')}; {meant}"
    command = context.command_path if context else "sixgig"
    return f"{message[:1].lower()}{message[1:]}{'' if message.endswith('?') else ';'} see {command} --help"


def _meant(error: Any, command: Any) -> str:
    from sixgig.cli.aliases import meant_option, meant_verb

    options = [name for parameter in command.params for name in parameter.opts]
    if typed := getattr(error, "option_name", ""):
        return meant_option(typed, options)
    if found := re.fullmatch(r"No such command '(.*)'\.", str(error.message)):
        return meant_verb(found[1])
    if "--temperature" in options and str(error.message).startswith("Got unexpected extra argument"):
        return 'give the question with -p, as one "text in quotes"'
    return ""


def _tell(message: str, status: int) -> int:
    warn_line(f"error: {message}")
    return status


if __name__ == "__main__":
    sys.exit(main())
