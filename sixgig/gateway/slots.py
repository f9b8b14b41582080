"""Which of an engine's slots answers a call, so that no key finds another's prompt in a cache.

A slot keeps the prompt it answered last, and the engine reuses what a new prompt has in common with it:
usage and time then tell that somebody's prompt began alike. Where keys do not share, the slot is chosen here,
and one that another group had, or of which nothing is known, starts empty.
"""

from __future__ import annotations

import contextlib
import itertools
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from sixgig.engines import EngineProcess
from sixgig.errors import UsageError
from sixgig.gateway.call import Call
from sixgig.settings import KeySettings

COMPARED_BYTES = 1 << 18  # of each slot's last request: those that begin alike so far count as the same
LEAST_COMMON = 0.5  # of the shorter of two requests, for the slot of one to be worth finding for the other
_PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages")
_SEVERAL_ANSWERS = ("n", "n_cmpl")

Group = tuple[str, str]


@dataclass(eq=False)
class _Slot:
    """group: whose prompt it holds, None where that is not known. begins: that request, its first bytes."""

    number: int
    group: Group | None = None
    begins: bytes = b""
    used: int = 0
    busy: bool = False


@dataclass
class _Slots:
    """Of one engine. spread: calls under way with several answers, which take slots of its choice."""

    all: list[_Slot]
    spread: int = 0


@dataclass
class Place:
    """Where a call is answered. body: what the engine is asked."""

    body: bytes
    slot: _Slot | None = None
    group: Group = ("key", "")
    begins: bytes = field(default=b"", repr=False)

    def began(self) -> None:
        """The engine answers, so what the slot holds is this call's."""
        if self.slot is not None:
            self.slot.group, self.slot.begins = self.group, self.begins


class SlotChooser:
    """Belongs to one event loop. keys: those that name a group share it, the others share with nobody."""

    def __init__(self, keys: Iterable[KeySettings] = ()) -> None:
        self._groups: dict[str | None, Group] = {
            key.name: ("group", key.group) if key.group is not None else ("key", key.name) for key in keys
        }
        self._several = len(set(self._groups.values())) > 1
        self._engines: WeakKeyDictionary[EngineProcess, _Slots] = WeakKeyDictionary()
        self._clock = itertools.count(1)

    @contextlib.contextmanager
    def place(self, call: Call, engine: EngineProcess, n_slots: int) -> Iterator[Place]:
        """A free slot for the time of the block; Admission sees to it that no more than n_slots are taken.

        Where all keys share, the engine chooses, which knows the prompts; the body is the client's own then.
        """
        if not self._several or call.path not in _PATHS:
            yield Place(call.body)
            return
        slots = self._engines.setdefault(engine, _Slots([_Slot(number) for number in range(n_slots)]))
        group, begins = self._groups.get(call.key, ("key", "")), call.body[:COMPARED_BYTES]
        slot = _chosen(slots.all, group, begins)
        reuse = slot.group == group and not slots.spread
        body = _told(call.body, slot.number, reuse)
        spreads = any(call.fields.get(name) not in (None, 1) for name in _SEVERAL_ANSWERS)
        slot.busy, slot.group, slot.used = True, None, next(self._clock)
        try:
            with _spreading(slots, slot) if spreads else contextlib.nullcontext():
                yield Place(body, slot, group, begins)
        finally:
            slot.busy = False


def _chosen(slots: list[_Slot], group: Group, begins: bytes) -> _Slot:
    """The group's own that began most alike; else one of which nothing is known; else the longest unused."""
    free = [slot for slot in slots if not slot.busy]
    own = [slot for slot in free if slot.group == group]
    best = max(own, key=lambda slot: (_common(slot.begins, begins), -slot.used), default=None)
    if best is not None and _common(best.begins, begins) > LEAST_COMMON * min(len(best.begins), len(begins)):
        return best
    return min(free, key=lambda slot: (slot.group is not None, slot.used))


def _common(one: bytes, other: bytes) -> int:
    """Bytes with which both begin."""
    lengths = range(1, min(len(one), len(other)) + 1)
    return bisect_left(lengths, True, key=lambda length: one[:length] != other[:length])


def _told(body: bytes, number: int, reuse: bool) -> bytes:
    """The body with the slot named in it. Of a field that is there twice the last counts: these come last."""
    text = body.rstrip()
    if not text.endswith(b"}"):
        raise UsageError("the body is no JSON object in UTF-8", cure="send a JSON object in UTF-8")
    comma = b"" if text[:-1].rstrip().endswith(b"{") else b","
    cold = b"" if reuse else b',"cache_prompt":false'
    return b'%s%s"id_slot":%d%s}' % (text[:-1], comma, number, cold)


@contextlib.contextmanager
def _spreading(slots: _Slots, own: _Slot) -> Iterator[None]:
    """Several answers to one call: the engine puts the others where there is room, now or later."""
    slots.spread += 1
    try:
        yield
    finally:
        slots.spread -= 1
        for slot in slots.all:
            if slot is not own:
                slot.group = None
