"""One verb, each of its options at values that nobody means; run as a process: `option_sweep VERB FOLDER`.

Prints one JSON line a case: [option, value, status, the last line of stderr]. A case that is not over after
half a second was accepted, and is ended: its status is null.
"""

import contextlib
import io
import json
import os
import resource
import signal
import sys
from pathlib import Path
from types import FrameType

import typer.main

from sixgig.cli.app import app
from sixgig.cli.main import main

NUMBERS = ("-1", "0", "9223372036854775808", "1" + "0" * 400, "nan", "inf")
TEXTS = ("", "caf\udce9")  # the second as Python reads bytes that are no UTF-8
COUNTS = ("N", "X", "T", "W", "SIZE", "PRICE", "TIME", "MINUTES")  # what help calls a value that is a number
LONGEST_S = 0.5
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
    }


def cases(verb: str) -> list[tuple[str, str]]:
    """Options that take a value, by their long names, with each value."""
    command = typer.main.get_command(app).commands[verb]  # type: ignore[attr-defined]
    options = [p for p in command.params if p.param_type_name == "option" and not p.is_flag]
    values = {max(p.opts, key=len): (*TEXTS, *(NUMBERS if p.metavar in COUNTS else ())) for p in options}
    return [(name, value) for name, tried in values.items() for value in tried]


def outcome(arguments: list[str]) -> tuple[int | None, str]:
    """Status (None: it ran on) and last words of one call."""

    def ring(_number: int, frame: FrameType | None) -> None:
        while frame is not None:
            if "importlib" in frame.f_code.co_filename:  # a module cut short cannot be imported again
                signal.setitimer(signal.ITIMER_REAL, 0.05)
                return
            frame = frame.f_back
        raise TooLong

    err, status = io.StringIO(), None
    signal.signal(signal.SIGALRM, ring)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
            signal.setitimer(signal.ITIMER_REAL, LONGEST_S)
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
    for option, value in cases(verb):
        status, words = outcome([verb, *commands(folder)[verb], f"{option}={value}"])
        print(json.dumps([option, value, status, words]), flush=True)
    os._exit(0)  # whatever was cut short is not waited for
