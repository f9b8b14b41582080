"""What `sixgig serve` makes of its surroundings: proxies, signals, folders, what dead servers left."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sixgig.engines import socket_folder, sockets
from sixgig.errors import UsageError
from sixgig.server.connections import Connections
from sixgig.server.http import http_config
from sixgig.settings import TimeoutSettings


async def _seen_by(trusted: tuple[str, ...], client: str) -> dict[str, Any]:
    """The scope that the application gets of a request with forwarding headers."""
    scopes: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)

    config = http_config(app, Connections(8, TimeoutSettings()), trusted)
    config.load()
    told = [(b"x-forwarded-for", b"203.0.113.9"), (b"x-forwarded-proto", b"https")]
    scope = {"type": "http", "client": (client, 1234), "scheme": "http", "headers": told}
    await config.loaded_app(scope, None, None)
    return dict(scopes[0])


@pytest.mark.parametrize(
    ("trusted", "client", "believed"),
    [
        ((), "127.0.0.1", False),
        (("10.0.0.0/8",), "127.0.0.1", False),
        (("10.0.0.0/8",), "10.1.2.3", True),
        (("127.0.0.1",), "127.0.0.1", True),
    ],
)
def test_whom_a_request_is_from_is_believed_of_named_proxies_only(
    trusted: tuple[str, ...], client: str, believed: bool
) -> None:
    seen = asyncio.run(_seen_by(trusted, client))
    assert seen["client"][0] == ("203.0.113.9" if believed else client)
    assert seen["scheme"] == ("https" if believed else "http")


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder with a short name, whatever pytest calls its own."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def temporary(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """TMPDIR is `place`, unless the test says otherwise."""
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    yield monkeypatch


def listens_in(folder: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "123456789.sock"))
        return folder.stat().st_mode & 0o777 == 0o700


def test_sockets_lie_with_other_temporary_files_and_go_with_the_server(
    place: Path, temporary: pytest.MonkeyPatch
) -> None:
    with socket_folder() as folder:
        assert folder.parent == place and listens_in(folder)
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("length", range(60, 120, 3))
def test_where_the_temporary_folder_has_a_long_name_sockets_lie_elsewhere(
    tmp_path: Path, temporary: pytest.MonkeyPatch, length: int
) -> None:
    long = Path(tempfile.mkdtemp(dir="/tmp"))
    try:
        deep = long / ("x" * (length - len(str(long)) - 1))
        deep.mkdir()
        temporary.setattr(tempfile, "tempdir", str(deep))
        temporary.setenv("XDG_RUNTIME_DIR", str(deep))
        with socket_folder() as folder:
            assert listens_in(folder)
        assert not folder.exists()
    finally:
        shutil.rmtree(long)


def test_where_there_is_no_place_for_sockets_one_line_says_so(temporary: pytest.MonkeyPatch) -> None:
    temporary.setattr(tempfile, "tempdir", "/" + "x" * 200)
    temporary.setenv("XDG_RUNTIME_DIR", "/nowhere")
    temporary.setattr(sockets, "_SHORT", ("/proc/none",))
    with (
        pytest.raises(UsageError, match=r"no folder for the engines' sockets; /nowhere: .*TMPDIR"),
        socket_folder(),
    ):
        pass


def test_what_a_killed_server_left_goes_and_what_others_hold_stays(
    place: Path, temporary: pytest.MonkeyPatch
) -> None:
    program = "import os, sys; from sixgig.engines import socket_folder\nwith socket_folder() as f:\n"
    program += " print(f, flush=True); sys.stdin.read(); os._exit(1)"
    holder = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(place)},
    )
    assert holder.stdin and holder.stdout
    left = Path(holder.stdout.readline().strip())
    foreign = place / f"{sockets.PREFIX}without-a-lock"
    foreign.mkdir()
    (place / f"{sockets.PREFIX}link").symlink_to(foreign)
    (left / "1.sock").touch()
    with socket_folder():
        assert left.exists()
    holder.stdin.close()
    holder.wait()
    holder.stdout.close()
    assert left.exists()
    with socket_folder() as folder:
        assert {p.name for p in place.iterdir()} == {folder.name, foreign.name, f"{sockets.PREFIX}link"}
