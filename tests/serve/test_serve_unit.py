"""The unit file of `sixgig serve --print-systemd`: each word arrives as it was typed, and systemd agrees."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from configparser import RawConfigParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sixgig.cli.main import main
from sixgig.jobs.serve_request import ServeRequest
from sixgig.jobs.serve_unit import systemd_unit, unit_for
from sixgig.settings import parse_duration
from sixgig.units import parse_size
from tests.serve.ollama_server import DEMO

MIB = 1 << 20
_ESCAPES = {"n": b"\n", "t": b"\t", "\\": b"\\", '"': b'"', "'": b"'"}
_PIECE = re.compile(r"\\x([0-9a-f]{2})|\\(.)|(%%)|([^\\%])", re.DOTALL)
words = st.text(st.characters(exclude_characters="\0", codec="utf-8"))
broken = st.binary().filter(lambda raw: b"\0" not in raw).map(os.fsdecode)


def section(unit: str, name: str = "Service") -> dict[str, list[str]]:
    """A section's settings, each with all its values, as systemd reads them: some stand there twice."""

    class Repeated(dict[str, list[str]]):
        def __setitem__(self, key: str, value: list[str]) -> None:
            super().__setitem__(key, self.get(key, []) + value if isinstance(value, list) else value)

    parser = RawConfigParser(
        strict=False,
        delimiters="=",
        comment_prefixes=("#", ";"),
        empty_lines_in_values=False,
        dict_type=Repeated,  # type: ignore[arg-type]
    )
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(unit)
    return {key: parser[name][key].split("\n") for key in parser[name]}


def unquoted(line: str) -> list[str]:
    """The words of ExecStart by the rules of systemd.service(5), written apart from the code under test."""
    found = re.findall(r'"(?:\\.|[^"\\])*"|[^ ]+', line.removeprefix(":"), re.DOTALL)
    assert " ".join(found) == line.removeprefix(":")
    return [_unescaped(word[1:-1] if word.startswith('"') else word) for word in found]


def _unescaped(word: str) -> str:
    raw, at = b"", 0
    for match in _PIECE.finditer(word):
        assert match.start() == at, "a stray backslash or percent sign"
        at = match.end()
        number, escape, percent, plain = match.groups()
        if number:
            raw += bytes([int(number, 16)])
        else:
            raw += _ESCAPES[escape] if escape else b"%" if percent else plain.encode()
    assert at == len(word)
    return os.fsdecode(raw)


@given(st.lists(words | broken, max_size=6))
def test_every_argument_arrives_as_it_was_typed(arguments: list[str]) -> None:
    unit = systemd_unit(arguments, 8 << 30, 60, program=("/opt/a b/python",), user="alice")
    (line,) = section(unit)["ExecStart"]
    assert line.startswith(":"), "without it systemd would put variables in"
    assert unquoted(line) == ["/opt/a b/python", "serve", *arguments]


@given(
    ram=st.integers(1, 1 << 45) | st.sampled_from([8 << 30, 1 << 40]),
    vram=st.integers(0, 1 << 40),
    keep_alive_s=st.floats(0, 1e9) | st.sampled_from([-1.0, 300, 1e-7, 1e9]),
)
def test_a_unit_asks_for_what_the_request_asked_for(ram: int, vram: int, keep_alive_s: float) -> None:
    asked = ServeRequest(DEMO, ram=ram, vram=vram, keep_alive_s=keep_alive_s, port=0, host="::1")
    command = unquoted(section(unit_for(asked))["ExecStart"][0])[5:]
    assert command[0] == str(DEMO)
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert (parse_size(options["--ram"]), parse_size(options["--vram"])) == (ram, vram)
    assert parse_duration(options["--keep-alive"]) == pytest.approx(keep_alive_s, abs=1e-9)
    assert (options["--port"], options["--host"], len(options)) == ("0", "::1", 5)


def test_sizes_stand_in_a_unit_as_they_were_typed(capsys: pytest.CaptureFixture[str]) -> None:
    typed = ["serve", str(DEMO), "--ram", "8G", "--vram", "0", "--keep-alive", "forever", "--print-systemd"]
    assert main(typed) == 0
    (line,) = section(capsys.readouterr().out)["ExecStart"]
    assert unquoted(line)[4:] == typed[:-1]


@given(st.lists(words, max_size=4))
def test_no_argument_adds_a_line(arguments: list[str]) -> None:
    plain = systemd_unit([], None, 60, user="alice")
    assert len(systemd_unit(arguments, None, 60, user="alice").split("\n")) == len(plain.split("\n"))


def test_the_program_is_this_python_whatever_lies_in_the_folder() -> None:
    (line,) = section(systemd_unit(["m.gguf"], None, 60))["ExecStart"]
    assert unquoted(line) == [sys.executable, "-P", "-m", "sixgig", "serve", "m.gguf"]
    assert Path(unquoted(line)[0]).is_absolute()


def test_only_the_gateway_is_told_to_stop_and_has_time_to_drain() -> None:
    service = section(systemd_unit([], None, 60))
    assert service["KillMode"] == ["mixed"]
    assert int(service["TimeoutStopSec"][0]) > 60


@given(st.integers(1, 1 << 45))
def test_the_limit_is_a_little_above_the_budget(ram_bytes: int) -> None:
    limit = section(systemd_unit([], ram_bytes, 60))["MemoryMax"][0]
    assert limit.endswith("M")
    limit_bytes = int(limit[:-1]) * MIB
    assert ram_bytes + 64 * MIB <= limit_bytes <= ram_bytes * 17 / 16 + 66 * MIB


def test_without_a_budget_there_is_no_limit() -> None:
    assert "MemoryMax" not in section(systemd_unit([], None, 60))


def test_an_engine_that_the_kernel_ends_does_not_end_the_server() -> None:
    assert section(systemd_unit([], 8 << 30, 60))["OOMPolicy"] == ["continue"]


def test_root_gives_way_to_a_made_up_user() -> None:
    service = section(systemd_unit([], None, 60, user="root"))
    assert service["DynamicUser"] == ["yes"]
    assert "User" not in service


def test_the_ledger_lies_in_the_state_folder(tmp_path: Path) -> None:
    service = section(systemd_unit([], None, 60))
    (variables,) = service["Environment"]
    specifiers = {"%S": str(tmp_path / "lib"), "%C": str(tmp_path / "cache")}
    for specifier, folder in specifiers.items():
        variables = variables.replace(specifier, folder)
    code = "from sixgig.ledger import default_path; print(default_path())"
    environment = {**os.environ, **dict(pair.split("=") for pair in variables.split())}
    told = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert Path(told.stdout.strip()) == tmp_path / "lib" / service["StateDirectory"][0] / "ledger.sqlite"


def test_the_sed_of_the_comment_leaves_a_unit_for_a_user() -> None:
    unit = systemd_unit([], 8 << 30, 60, user="alice")
    script = re.search(r"sed '([^']+)'", unit)
    assert script is not None
    edited = subprocess.run(["sed", script[1]], input=unit, capture_output=True, text=True, check=True).stdout
    assert section(edited, "Install")["WantedBy"] == ["default.target"]
    left = section(edited)
    assert not {"User", "CapabilityBoundingSet", "DevicePolicy", "ProtectClock"} & left.keys()
    assert left["ExecStart"] == section(unit)["ExecStart"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")
@pytest.mark.parametrize("scope", ["--system", "--user"])
def test_systemd_finds_no_fault(tmp_path: Path, scope: str) -> None:
    folder = tmp_path / "100% a b"
    folder.mkdir()
    program = folder / "python"
    program.symlink_to(sys.executable)
    arguments = ["a b", '"', "\\", "%S", "$HOME", ";", "", "\n", os.fsdecode(b"\xff")]
    unit = systemd_unit(arguments, 8 << 30, 60, program=(str(program),), user="root")
    path = tmp_path / "sixgig.service"
    path.write_text(unit, encoding="utf-8")
    verified = subprocess.run(
        ["systemd-analyze", scope, "verify", str(path)],
        capture_output=True,
        text=True,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
    )
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")
