"""Web pages: none but the server's own and those of allowed origins can use it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send

from sixgig.settings.origins import parse_origin
from tests.serve.guarded import HERE, JSON, SECRET, ask


@pytest.mark.parametrize(
    "origin",
    [
        *(
            "http://evil.example",
            "https://evil.example",
            "null",
            "http://localhost",
            "http://localhost:3000",
            "file://",
            "*",
        ),
        *(
            "https://127.0.0.1",
            "http://127.0.0.1",
            "http://127.0.0.1:8334",
            "http://127.0.0.1:8333@evil.example",
        ),
        *("http://127.0.0.1:8333/", "http://127.0.0.1:8333.evil.example", "http://user@127.0.0.1:8333"),
        *("http:127.0.0.1", "ftp://127.0.0.1:8333", "http://[::1]:8333", "http://localhost:8333"),
        *("", "http://127.0.0.1:8333 ", "http://127.0.0.1:8333, http://evil.example", "app://abc"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_pages_of_other_origins_are_refused_without_a_word_of_cors(origin: str, method: str) -> None:
    reply = ask(HERE, JSON, ("origin", origin), ("access-control-request-method", "POST"), method=method)
    assert (reply.status, reply.reached) == (403, False)
    assert not [name for name, _ in reply.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("127.0.0.1:8333", "http://127.0.0.1:8333"),
        ("LOCALHOST:8333", "http://localhost:8333"),
        ("[::1]:8333", "http://[::1]:8333"),
        ("localhost", "http://localhost"),
        ("localhost:80", "http://localhost"),
        ("localhost", "https://localhost"),
    ],
)
def test_the_servers_own_pages_may_ask(host: str, origin: str) -> None:
    reply = ask(("host", host), ("origin", origin), ("sec-fetch-site", "same-origin"), JSON, method="POST")
    assert reply.status == 200
    assert reply.header("access-control-allow-origin") is None


def test_two_origins_are_refused_even_if_one_is_ours() -> None:
    ours, theirs = ("origin", "http://127.0.0.1:8333"), ("origin", "http://evil.example")
    for pair in ([ours, theirs], [theirs, ours], [ours, ours]):
        assert ask(HERE, *pair).status == 403


def test_a_rebound_page_is_not_its_own_origin() -> None:
    reply = ask(("host", "evil.example:8333"), ("origin", "http://evil.example:8333"))
    assert (reply.status, reply.reached) == (421, False)


@pytest.mark.parametrize("site", ["cross-site", "same-site", "CROSS-SITE", "", "same-origin, none", "else"])
@pytest.mark.parametrize("mode", ["no-cors", "cors", "navigate", ""])
def test_what_a_page_embeds_is_refused_though_it_has_no_origin(site: str, mode: str) -> None:
    reply = ask(
        HERE, ("sec-fetch-site", site), ("sec-fetch-mode", mode), ("sec-fetch-dest", "iframe"), path="/"
    )
    assert (reply.status, reply.reached) == (403, False)


@pytest.mark.parametrize("site", ["none", "same-origin"])
def test_what_a_person_opens_is_let_in(site: str) -> None:
    assert ask(HERE, ("sec-fetch-site", site), path="/").status == 200


def test_a_link_that_someone_follows_is_let_in() -> None:
    fetched = ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")
    assert ask(HERE, *fetched, path="/").status == 200


ALLOWED = ["https://chat.example.org", "http://localhost:3000", "chrome-extension://abcdef"]


@pytest.mark.parametrize("origin", ALLOWED)
def test_an_allowed_origin_may_read_answers_and_errors(origin: str) -> None:
    for secret, status in ((SECRET, 200), (None, 401)):
        reply = ask(
            HERE, ("origin", origin), ("sec-fetch-site", "cross-site"), secret=secret, allowed_origins=ALLOWED
        )
        assert reply.status == status
        assert reply.header("access-control-allow-origin") == origin
        assert reply.header("vary") == "Origin"
        assert reply.header("access-control-allow-credentials") is None


def test_where_origins_are_allowed_every_response_varies() -> None:
    for origin in ([], [("origin", "http://evil.example")]):
        reply = ask(HERE, *origin, allowed_origins=ALLOWED)
        assert reply.header("vary") == "Origin"
        assert reply.header("access-control-allow-origin") is None


@pytest.mark.parametrize(
    "origin", ["https://chat.example.org:8443", "http://chat.example.org", "http://localhost:3001"]
)
def test_an_origin_is_allowed_with_its_own_scheme_and_port_only(origin: str) -> None:
    assert ask(HERE, ("origin", origin), allowed_origins=ALLOWED).status == 403


def test_a_star_allows_any_origin_without_naming_it() -> None:
    for origin in ("http://evil.example", "null"):
        reply = ask(HERE, ("origin", origin), allowed_origins=["*"])
        assert (reply.status, reply.header("access-control-allow-origin")) == (200, "*")


def test_a_preflight_of_an_allowed_origin_needs_no_key_and_ends_here() -> None:
    asked = (
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,x-stainless-os"),
    )
    private = ("access-control-request-private-network", "true")
    reply = ask(
        HERE, ("origin", ALLOWED[0]), *asked, private, method="OPTIONS", secret=None, allowed_origins=ALLOWED
    )
    assert (reply.status, reply.body, reply.reached) == (204, b"", False)
    assert reply.header("access-control-allow-origin") == ALLOWED[0]
    assert "POST" in str(reply.header("access-control-allow-methods"))
    assert reply.header("access-control-allow-headers") == "authorization,x-stainless-os"
    assert reply.header("access-control-allow-private-network") == "true"


def test_a_preflight_from_no_page_is_granted_nothing() -> None:
    asked = ("access-control-request-method", "POST"), ("access-control-request-headers", "authorization")
    for own in ([], [("origin", "http://127.0.0.1:8333")]):
        reply = ask(HERE, *own, *asked, method="OPTIONS")
        assert (reply.status, reply.headers, reply.reached) == (204, [], False)


@pytest.mark.parametrize("names", ["a\r\nset-cookie: x", "*", "a b", "a;b", "\xe4"])
def test_a_preflight_repeats_header_names_only(names: str) -> None:
    asked = ("access-control-request-method", "POST"), ("access-control-request-headers", names)
    reply = ask(HERE, ("origin", ALLOWED[0]), *asked, method="OPTIONS", allowed_origins=ALLOWED)
    assert reply.header("access-control-allow-headers") is None


def test_what_the_engine_says_about_origins_is_not_passed_on() -> None:
    async def engine(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"Access-Control-Allow-Origin", b"*"), (b"access-control-allow-credentials", b"true")]
        await send({"type": "http.response.start", "status": 200, "headers": [*headers, (b"x-inner", b"1")]})
        await send({"type": "http.response.body"})

    assert ask(HERE, inner=engine).headers == [("x-inner", "1")]


NAMES = st.sampled_from(
    ["localhost", "127.0.0.1", "[::1]", "evil.example", "chat.example.org", "null", "@", "."]
)
PORTS = st.sampled_from(["", ":8333", ":80", ":443", ":3000", ":", ":99999"])
SITES = st.sampled_from([None, "none", "same-origin", "same-site", "cross-site"])
HOSTS = st.builds("".join, st.tuples(NAMES, PORTS)) | st.text(st.characters(max_codepoint=255), max_size=20)
ORIGINS = st.builds("".join, st.tuples(st.sampled_from(["http://", "https://", "x://", ""]), NAMES, PORTS))


@given(
    st.lists(HOSTS, max_size=2),
    st.lists(ORIGINS | HOSTS, max_size=2),
    SITES,
    st.sampled_from(["GET", "POST"]),
)
def test_no_other_host_and_origin_reach_the_application(
    hosts: list[str], origins: list[str], site: str | None, method: str
) -> None:
    """The rule, told a second time: one loopback host, and no origin but that host's or ALLOWED."""
    sent = [("host", host) for host in hosts] + [("origin", origin) for origin in origins]
    fetched = [] if site is None else [("sec-fetch-site", site)]
    reply = ask(*sent, *fetched, JSON, method=method, allowed_origins=ALLOWED)
    host = hosts[0].lower() if hosts else ""
    bare = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    known = len(hosts) == 1 and bare in ("localhost", "127.0.0.1", "[::1]")
    own = [f"http://{host.removesuffix(':80')}", f"https://{host.removesuffix(':443')}"]
    own += [f"http://{host}", f"https://{host}"]
    if reply.reached:
        assert known
        assert len(origins) < 2
        if origins:
            assert str(parse_origin(origins[0])) in [str(parse_origin(o)) for o in (*own, *ALLOWED)]
        else:
            assert site in (None, "none", "same-origin")
    else:
        assert reply.status in (400, 403, 421)
