"""A hub that lies, stalls or breaks off: one clear error soon, or the right header, and nothing else."""

import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from sixgig.errors import ModelFileError
from sixgig.modelfile import KnownArrays, ModelFile, offers, open_all, ranges, remote
from tests.attacks.raw import STRING, Raw, array, pair, text
from tests.null.hub_server import Answer, HubServer, Request, honest, serving

CONTENT = Raw().header() + bytes(Raw().data_bytes)
HTML = b"<html>log in to this network</html>"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    monkeypatch.setattr(ranges, "_TIMEOUT_S", 0.15)
    monkeypatch.setattr(ranges, "_DEADLINE_S", 0.15)
    with serving(monkeypatch, tmp_path / "cache") as server:
        server.files["a.gguf"] = CONTENT
        yield server


def opened() -> ModelFile:
    return offers("hf:owner/repo")[0].open()


def announcing(content_range: str, body: bytes = CONTENT, **headers: str) -> Answer:
    return lambda request, *_: request.send(206, body, Content_Range=content_range, **headers)


def status(number: int, body: bytes = b"", **headers: str) -> Answer:
    return lambda request, *_: request.send(number, body, **headers)


def breaking_off(request: Request, *_: object) -> None:
    request.send(206, CONTENT[:50], Content_Range=RANGE, Content_Length=str(len(CONTENT)))
    request.close_connection = True


def stalling(request: Request, *_: object) -> None:
    time.sleep(0.3)


def dripping(request: Request, *_: object) -> None:
    request.send(206, b"", Content_Range=RANGE, Content_Length=str(len(CONTENT)))
    for at in range(8):
        request.wfile.write(CONTENT[at : at + 1])
        time.sleep(0.05)


RANGE = f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}"
LIES: dict[str, tuple[Answer, str]] = {
    "ignores ranges": (status(200, CONTENT), "cannot be read in ranges; HTTP 200"),
    "a page of a captive portal": (status(200, HTML, Content_Type="text/html"), "HTTP 200, text/html; fetch"),
    "a page sent as the range": (
        lambda request, *_: request.send(206, HTML.ljust(len(CONTENT)), Content_Range=RANGE),
        "is not a GGUF file; it starts with b'<htm'",
    ),
    "gone": (status(404), "does not exist or is not open to you; HTTP 404; check the name"),
    "not logged in": (status(401), "HTTP 401; check the name, or log in"),
    "gated": (status(403), "HTTP 403; accept its licence"),
    "no such range": (status(416), "cannot be read in ranges; HTTP 416"),
    "broken": (status(500), f"bytes 0 to {len(CONTENT)}: HTTP 500; check the network"),
    "too many requests": (status(429), "HTTP 429"),
    "sent round in circles": (status(302, Location="/cdn/a.gguf"), "cannot be read; bytes 0 to"),
    "sent nowhere": (status(302, Location="http://127.0.0.1:1/"), "cannot be read; bytes 0 to"),
    "another range": (announcing(f"bytes 1-{len(CONTENT)}/{len(CONTENT)}"), "is not what the hub lists"),
    "another size": (announcing(f"bytes 0-{len(CONTENT) - 1}/{2**40}"), "is not what the hub lists"),
    "a shorter range": (announcing(f"bytes 0-9/{len(CONTENT)}", CONTENT[:10]), "is not what the hub lists"),
    "no range": (lambda request, *_: request.send(206, CONTENT), "got none"),
    "less than announced": (
        announcing(RANGE, CONTENT[:99]),
        f"{len(CONTENT)}: 99 of {len(CONTENT)} bytes came",
    ),
    "more than announced": (announcing(RANGE, CONTENT + b"x"), f"more than the {len(CONTENT)} bytes"),
    "compressed": (announcing(RANGE, Content_Encoding="gzip"), "sent as gzip"),
    "breaks off": (breaking_off, "cannot be read; bytes 0 to"),
    "stalls": (stalling, "cannot be read; bytes 0 to"),
    "drips": (dripping, f"of {len(CONTENT)} bytes in 0 s"),
}


@pytest.mark.parametrize("lie", LIES)
def test_names_the_lie(lie: str, hub: HubServer) -> None:
    hub.answer, said = LIES[lie]
    started = time.perf_counter()
    with pytest.raises(ModelFileError) as caught:
        opened()
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert time.perf_counter() - started < 3
    hub.answer = honest  # nothing wrong was kept
    assert opened().n_experts == 2


@pytest.mark.parametrize("failure", [status(503), status(429), breaking_off, announcing(RANGE, CONTENT[:99])])
def test_what_passes_is_tried_again(failure: Answer, hub: HubServer) -> None:
    def answer(request: Request, name: str, start: int, end: int) -> None:
        (failure if len(hub.asked) < 3 else honest)(request, name, start, end)

    hub.answer = answer
    assert opened().n_experts == 2 and len(hub.asked) == 3


@pytest.mark.parametrize("refusal", [status(404), status(200, CONTENT)])
def test_what_will_not_change_is_asked_once(refusal: Answer, hub: HubServer) -> None:
    hub.answer = refusal
    with pytest.raises(ModelFileError):
        opened()
    assert len(hub.asked) == 1


def test_an_endless_body_is_not_read(hub: HubServer) -> None:
    def endless(request: Request, *_: object) -> None:
        request.send(206, b"", Content_Range=RANGE, Content_Length=str(2**40))
        while True:
            request.wfile.write(bytes(2**16))

    hub.answer = endless
    tracemalloc.start()
    try:
        with pytest.raises(ModelFileError, match="more than"):
            opened()
        assert tracemalloc.get_traced_memory()[1] < 8 * 1024**2
    finally:
        tracemalloc.stop()


def test_an_endless_header_is_not_fetched(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Strings without end: the walk stops at the bound, whatever size the listing gave."""
    monkeypatch.setattr(remote, "MAX_HEADER_BYTES", 1024**2)
    raw = Raw()
    raw.pairs["bad"] = array("k", STRING, 2**18, text("x" * 100) * 2**18)
    hub.files["a.gguf"] = raw.header()
    with pytest.raises(ModelFileError, match=r"header is too long; over 1\.00 MiB"):
        opened()
    assert hub.bytes_asked("a.gguf") <= 1024**2


def test_a_file_shorter_than_listed(hub: HubServer) -> None:
    hub.answer = lambda request, name, start, end: request.send(
        206, CONTENT[start : end - 100], Content_Range=f"bytes {start}-{end - 1}/{len(CONTENT)}"
    )
    with pytest.raises(ModelFileError, match=f"{len(CONTENT) - 100} of {len(CONTENT)} bytes came"):
        opened()


def test_one_bad_file_leaves_its_siblings_alone(hub: HubServer) -> None:
    hub.files = {name: CONTENT for name in ("a.gguf", "b.gguf", "c.gguf")}
    hub.answer = lambda request, name, start, end: (
        honest(request, name, start, end) if name != "a.gguf" else request.send(500, b"")
    )
    assert [one.model is None for one in open_all(offers("hf:owner/repo"))] == [True, False, False]


def mimic() -> bytes:
    """One token holds what follows the sibling's tokens, just where it would stand, and then more tokens."""
    raw = Raw()
    following = Raw().pairs["scores"]
    first = text("a") + text("b") + text("")
    at = len(first + text("dd"))
    token = b"?" * (at - len(first) - 8) + following
    raw.pairs["tokens"] = array("tokenizer.ggml.tokens", STRING, 4, first + text(token))
    raw.pairs["tail"] = pair("tail", 1)
    return raw.header() + bytes(raw.data_bytes)


def test_a_token_that_mimics_the_next_key_ends_in_an_error_or_a_checked_header(hub: HubServer) -> None:
    hub.files = {"a.gguf": CONTENT, "b.gguf": mimic()}
    known = KnownArrays()
    first, second = offers("hf:owner/repo")
    first.open(known)
    with pytest.raises(ModelFileError, match="appears twice"):
        second.open(known)
    assert second.open().metadata.count("tokenizer.ggml.tokens") == 4
