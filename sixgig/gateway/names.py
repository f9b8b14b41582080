"""Which model a name asks for: one that is here, an alias of it, or neither. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping

from sixgig.errors import UsageError
from sixgig.ledger.entry import MOST_CHARACTERS

LATEST = ":latest"


class Names:
    """models: those here. aliases: further names of them, with * and ? as in file names; the first that fits
    counts. elsewhere: names of upstreams' models, taken as they are.
    """

    def __init__(self, models: Iterable[str], aliases: Mapping[str, str], elsewhere: Iterable[str]) -> None:
        self._models, self._elsewhere = dict.fromkeys(models), frozenset(elsewhere)
        self._aliases = dict(aliases)
        self._patterns = [(_pattern(alias), model) for alias, model in aliases.items()]

    def required(self, asked: object) -> str:
        """As resolve(), of what a request's field holds; with a single model here it need not be named.

        Raises UsageError for what is no name.
        """
        if asked is None and len(self._models) == 1:
            return next(iter(self._models))
        if isinstance(asked, str) and len(asked) > MOST_CHARACTERS:
            numbers = f"{len(asked)} characters, {MOST_CHARACTERS} possible"
            raise UsageError(
                "the model's name is too long", numbers, "GET /v1/models lists those that are here"
            )
        if not isinstance(asked, str) or not asked:
            known = ", ".join(self._models) or "none"
            raise UsageError("the request names no model", f"here are: {known}", 'give "model" a name')
        return self.resolve(asked)

    def resolve(self, asked: str) -> str:
        """The model here that is meant; the name without ":latest", which Ollama's clients append, for any
        other. It counts for nothing in aliases, and Unicode's two spellings of a letter are one.
        """
        asked = unicodedata.normalize("NFC", asked)
        bare = asked.removesuffix(LATEST)
        for name in (asked, bare):
            if name in self._models:
                return name
        for name in (asked, bare):
            if name in self._elsewhere:
                return name
            for pattern, model in self._patterns:
                if pattern.fullmatch(name):
                    return model
        return bare or asked

    @property
    def listed(self) -> dict[str, str]:
        """The aliases that are names, each with its model here; patterns are none."""
        return {a: model for a, model in self._aliases.items() if not is_pattern(a) and model in self._models}


def is_pattern(alias: str) -> bool:
    """Whether it stands for more than one name."""
    return "*" in alias or "?" in alias


def _pattern(alias: str) -> re.Pattern[str]:
    """Brackets stand for themselves: names such as "sonnet[1m]" have them."""
    return re.compile(re.escape(alias).replace(r"\*", ".*").replace(r"\?", "."), re.DOTALL)
