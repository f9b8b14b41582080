"""API keys: made here once, known afterwards by their digests only."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from pydantic import ValidationError

from sixgig.errors import UsageError
from sixgig.settings import KeySettings

PREFIX = "sg-"
_SECRET_BYTES = 32


def new_key() -> tuple[str, str]:
    """A secret, for its owner alone, and its digest, for the configuration.

    256 random bits cannot be guessed from a digest, however fast it is computed: a slow hash protects
    passwords, and would only let strangers keep the server busy.
    """
    secret = PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
    return secret, _digest(secret).hex()


@dataclass(frozen=True)
class NewKey:
    """secret: for its user, and kept nowhere. section: for the configuration, which knows it by that."""

    secret: str
    section: str


def make_key(name: str) -> NewKey:
    """A key of this name. Raises UsageError for a name that the configuration would refuse."""
    secret, digest = new_key()
    try:
        KeySettings(name=name, sha256=digest)
    except ValidationError as error:
        why = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise UsageError(f"a key cannot be called {name[:60]!a}", why) from error
    return NewKey(secret, f'[[keys]]\nname = "{name}"\nsha256 = "{digest}"')


class Keyring:
    """The keys of the configuration; false without any, when the server asks for none."""

    def __init__(self, keys: Iterable[KeySettings] = ()) -> None:
        self._keys = [(bytes.fromhex(key.sha256), key) for key in keys]

    def __bool__(self) -> bool:
        return bool(self._keys)

    def find(self, secret: str | None) -> KeySettings | None:
        """The key with this secret. All are compared, each in constant time: its duration tells nothing."""
        found = None
        digest = _digest(secret or "")
        for known, key in self._keys:
            if hmac.compare_digest(known, digest):
                found = key
        return found if secret else None


def _digest(secret: str) -> bytes:
    return sha256(secret.encode("utf-8", "surrogatepass")).digest()
