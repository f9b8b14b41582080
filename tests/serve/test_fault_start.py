"""What is wrong before the first request is told in one line, and nothing is left running."""

import os
import socket
import subprocess
import sys

import pytest

from tests.serve.ollama_server import DEMO
from tests.serve.served import ROOT

FINE = f'[server]\nport = 0\nram = "1G"\n[models.a]\npath = "{DEMO}"\n'


def refused(folder, configuration):
    """What the command says; it must not serve."""
    path = folder / "serve.toml"
    path.write_bytes(configuration if isinstance(configuration, bytes) else configuration.encode())
    done = subprocess.run(
        [sys.executable, "-m", "sixgig", "serve", "--config", str(path)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "XDG_DATA_HOME": str(folder / "data")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (b"\xff\xfe\x00", "serve.toml"),
        ("[server\nport = 1", "serve.toml"),
        (FINE + "[nonsense]\nx = 1\n", "nonsense"),
        ('[[rules]]\nwhen = "model_missing"\nupstream = "nowhere"\n' + FINE, "nowhere"),
    ],
)
def test_a_configuration_that_cannot_be_read(tmp_path, broken, said):
    assert said in refused(tmp_path, broken)


@pytest.mark.parametrize("content", [b"", b"no ledger", b"SQLite format 3\0" + bytes(4096)])
def test_a_ledger_that_is_none(tmp_path, content):
    path = tmp_path / "l.sqlite"
    path.write_bytes(content)
    said = refused(tmp_path, FINE + f'[ledger]\npath = "{path}"\n')
    assert str(path) in said.replace("\n", "")
    assert path.read_bytes() == content


def test_a_port_that_is_taken(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert str(port) in refused(tmp_path, FINE.replace("port = 0", f"port = {port}"))
