"""One verb, each of its options at values that nobody means; run as a process: `option_sweep VERB FOLDER`.

Prints one JSON line a case: [option, value, status, the last line of stderr]. A case that is not over after
some seconds was accepted and is ended.
"""

import contextlib
import io
import json
import os
import resource
import signal
import sys
from pathlib import Path

import typer.main

from sixgig.cli.app import app
from sixgig.cli.main import main

VALUES = (
    "-1",
    "0",
    "2147483648",
    "9223372036854775808",
    "1" + "0" * 30,
    "1e400",
    "nan",
    "inf",
    "",
    "caf\udce9",
)
LONGEST_S = 1.5
MOST_BYTES = 12 << 30  # of address space: a size taken at its word must not take the machine


class TooLong(BaseException):
    """The case ran for LONGEST_S."""


def commands(folder: Path) -> dict[str, list[str]]:
    """The shortest call of each verb that would work."""
    model, text, data = folder / "model.gguf", folder / "text.txt", folder / "data.jsonl"
    made = str(folder / "made")
    return {
        "run": [str(model), "-p", "the cat", "-n", "1", "--context", "256"],
        "bench": [str(model), "--prompt-tokens", "4", "--tokens", "2"],
        "plan": [str(model), "--machine", "cpu-box-2c-24g"],
        "score": [str(model), "--text", str(text), "--context", "32", "--windows", "1"],
        "shrink": [str(model), "-o", made, "--text", str(text), "--size", "300K"],
        "tune": [str(model), str(data), "-o", made, "--steps", "1"],
        "serve": [str(model), "--print-systemd"],
        "ledger": ["--file", str(folder / "ledger.db")],
        "doctor": [],
        "demo": [],
    }


def value_options(verb: str) -> list[str]:
    """The long names of the options that take a value."""
    command = typer.main.get_command(app).commands[verb]
    options = [p for p in command.params if p.param_type_name == "option" and not p.is_flag]
    return [max(option.opts, key=len) for option in options]


def case(arguments: list[str]) -> tuple[int | None, str]:
    """Status (None: it ran on) and last words of one call."""

    def ring(*_: object) -> None:
        raise TooLong

    out, err = io.StringIO(), io.StringIO()
    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, LONGEST_S)
    status = None
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main(arguments)
    except TooLong:
        pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return status, (err.getvalue().strip().splitlines() or [""])[-1]


if __name__ == "__main__":
    verb, folder = sys.argv[1], Path(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    os.chdir(folder)
    import torch  # noqa: F401 (an import that is cut short cannot be taken up again)
    import xllamacpp  # noqa: F401

    for option in value_options(verb):
        for value in VALUES:
            status, words = case([verb, *commands(folder)[verb], f"{option}={value}"])
            print(json.dumps([option, value, status, words]), flush=True)
    os._exit(0)  # whatever was cut short is not waited for
