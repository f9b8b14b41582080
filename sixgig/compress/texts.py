"""The texts of a shrinking run: what it calibrates on, what it searches on, what it is judged on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sixgig.errors import UsageError
from sixgig.evaluate import overlap

SEPARATOR = "<|endoftext|>"
BLOCK_CHARACTERS = 4096
MOST_SHARED = 0.02
# Of every eight blocks the fourth is searched on and the last judged on, so that each part has every domain.
_CYCLE, _SEARCH, _HELD_OUT = 8, 3, 7


@dataclass(frozen=True)
class Texts:
    """Three texts without a passage in common."""

    calibration: str
    search: str
    held_out: str


def divide(text: str, held_out: str | None) -> Texts:
    """`text` in blocks of whole paragraphs, dealt out to the three uses; all but judging where `held_out`
    is given.

    Raises UsageError when the parts share passages: a model must not be judged on what shaped it.
    """
    blocks = list(_blocks(text))
    if len(blocks) < _CYCLE:
        numbers = (
            f"{len(text)} characters give {len(blocks)} passages, {_CYCLE} needed; "
            f"one has {BLOCK_CHARACTERS} characters or more and ends with an empty line"
        )
        raise UsageError("the calibration text is too short", numbers, "name a longer one with --text")
    parts: dict[str, list[str]] = {"calibration": [], "search": [], "held_out": []}
    for number, block in enumerate(blocks):
        parts[_use(number, held_out is not None)].append(block)
    texts = Texts(
        "".join(parts["calibration"]), "".join(parts["search"]), held_out or "".join(parts["held_out"])
    )
    _require_apart(texts)
    return texts


def _use(number: int, judged_elsewhere: bool) -> str:
    if number % _CYCLE == _SEARCH:
        return "search"
    return "held_out" if number % _CYCLE == _HELD_OUT and not judged_elsewhere else "calibration"


def _blocks(text: str) -> Iterator[str]:
    """Pieces of at least BLOCK_CHARACTERS that end with a paragraph; together they are the text."""
    text = text.replace(SEPARATOR, "\n\n")
    start = 0
    while start < len(text):
        end = text.find("\n\n", start + BLOCK_CHARACTERS)
        end = len(text) if end < 0 else end + 2
        yield text[start:end]
        start = end


def _require_apart(texts: Texts) -> None:
    """Licences and headings recur in texts of one kind: so much in common is let pass."""
    shared = overlap(texts.calibration + texts.search, texts.held_out)
    if shared.share > MOST_SHARED:
        raise UsageError(
            "the text to judge on is part of the calibration text",
            f'{shared.share:.0%} of its words, such as "{shared.example[:80]}"',
            "name another file with --held-out",
        )
