"""What an engine would make a grammar of, found in a request, and tried once before an engine sees it."""

from __future__ import annotations

import asyncio
import hashlib
import marshal
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

from sixgig.errors import UsageError
from sixgig.grammars.checker import Checker
from sixgig.grammars.child import Refusal
from sixgig.grammars.trial import Item, Kind

MOST_KEPT = 4096  # verdicts: 200 bytes each
# Where the engine reads a schema for a chat, it makes rules of it; for the others it asks llguidance.
_COMPLETIONS = ("/v1/completions", "/infill")
Fields = dict[str, Any]


class GrammarGate:
    """require() that what a request brings may be read by an engine; verdicts are kept.

    A request without grammar, schema or tools passes without waiting for anything.
    """

    def __init__(self, checker: Checker) -> None:
        self._checker = checker
        self._verdicts: OrderedDict[bytes, Refusal | None] = OrderedDict()
        self._asked: dict[bytes, asyncio.Task[Refusal | None]] = {}

    async def require(self, path: str, fields: Fields) -> None:
        """Raises UsageError for what would take an engine too long or too much, or what nothing can match."""
        items = list(grammars_in(path, fields))
        if not items:
            return
        digest = _digest(items)
        if digest in self._verdicts:
            self._verdicts.move_to_end(digest)
            refused = self._verdicts[digest]
        else:
            refused = await self._tried(digest, items)
        if refused is not None:
            raise UsageError(*refused)

    async def close(self) -> None:
        """Nothing is tried any more."""
        await self._checker.close()

    async def _tried(self, digest: bytes, items: list[Item]) -> Refusal | None:
        """Once, however many requests bring the same; who gives up waiting leaves it to the others."""
        task = self._asked.get(digest)
        if task is None:
            task = self._asked[digest] = asyncio.create_task(self._checker.try_out(items))
            task.add_done_callback(lambda done: self._keep(digest, done))
        return await asyncio.shield(task)

    def _keep(self, digest: bytes, done: asyncio.Task[Refusal | None]) -> None:
        del self._asked[digest]
        if not done.cancelled() and done.exception() is None:
            self._verdicts[digest] = done.result()
            if len(self._verdicts) > MOST_KEPT:
                self._verdicts.popitem(last=False)


def grammars_in(path: str, fields: Fields) -> Iterator[Item]:
    """In every API's own place; what is of another type than it should be is the engine's to refuse."""
    schema: Kind = "constraint" if path in _COMPLETIONS else "schema"
    if isinstance(fields.get("grammar"), str) and fields["grammar"]:
        yield Item("grammar", "grammar", fields["grammar"])
    if fields.get("json_schema") is not None:
        yield Item("json_schema", schema, fields["json_schema"])
    for name, form in _formats(fields):
        for holder in (form, form.get("json_schema")):
            if isinstance(holder, dict) and isinstance(holder.get("schema"), dict):
                yield Item(name, schema, holder["schema"])
    tools = fields.get("tools")
    for tool in tools if isinstance(tools, list) else ():
        if isinstance(tool, dict):
            function = tool.get("function")
            given = function if isinstance(function, dict) else tool
            for name in ("parameters", "input_schema"):
                if isinstance(given.get(name), dict):
                    yield Item("tools", "tool", given[name])


def _formats(fields: Fields) -> Iterator[tuple[str, Fields]]:
    for name in ("response_format", "text", "output_config", "output_format"):
        form = fields.get(name)
        if isinstance(form, dict):
            inner = form.get("format")
            yield name, inner if isinstance(inner, dict) else form


def _digest(items: list[Item]) -> bytes:
    try:
        text = marshal.dumps([(item.name, item.kind, item.content) for item in items], 2)
    except ValueError as error:
        raise UsageError("the schema is nested too deeply", str(error), "make it flatter") from error
    return hashlib.sha256(text).digest()
