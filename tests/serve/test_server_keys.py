"""API keys: only the secret itself opens, and it is not kept."""

import hmac
import tomllib
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sixgig.cli.serve import print_key
from sixgig.errors import UsageError
from sixgig.server.keys import Keyring, new_key
from sixgig.settings import KeySettings
from tests.serve.fixed_keys import fixed_key

PAIRS = [fixed_key(name) for name in ("one", "two", "three")]
KEYS = [KeySettings(name=f"key{number}", sha256=digest) for number, (_, digest) in enumerate(PAIRS)]


def test_a_new_key_is_random_long_and_recognisable() -> None:
    secret, digest = new_key()
    assert secret.startswith("sg-") and len(secret) == 3 + 43  # 32 bytes in base64 without padding
    assert digest == sha256(secret.encode()).hexdigest()
    assert len({new_key()[0] for _ in range(100)}) == 100


@pytest.mark.parametrize("number", range(3))
def test_a_secret_finds_its_own_key(number: int) -> None:
    assert Keyring(KEYS).find(PAIRS[number][0]) is KEYS[number]


@pytest.mark.parametrize(
    "secret",
    [None, "", " ", PAIRS[0][1], PAIRS[0][0][:-1], PAIRS[0][0] + " ", PAIRS[0][0].upper(), "é\ud800"],
)
def test_anything_else_finds_none(secret: str | None) -> None:
    assert Keyring(KEYS).find(secret) is None


def test_the_digest_of_nothing_opens_nothing() -> None:
    nothing = KeySettings(name="empty", sha256=sha256(b"").hexdigest())
    assert Keyring([nothing]).find("") is None
    assert Keyring([nothing]).find(None) is None


@given(st.text())
def test_no_text_opens_by_chance(secret: str) -> None:
    assert Keyring(KEYS).find(secret) is None


def test_every_key_is_compared_wherever_the_right_one_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []

    def counting(known: bytes, digest: bytes) -> bool:
        compared.append(known)
        return known == digest

    ring = Keyring(KEYS)
    monkeypatch.setattr(hmac, "compare_digest", counting)
    for secret in (PAIRS[0][0], PAIRS[2][0], "wrong", None):
        compared.clear()
        ring.find(secret)
        assert compared == [bytes.fromhex(key.sha256) for key in KEYS]


def test_a_ring_is_false_without_keys_only() -> None:
    assert not Keyring()
    assert Keyring(KEYS[:1])


@pytest.mark.parametrize("name", ["", 'a"b', "a b", "a" * 65, "a\nb"])
def test_a_key_gets_no_name_that_the_configuration_would_refuse(name: str) -> None:
    with pytest.raises(UsageError, match="a key cannot be called"):
        print_key(name)


def test_a_new_key_is_what_the_configuration_takes(capsys: pytest.CaptureFixture[str]) -> None:
    print_key("alice")
    secret, section = capsys.readouterr()
    (key,) = tomllib.loads(section[section.index("[[keys]]") :])["keys"]
    assert Keyring([KeySettings(**key)]).find(secret.strip()) is not None
