"""A hub on 127.0.0.1: lists one repository, sends its files by ranges, counts, and misbehaves on request."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import huggingface_hub
import platformdirs
import pytest
from huggingface_hub import constants

from sixgig.modelfile import ranges

REPOSITORY = "owner/repo"
Answer = Callable[["Request", str, int, int], None]


class Request(BaseHTTPRequestHandler):
    """One request; `send` answers it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes
    server: "HubServer"

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if not self.server.reachable:
            self.close_connection = True
            return None
        if path == f"/api/models/{REPOSITORY}":
            self.server.n_listings += 1
            return self.send(200, json.dumps(self.server.listing()).encode(), Content_Type="application/json")
        prefix = f"/{REPOSITORY}/resolve/abc/"
        if path.startswith(prefix):  # the hub sends one on to where the bytes are
            return self.send(302, b"", Location="/cdn/" + path.removeprefix(prefix))
        if not path.startswith("/cdn/"):
            return self.send(404, b"", X_Error_Code="RepoNotFound")
        name = path.removeprefix("/cdn/")
        first, last = self.headers["Range"].removeprefix("bytes=").split("-")
        self.server.asked.append((name, int(first), int(last) + 1))
        return self.server.answer(self, name, int(first), int(last) + 1)

    def do_HEAD(self) -> None:
        name = unquote(urlsplit(self.path).path).removeprefix(f"/{REPOSITORY}/resolve/abc/")
        self.send_response(200)
        for header, value in (("X-Repo-Commit", "abc"), ("ETag", '"e"')):
            self.send_header(header, value)
        self.send_header("Content-Length", str(len(self.server.files[name])))
        self.end_headers()

    def send(self, status: int, body: bytes, **headers: str) -> None:
        """A whole answer; header names with "_" for "-"."""
        self.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""


class HubServer(ThreadingHTTPServer):
    """`files` by name; `asked` has each range as (name, start, end)."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, int, int]] = []
        self.n_listings = 0
        self.answer: Answer = honest
        self.with_sizes = self.reachable = True

    def handle_error(self, *_: object) -> None:
        """A client that hung up is no news."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def listing(self) -> dict[str, object]:
        """As the hub's API says it."""
        rows = [{"rfilename": name, **self._content(raw)} for name, raw in self.files.items()]
        return {"id": REPOSITORY, "sha": "abc", "siblings": rows}

    def bytes_asked(self, name: str) -> int:
        """Bytes of a file that were asked for."""
        return sum(end - start for asked, start, end in self.asked if asked == name)

    def _content(self, raw: bytes) -> dict[str, object]:
        if not self.with_sizes:
            return {}
        lfs = {"size": len(raw), "sha256": sha256(raw).hexdigest(), "pointerSize": 1}
        return {"size": len(raw), "blobId": "b", "lfs": lfs}


def honest(request: Request, name: str, start: int, end: int) -> None:
    """The range asked for."""
    raw = request.server.files[name]
    request.send(206, raw[start:end], Content_Range=f"bytes {start}-{end - 1}/{len(raw)}")


@contextmanager
def serving(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Iterator[HubServer]:
    """The server as the hub of this process, nothing in the hub's cache, headers kept below `cache`."""
    server = HubServer()
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "scan_cache_dir", lambda: SimpleNamespace(repos=[]))
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda _: str(cache))
    monkeypatch.setattr(ranges, "_WAITS_S", (0.0, 0.0))
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
