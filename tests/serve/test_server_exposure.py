"""A server that others can reach asks for a key."""

import pytest

from sixgig.errors import UsageError
from sixgig.settings import Settings, check_exposure
from tests.serve.fixed_keys import fixed_key

DIGEST = fixed_key("one")[1]


def exposed(**server: object) -> Settings:
    return Settings.model_validate({"server": server})


@pytest.mark.parametrize(
    "server",
    [
        {"host": host}
        for host in ("0.0.0.0", "::", "192.168.1.5", "box.lan", "localhost.example.org", "::ffff:0.0.0.0")
    ]
    + [{"allowed_hosts": ["*"]}, {"allowed_origins": ["*"]}],
)
def test_a_server_open_to_others_needs_a_key(server: dict[str, object]) -> None:
    with pytest.raises(
        UsageError, match=r"no key is configured; make a key with sixgig serve --new-key NAME"
    ):
        check_exposure(exposed(**server))
    keys = [{"name": "a", "sha256": DIGEST}]
    check_exposure(Settings.model_validate({"server": server, "keys": keys}))


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.8.9.1", "::1", "[::1]", "localhost", "LOCALHOST", "::ffff:127.0.0.1"]
)
def test_a_server_for_this_machine_alone_needs_none(host: str) -> None:
    check_exposure(exposed(host=host))
