"""One grammar made and tried as the engine would, in a process that may end of it."""

from __future__ import annotations

import json
import random
import resource
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from sixgig.errors import UsageError
from sixgig.grammars.bounds import impossible_grammar, impossible_schema, without_token_names
from sixgig.llamacpp.grammars import Class, Grammar, GrammarCode

# Measured on the engine (bench/serving/grammars.py): 128 tools take 1.2 MB and 11 ms.
MOST_BYTES, MOST_CPU_S = 16 << 20, 2
MOST_S = 10.0  # by the clock: what waits for a lock that its own end left takes no processor
COMPILING_S = 0.5  # of these, while the engine answers nobody else
MOST_STACKS = 4096
_STEPS, _MORE_STEPS, _MANY, _LOOKED_AT = 40, 200, 64, 24  # more where a text can be read in many ways by then
_TOKENS = 24
# Vocabularies have tokens of many equal characters and another, which a grammar may split in countless ways
# before it turns them down.
_LONG, _TRIED, _LAST = 48, 2, (0x01, 0x22, 0x20, 0x7A)
_BLANKS, _OPENING = frozenset(b" \t\r\n"), frozenset(b"[{(<")
_LLGUIDANCE = "%llguidance"
_TOO_MUCH = "the grammar is too much for the engine"

Kind = Literal["schema", "tool", "constraint", "grammar"]


@dataclass(frozen=True)
class Item:
    """name: the field it stands in. kind: a JSON schema as the engine takes it for a chat, of a tool, or for
    a completion ("constraint"); or a grammar as text.
    """

    name: str
    kind: Kind
    content: Any


def parts(item: Item) -> list[Item]:
    """A tool's properties one by one: some templates ask for each by itself, without the rest."""
    schema = item.content
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if item.kind != "tool" or not isinstance(properties, dict):
        return []
    shared = {name: schema[name] for name in ("$defs", "definitions") if name in schema}
    return [
        Item(item.name, "schema", {**shared, **inner})
        for inner in properties.values()
        if isinstance(inner, dict)
    ]


def limit(more_bytes: int = MOST_BYTES) -> None:
    """From here on this process may grow by so much, and take MOST_CPU_S and MOST_S; more ends it."""
    with open("/proc/self/statm", encoding="ascii") as file:
        size_bytes = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size_bytes + more_bytes, size_bytes + more_bytes))
    used_s = int(resource.getrusage(resource.RUSAGE_SELF).ru_utime)
    resource.setrlimit(resource.RLIMIT_CPU, (used_s + MOST_CPU_S, used_s + MOST_CPU_S))
    signal.setitimer(signal.ITIMER_REAL, MOST_S)


def try_item(item: Item, code: GrammarCode, vocabulary: tuple[int, int] | None) -> None:
    """Raises UsageError for what is refused; ends the process where the engine's own code would.

    vocabulary: a model's, and its number of tokens, for what is tried token by token.
    """
    _require_possible(item)
    if item.kind in ("schema", "tool"):
        grammar = code.grammar_of(json.dumps(item.content).encode())
    elif item.kind == "constraint":
        grammar = f"{_LLGUIDANCE} {{}}\nstart: %json {json.dumps(item.content)}".encode()
    else:
        grammar = without_token_names(item.content).encode("utf-8", "replace")
    signal.setitimer(signal.ITIMER_PROF, COMPILING_S)
    if grammar.startswith(_LLGUIDANCE.encode()):
        assert vocabulary is not None
        _walk_tokens(item, code, vocabulary, grammar)
    else:
        for choose in (_deepest, _commonest, random.Random(0).choice):
            _walk(item, code.compile(grammar), choose)
    signal.setitimer(signal.ITIMER_PROF, 0)


def needs_vocabulary(item: Item) -> bool:
    """Whether the engine hands it to llguidance."""
    return item.kind == "constraint" or (item.kind == "grammar" and item.content.startswith(_LLGUIDANCE))


def _require_possible(item: Item) -> None:
    if item.kind != "grammar":
        why = impossible_schema(item.content)
    else:
        why = None if needs_vocabulary(item) else impossible_grammar(item.content)
    if why:
        raise UsageError(f"nothing can match {item.name}", why, "correct the bounds")


def _walk(item: Item, grammar: Grammar | None, choose: Callable[[list[int]], int]) -> None:
    """Read a text that the grammar allows; choose: of characters that may be next, the likeliest first."""
    if grammar is None:
        return
    for step in range(_MORE_STEPS):
        if grammar.n_stacks > MOST_STACKS:
            numbers = f"{item.name} can be read in more than {MOST_STACKS} ways at once"
            raise UsageError(_TOO_MUCH, numbers, "let alternatives differ at their beginning")
        offers = _offers(grammar)
        if step < _STEPS and grammar.n_stacks < _MANY:
            for character in offers[:_TRIED]:
                for last in _LAST:
                    grammar.try_token([character] * _LONG + [last])
        if not offers or (step >= _STEPS and grammar.n_stacks < _MANY):
            break
        grammar.accept(choose(offers))
    grammar.free()


def _deepest(offers: list[int]) -> int:
    return next((character for character in offers if character in _OPENING), offers[0])


def _commonest(offers: list[int]) -> int:
    return offers[0]


def _offers(grammar: Grammar) -> list[int]:
    """Characters that may be next, by the number of ways; blanks last, of which there may always be more."""
    classes = [(grammar.characters(at), n) for at, n in grammar.expected().most_common(_LOOKED_AT)]
    weights = {character: _weight(character, classes) for one, _ in classes for character in _samples(one)}
    return sorted(weights, key=lambda character: (character in _BLANKS, -weights[character]))


def _walk_tokens(item: Item, code: GrammarCode, vocabulary: tuple[int, int], text: bytes) -> None:
    grammar, chance = code.llguidance(*vocabulary, text), random.Random(0)
    for _ in range(_TOKENS):
        tokens = [] if grammar.given_up else grammar.allowed()
        if grammar.given_up:
            cure = "make it simpler, or send it to a chat"
            raise UsageError(f"the engine cannot follow {item.name}", "it would answer without it", cure)
        if not tokens:
            return
        grammar.accept(chance.choice(tokens))


def _samples(one: Class) -> list[int]:
    """A character of each range; of what excludes some, a few that are not among them."""
    positive, ranges = one
    if positive:
        return [low for low, _ in ranges[:4]]
    return [c for c in (0x61, 0x20, 0x5B, 0x30) if not any(low <= c <= high for low, high in ranges)][:2]


def _weight(character: int, classes: list[tuple[Class, int]]) -> int:
    return sum(
        n
        for (positive, ranges), n in classes
        if any(low <= character <= high for low, high in ranges) is positive
    )
