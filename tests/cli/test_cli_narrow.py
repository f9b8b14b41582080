"""Nothing that matters is cut off in a window of 40 columns: help, tables, names."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from sixgig.cli import app as commands
from sixgig.cli.main import main
from sixgig.cli.tables import show_table
from tests.described import write

VERBS = [command.name or "" for command in commands.app.registered_commands]
MACHINE = "cpu-box-2c-24g"
LONG = "Some-Model-With-A-Long-Name-Instruct-2507"


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == 0, capsys.readouterr().err
    return capsys.readouterr().out


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_is_laid_out_for_the_window(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = told(capsys, *filter(None, [verb, "--help"]))
    explained, _, examples = out.partition("\n  Example")
    wide = [line for line in explained.splitlines() if len(line) > 40]
    assert not wide
    assert not [line for line in explained.partition("Commands:")[2].splitlines() if line.endswith("...")]
    for line in examples.splitlines():  # a command stays one line, to be copied; its remark stands below
        assert "   " not in line.strip(), line
    if verb == "":
        assert all(name in out for name in VERBS) and "Exit status:" in out


def models(folder: Path) -> Path:
    """Two models without names of their own, and one in a folder that is called as another is."""
    for name in (f"{LONG}-Q4_K_M", f"{LONG}-Q8_0", f"sub/{LONG}-Q8_0"):
        (folder / name).parent.mkdir(exist_ok=True)
        write("qwen3-8b", folder / f"{name}.gguf", dense="Q4_K")
    return folder


def test_each_row_of_a_plan_says_which_file_at_any_width(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    models(tmp_path)
    for columns in ("40", "80", "200"):
        monkeypatch.setenv("COLUMNS", columns)
        out = told(capsys, "plan", str(tmp_path), "--machine", MACHINE)
        joined = "".join(line.strip() for line in out.splitlines())
        for name in (f"{LONG}-Q4_K_M", f"sub/{LONG}-Q8_0"):
            assert name in out or name in joined.replace(" ", ""), columns
        for word in ("size", "loss", "memory", "VRAM", "on disk", "tokens/s", "first token"):
            assert word in out
        assert "…" not in out


@pytest.mark.parametrize("verb", ["score", "plan"])
def test_the_tables_of_a_verb_are_whole(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = tmp_path / "text"
    text.write_text("This PEP describes a change to the language. " * 60)
    more = {
        "score": ["--text", str(text), "--context", "64", "--windows", "1"],
        "plan": ["--machine", MACHINE],
    }[verb]
    words = {
        "score": ["perplexity", " to ", "95% intervals"],
        "plan": ["> Q3_K_M", "  first token: ", "  size: 15 M"],
    }[verb]
    out = told(capsys, verb, *more)
    assert "…" not in out
    for word in words:
        assert word in out, word


def test_a_table_that_fits_stays_one_and_one_that_does_not_loses_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for n_columns, stacked in ((2, False), (9, True)):
        table = Table("file", *(f"column {n}" for n in range(n_columns)), title="[b]what[/b]", caption="why")
        table.add_row("one.gguf", *(f"{n * 1111}" for n in range(n_columns)))
        table.add_section()
        table.add_row("", *("" for _ in range(n_columns)))
        show_table(Console(width=40), table)
        out = capsys.readouterr().out
        assert ("column 1: 1111" in out) == stacked and "what" in out and "why" in out and "[b]" not in out
        assert all(f"{n * 1111}" in out for n in range(n_columns)) and "…" not in out


def test_a_first_column_is_folded_where_that_is_enough(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("", "size")
    table.add_row(f"a/{LONG}", "12345 G")
    show_table(Console(width=40), table)
    out = capsys.readouterr().out
    assert "12345 G" in out and "…" not in out and max(map(len, out.splitlines())) <= 40
    assert "size:" not in out


def test_a_real_terminal_of_forty_columns(tmp_path: Path) -> None:
    models(tmp_path)
    person, program = pty.openpty()
    fcntl.ioctl(program, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 40, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    command = [sys.executable, "-m", "sixgig", "plan", str(tmp_path), "--machine", MACHINE]
    with subprocess.Popen(command, env=environment, stdin=program, stdout=program, stderr=program) as process:
        os.close(program)
        seen = b""
        while True:
            try:
                piece = os.read(person, 4096)
            except OSError:  # how Linux says that the other end is closed
                break
            if not piece:
                break
            seen += piece
    os.close(person)
    out = seen.decode()
    assert process.returncode == 0 and "…" not in out
    assert f"{LONG}-Q4_K_M" in out.replace("\r\n", "") and "tokens/s: " in out
