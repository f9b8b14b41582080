"""What no client library would send. After each the server still answers a good request."""

from __future__ import annotations

import gzip
import json
import socket
from urllib.parse import urlsplit

import httpx
import pytest

CHAT = {"model": "demo", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2, "temperature": 0}
JSON = {"content-type": "application/json"}
PATH = "/v1/chat/completions"
PATIENCE_S, LIMIT_BYTES = 60, 1_000_000
# 500 is never an answer to bad input, and neither is 503, which asks clients to try again.
CLIENT_FAULTS = range(400, 500)


@pytest.fixture(autouse=True)
def still_serving(served):
    yield
    answer = httpx.post(served.url + PATH, json=CHAT, timeout=PATIENCE_S)
    assert (answer.status_code, answer.json()["usage"]["completion_tokens"]) == (200, 2)
    assert served.process.poll() is None
    assert not any("Traceback" in line for line in served.log)


def connect(served):
    parts = urlsplit(served.url)
    return socket.create_connection((parts.hostname, parts.port), PATIENCE_S)


def said(connection):
    """All that comes until the server closes."""
    with connection.makefile("rb") as stream:
        return stream.read()


def raw(served, request, ends=False):
    """The answer to these bytes. ends: nothing follows, which to the server is a client that left."""
    with connect(served) as connection:
        try:
            connection.sendall(request)
            if ends:
                connection.shutdown(socket.SHUT_WR)
            return said(connection)
        except ConnectionError:  # it did not want to hear all of it
            return b""


def request(body=b"", method="POST", path=PATH, version="1.1", length=None, **headers):
    fields = {"Host": "127.0.0.1", "Content-Type": "application/json", "Connection": "close"}
    fields |= {"Content-Length": str(len(body) if length is None else length)}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [
        f"{method} {path} HTTP/{version}",
        *(f"{name}: {value}" for name, value in fields.items() if value),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def status(answer):
    return int(answer.split(b" ", 2)[1])


def good(**changes):
    return json.dumps(CHAT | changes).encode()


def post(served, body, path=PATH, **headers):
    return httpx.post(served.url + path, content=body, headers=JSON | headers, timeout=PATIENCE_S)


def refused(answer):
    assert answer.status_code in CLIENT_FAULTS, answer.text
    assert answer.json()["error"]
    return answer.status_code


NO_JSON = {
    "empty": b"",
    "truncated": good()[:-5],
    "text": b"hello",
    "number": b"5",
    "list": b"[]",
    "null": b"null",
    "nested lists": b"[" * 300_000 + b"]" * 300_000,
    "nested in a field": b'{"model":"demo","messages":' + b"[" * 300_000 + b"]" * 300_000 + b"}",
    "nested objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "NaN": b'{"model":"demo","messages":[],"temperature":NaN}',
    "Infinity": b'{"model":"demo","messages":[],"temperature":-Infinity}',
    "a number without end": b'{"model":"demo","messages":[],"seed":' + b"9" * 200_000 + b"}",
    "UTF-16": good().decode().encode("utf-16"),
    "UTF-32": good().decode().encode("utf-32-le"),
    "broken UTF-8": b'{"model":"demo","messages":[{"role":"user","content":"\xff\xfe"}]}',
    "overlong UTF-8": b'{"model":"demo","messages":[{"role":"user","content":"\xc0\x80"}]}',
    "raw control characters": b'{"model":"demo","messages":[{"role":"user","content":"\x00\x01"}]}',
    "a lone surrogate": rb'{"model":"demo","messages":[{"role":"user","content":"\ud800"}]}',
    "two documents": good() + good(),
    "single quotes": b"{'model':'demo'}",
}


@pytest.mark.parametrize("body", NO_JSON.values(), ids=NO_JSON)
@pytest.mark.parametrize("path", [PATH, "/v1/messages", "/api/chat"])
def test_what_is_no_json_is_refused(served, path, body):
    if path == "/api/chat" and body in (NO_JSON["NaN"], NO_JSON["Infinity"]):
        pytest.skip("a field that Ollama's API does not read")
    assert refused(post(served, body, path)) == 400


ODD_FIELDS = [
    {"model": 5},
    {"model": ["demo"]},
    {"model": {}},
    {"model": ""},
    {"model": True},
    {"stream": "yes"},
    {"stream": 1},
    {"max_tokens": -5},
    {"max_tokens": 10**40},
    {"max_tokens": "many"},
    {"messages": {}},
    {"messages": [[]]},
    {"tools": {}},
    {"tools": [{"type": "function"}]},
    {"stop": [1]},
    {"n": 10**9},
    {"repeat_last_n": 1 << 31},
    {"dry_penalty_last_n": 1e9},
    {"grammar": "root ::= (" * 1000},
    {"response_format": {"type": "json_schema", "json_schema": {"schema": {"$ref": "file:///etc/passwd"}}}},
]


@pytest.mark.parametrize("fields", ODD_FIELDS, ids=lambda fields: json.dumps(fields)[:40])
def test_a_field_that_makes_no_sense_is_refused(served, fields):
    assert refused(post(served, good(**fields))) == 400


@pytest.mark.parametrize(
    "name", ["nobody", "x" * 100_000, "../../etc/passwd", "\x00", "\ud800", "demo\r\nX: y", "%s%n"]
)
@pytest.mark.parametrize("path", [PATH, "/v1/messages", "/v1/responses", "/api/chat"])
def test_a_model_by_any_other_name_is_not_found(served, path, name):
    answer = post(served, good(model=name), path)
    assert refused(answer) in (400, 404)
    assert len(answer.content) < 1000


TAKEN = [
    b"\xef\xbb\xbf" + good(),
    b" \r\n\t" + good() + b"\r\n",
    good().replace(b'"max_tokens": 2', b'"max_tokens": 2.0'),
    b'{"model":"nobody",' + good()[1:],
    good(**{"x" * 1000: "\x00", "user": "\u2028 \ufffe"}),
]


@pytest.mark.parametrize("body", TAKEN, ids=("BOM", "white space", "2.0", "a field twice", "unknown fields"))
def test_what_is_odd_but_json_is_answered(served, body):
    assert post(served, body).status_code == 200


def test_a_body_too_large_is_refused_before_it_is_sent(served):
    with connect(served) as connection:
        connection.sendall(request(length=10**15))
        assert status(said(connection)) == 413


def test_a_chunked_body_too_large_is_refused(served):
    def pieces():
        for _ in range(2 * LIMIT_BYTES // 65536 + 1):
            yield b" " * 65536

    try:
        answer = httpx.post(served.url + PATH, content=pieces(), headers=JSON, timeout=PATIENCE_S)
    except httpx.TransportError:  # the server need not wait for the rest
        return
    assert refused(answer) == 413


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
def test_a_compressed_body_is_refused(served, encoding):
    assert refused(post(served, gzip.compress(good()), **{"content-encoding": encoding})) == 415


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=utf-16",
    ],
)
def test_a_body_of_another_type_is_refused(served, kind):
    assert refused(post(served, good(), **{"content-type": kind})) == 415


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "TRACE", "BREW"])
def test_another_method_is_refused(served, method):
    answer = httpx.request(method, served.url + PATH, content=good(), headers=JSON)
    assert answer.status_code == 405 and answer.headers["allow"] == "POST"


@pytest.mark.parametrize(
    "path",
    [
        PATH + "/",
        "/v1//chat/completions",
        "/V1/chat/completions",
        "/page/../../../etc/passwd",
        "/page/%2e%2e/%2e%2e/gateway.py",
        "/page/..%2f..%2fgateway.py",
        "/page/....//gateway.py",
        "/page/%00",
        "/v1/models/..%2f..%2fetc%2fpasswd",
        "/%ff%fe",
        "/" + "x" * 5000,
        "/slots",
        "/props",
        "/v1/chat/completions/input_tokens",
    ],
    ids=lambda path: path[:40],
)
def test_a_path_that_is_none_is_not_found(served, path):
    for method in ("GET", "POST"):
        answer = raw(served, request(good() if method == "POST" else b"", method, path))
        assert status(answer) in (307, 400, 404, 405), answer[:200]
        assert b"class Gateway" not in answer and b"root:" not in answer


def test_a_flood_of_headers_is_refused(served):
    many = "".join(f"X-{n}: y\r\n" for n in range(2000)).encode()
    long = b"X: " + b"y" * 200_000 + b"\r\n"
    for flood in (many, long):
        head = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        answer = raw(served, head + flood + b"\r\n")
        assert answer == b"" or status(answer) in (400, 431)


BROKEN = {
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
    "no host": b"GET /health HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n",
    "a foreign host": b"GET /health HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    "two lengths": request(good(), X=None).replace(b"\r\n\r\n", b"\r\nContent-Length: 3\r\n\r\n", 1),
    "a negative length": request(good(), length=-1),
    "a length in words": request(good(), length="ten"),
    "length and chunks": request(b"0\r\n\r\n", Transfer_Encoding="chunked", length=999),
    "broken chunks": request(b"zz\r\nxx\r\n", Transfer_Encoding="chunked", Content_Length=None),
    "a folded header": b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX: a\r\n b\x00\r\n\r\n",
    "HTTP/2 upgrade": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


@pytest.mark.parametrize("bytes_", BROKEN.values(), ids=BROKEN)
def test_broken_http_is_refused(served, bytes_):
    answer = raw(served, bytes_, ends=True)
    assert answer == b"" or status(answer) in CLIENT_FAULTS, answer[:200]


def test_http_1_0_is_answered_and_closed(served):
    answer = raw(served, request(good(), version="1.0"))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert status(answer) == 200 and b"chunked" not in head.lower()
    assert json.loads(body)["object"] == "chat.completion"
    streamed = raw(served, request(good(stream=True), version="1.0"))
    assert streamed.endswith(b"data: [DONE]\n\n")
    refusal = raw(served, request(good(model="nobody"), version="1.0"))
    assert status(refusal) == 404 and json.loads(refusal.partition(b"\r\n\r\n")[2])["error"]


def test_pipelined_requests_are_answered_in_order(served):
    first = request(good(), Connection="keep-alive")
    health = request(b"", "GET", "/health", Connection="keep-alive", Content_Type=None)
    last = request(good(model="nobody"))
    with connect(served) as connection:
        connection.sendall(first + health + last)
        answer = said(connection)
    assert answer.count(b"HTTP/1.1 ") == 3
    places = [answer.index(word) for word in (b"chat.completion", b'{"status":"ok"}', b"nobody")]
    assert places == sorted(places)


@pytest.mark.parametrize("path", [PATH, "/v1/messages", "/api/chat", "/api/show"])
def test_a_client_that_leaves_amid_its_body_leaves_nothing_behind(served, path):
    for cut in (0, 1, len(good()) // 2):
        with connect(served) as connection:
            connection.sendall(request(good()[:cut], path=path, length=len(good())))
    before = served.status()["now"]
    queue = served.until(lambda status: status["now"] > before and not status["queue"]["running"])["queue"]
    assert queue["waiting"] == 0


def test_a_slow_body_holds_up_nobody(served):
    with connect(served) as slow:
        slow.sendall(request(good()[:10], length=len(good())))
        assert post(served, good()).status_code == 200
        slow.sendall(good()[10:])
        assert status(said(slow)) == 200
