"""Hosts: the server answers for this machine's own names and for allowed ones, for no other."""

import pytest

from tests.serve.guarded import HERE, Pairs, ask


@pytest.mark.parametrize(
    "host",
    [
        *(
            "localhost",
            "localhost:8333",
            "LOCALHOST:1",
            "localhost.",
            "localhost.:8333",
            "127.0.0.1",
            "127.0.0.1:65535",
        ),
        *("127.9.8.7", "[::1]", "[::1]:8333", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]:80"),
    ],
)
def test_this_machines_own_names_are_let_in(host: str) -> None:
    assert ask(("host", host)).status == 200


@pytest.mark.parametrize(
    "host",
    [
        *(
            "evil.example",
            "evil.example:8333",
            "localhost.evil.example",
            "x.localhost",
            "127.0.0.1.evil.example",
        ),
        *(
            "127.0.0.1.nip.io",
            "192.168.1.5",
            "0.0.0.0:8333",
            "[::]",
            "[fe80::1]",
            "10.0.0.1",
            "local-host",
            "localhost_",
        ),
        *("127.1", "0x7f.1", "2130706433", "0177.0.0.1"),
    ],
)
def test_foreign_hosts_are_told_they_are_wrong_here(host: str) -> None:
    reply = ask(("host", host))
    assert (reply.status, reply.reached) == (421, False)


@pytest.mark.parametrize(
    "host",
    [
        *(
            "localhost:",
            "localhost:x",
            "localhost:0",
            "localhost:65536",
            "localhost:080000",
            "localhost:80:80",
            "[::1]:",
        ),
        *("user@localhost", "localhost@evil.example", "user:pw@localhost", "http://localhost", "\\localhost"),
        *(
            "localhost/",
            "localhost#",
            "localhost?",
            "localhost,evil.example",
            "%6cocalhost",
            "locäl",
            "*",
            "localhost:²",
        ),
        *(
            "::1",
            "[::1",
            "::1]",
            "[localhost]",
            "[127.0.0.1]",
            "[::1]evil.example",
            "[::1%25eth0]",
            "[::1%eth0]",
        ),
        *("localhost..", "localhost..evil", ".localhost", "."),
        *("", " ", "localhost evil.example", "localhost\x00", "localhost\n", "localhost\t", "a" * 300),
    ],
)
def test_what_is_no_host_is_a_bad_request(host: str) -> None:
    reply = ask(("host", host))
    assert (reply.status, reply.reached) == (400, False)


@pytest.mark.parametrize(
    "headers", [[], [HERE, HERE], [HERE, ("host", "evil.example")], [("host", ""), HERE]]
)
def test_none_or_several_hosts_are_a_bad_request(headers: Pairs) -> None:
    reply = ask(*headers)
    assert (reply.status, reply.reached) == (400, False)


@pytest.mark.parametrize(
    ("allowed", "host", "status"),
    [
        (["chat.example.org"], "CHAT.example.org:443", 200),
        (["chat.example.org"], "chat.example.org.", 200),
        (["chat.example.org"], "a.chat.example.org", 421),
        (["chat.example.org"], "xchat.example.org", 421),
        (["*.example.org"], "a.example.org", 200),
        (["*.example.org"], "a.b.example.org", 200),
        (["*.example.org"], "example.org", 421),
        (["*.example.org"], "aexample.org", 421),
        (["*.example.org"], "a.example.org.evil", 421),
        (["*"], "anything.at.all", 200),
        (["*"], "user@localhost", 400),
        (["2001:DB8::0:1"], "[2001:db8::1]:80", 200),
        (["192.168.1.5"], "192.168.1.5:8333", 200),
    ],
)
def test_allowed_hosts_are_exact_or_below(allowed: list[str], host: str, status: int) -> None:
    assert ask(("host", host), allowed_hosts=allowed).status == status


@pytest.mark.parametrize(
    ("bound", "local", "host", "status"),
    [
        ("box.lan", "192.168.1.5", "box.lan:8333", 200),
        ("0:0::5", "::5", "[::5]", 200),
        ("0.0.0.0", "192.168.1.5", "192.168.1.5:8333", 200),
        ("0.0.0.0", "192.168.1.5", "192.168.1.6:8333", 421),
        ("0.0.0.0", "192.168.1.5", "box.lan", 421),
        ("::", "::ffff:192.168.1.5", "192.168.1.5:8333", 200),
        ("::", "fe80::1%eth0", "[fe80::1]", 200),
        ("0.0.0.0", "evil.example", "evil.example", 421),
    ],
)
def test_the_host_listened_on_and_the_address_connected_to_are_let_in(
    bound: str, local: str, host: str, status: int
) -> None:
    assert ask(("host", host), host=bound, server=(local, 8333)).status == status
