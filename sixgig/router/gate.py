"""The privacy gate: the only place that lets a request leave this machine.

What sends a request upstream asks for its `Permit`; only a `Gate` issues one. Whatever is unclear is private.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from posixpath import normpath
from typing import Never, final
from urllib.parse import unquote
from weakref import WeakKeyDictionary

HEADER = "x-sixgig-private"
_PRIVATE, _OPEN = ("true", "1", "yes", "on"), ("false", "0", "no", "off")
_TOKEN = object()


@dataclass(frozen=True)
class Private:
    """Stands where there is no permit, and says why."""

    reason: str


@final
class Permit:
    """That one request may leave. Which one is known to this module only, so a copy permits nothing."""

    __slots__ = ("__weakref__",)

    def __init__(self, token: object, request_id: str) -> None:
        if token is not _TOKEN:
            raise TypeError("a permit is issued by a Gate only")
        _issued[self] = request_id

    def __init_subclass__(cls) -> Never:
        raise TypeError("a permit has no subclasses")


_issued: WeakKeyDictionary[Permit, str] = WeakKeyDictionary()


def is_permitted(permit: object, request_id: str) -> bool:
    """Did a gate issue this very object for this request?"""
    return type(permit) is Permit and permit in _issued and _issued[permit] == request_id


@dataclass(frozen=True)
class Gate:
    """The owner's marks. private_models: names, or patterns as in file names. keys: every key's name, and
    whether it is private; empty where the server asks for none.
    """

    private_by_default: bool
    private_models: frozenset[str]
    keys: Mapping[str, bool]

    def check(
        self, request_id: str, models: Sequence[str], key: str | None, header: Sequence[str]
    ) -> Permit | Private:
        """A permit, or why the request is private. Never raises an Exception.

        request_id: the server's own, never a client's. models: every name the request's model goes by, as
        asked and as resolved. key: the name of the key it came with. header: all values of HEADER.
        """
        try:
            reason = self._reason(models, key, header)
            return Private(reason) if reason else Permit(_TOKEN, request_id)
        except Exception as error:
            return Private(f"the privacy gate failed ({type(error).__name__})")

    def _reason(self, models: Sequence[str], key: str | None, header: Sequence[str]) -> str | None:
        wish = _wish(header)
        if wish == "private":
            return f"the request's {HEADER} says so, or says nothing clear"
        if self.private_by_default is not False and wish != "open":
            return "the owner marked every request private"
        return self._model_reason(models) or self._key_reason(key)

    def _model_reason(self, models: Sequence[str]) -> str | None:
        if isinstance(models, str) or not models:
            return "the request names no model"
        marks = [_folded(mark) for mark in self.private_models]
        asked = [spelling for model in models for spelling in _spellings(model)]
        if any(mark in name or fnmatchcase(name, mark) for name in asked for mark in marks):
            return "the owner marked this model private"
        return None

    def _key_reason(self, key: str | None) -> str | None:
        if key is None and not self.keys:
            return None
        if key is None or key not in self.keys:
            return "the request came with no key that the owner knows"
        return None if self.keys[key] is False else "the owner marked this key private"


def _wish(header: Sequence[str]) -> str | None:
    """ "private", "open", or None where the header is absent."""
    if not header:
        return None
    value = header[0].strip(" \t").lower() if len(header) == 1 else ""
    return "open" if value in _OPEN else "private"


def _folded(name: str) -> str:
    """Without case, spaces, invisible characters and what a client may leave out."""
    text = unicodedata.normalize("NFKC", name).casefold()
    visible = "".join(character for character in text if character.isprintable() and character != " ")
    return visible.removesuffix(":latest").removesuffix(".gguf")


@lru_cache(maxsize=256)
def _spellings(name: str) -> tuple[str, ...]:
    """Whole, without a tag, without folders before it, as a URL, as a path: however a client spells it.

    A mark anywhere in a spelling counts, so that what is only similar stays here too.
    """
    wholes = (_folded(name), _folded(unquote(name)), _folded(normpath(unquote(name))))
    spelled = [one for whole in wholes for one in (whole, _folded(whole.partition(":")[0]))]
    return (*spelled, *(one.rpartition("/")[2] for one in spelled))
