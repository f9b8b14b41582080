"""The file of the configuration: what is no TOML is told with its place, what is no file at once."""

import os
from pathlib import Path

import pytest

from sixgig.errors import UsageError
from sixgig.settings.toml import read_toml


def refused(file: Path, content: str | bytes) -> str:
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UsageError) as caught:
        read_toml(file)
    assert str(caught.value).isprintable(), "one line, whatever the file holds"
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[server]\nport == 1", "serve.toml is not TOML; invalid value (at line 2, column 7)"),
        ("a = 1\nb = ", "serve.toml is not TOML; invalid value (at the end, line 2)"),
        ("a = 1\na = 2\n", "serve.toml is not TOML; cannot overwrite a value (at line 2, column 6)"),
        (b"a = 1\nb = '\xff'", "serve.toml is not in UTF-8; line 2 has the byte 0xff"),
        ("a = " + "[" * 20_000, "serve.toml is nested too deeply"),
        ("a = " + "9" * 5000, "serve.toml is not TOML; a number has too many digits"),
        ("a = 1 # \x00", "serve.toml is not TOML; "),
        ("#" * (1 << 20) + "#", "serve.toml is too large for a configuration; more than 1048576 bytes"),
    ],
)
def test_what_is_no_toml_is_told_with_its_place(tmp_path: Path, text: str | bytes, told: str) -> None:
    assert refused(tmp_path / "serve.toml", text).startswith(told)


def test_a_file_of_the_largest_size_with_a_mark_and_crlf_is_read(tmp_path: Path) -> None:
    file = tmp_path / "serve.toml"
    text = "\ufeff[server]\r\nport = 1\r\n".encode()
    file.write_bytes(text + b"#" * ((1 << 20) - len(text)))
    assert read_toml(file) == {"server": {"port": 1}}


@pytest.mark.parametrize("name", [".", "missing.toml", "pipe", "nul\0"])
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match=r"name a configuration file"):
        read_toml(tmp_path / name)
