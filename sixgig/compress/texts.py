"""The texts of a shrinking run: what it calibrates on, what it searches on, what it is judged on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sixgig.errors import UsageError
from sixgig.evaluate import Rest, rest
from sixgig.units import counted

SEPARATOR = "<|endoftext|>"
BLOCK_CHARACTERS = 4096
ADVISED_CHARACTERS = 200_000  # of text to calibrate and search on
FEWEST_CHARACTERS = BLOCK_CHARACTERS // 2  # of a part that lost what it had in common: about one window
# Of every eight blocks the fourth is searched on and the last judged on, so that each part has every domain.
_CYCLE, _SEARCH, _HELD_OUT = 8, 3, 7


@dataclass(frozen=True)
class Texts:
    """Three texts without a passage in common. notices: what the user should know of them."""

    calibration: str
    search: str
    held_out: str
    notices: tuple[str, ...] = ()


def divide(text: str, held_out: str | None) -> Texts:
    """`text` in blocks of whole paragraphs, dealt out to the three uses; all but judging where `held_out`
    is given.

    What the text to search on shares with that to calibrate on, and the text to judge on with either, is
    taken out of the former: real text repeats itself, and a model must not be judged on what shaped it.
    Raises UsageError where too little is left.
    """
    blocks = list(_blocks(text))
    if len(blocks) < _CYCLE:
        numbers = (
            f"{len(text)} characters give {counted(len(blocks), 'passage')}, {_CYCLE} needed; "
            f"one has {BLOCK_CHARACTERS} characters or more and ends with an empty line"
        )
        raise UsageError("the calibration text is too short", numbers, "name a longer one with --text")
    parts: dict[str, list[str]] = {"calibration": [], "search": [], "held_out": []}
    for number, block in enumerate(blocks):
        parts[_use(number, held_out is not None)].append(block)
    calibration = "".join(parts["calibration"])
    search = rest(calibration, "".join(parts["search"]))
    _require_enough("search", search, "name one that repeats itself less with --text")
    judged = rest(calibration + search.text, "".join(parts["held_out"]) if held_out is None else held_out)
    _require_enough("judge", judged, "name another file with --held-out")
    notices = (_advice(text), _dropped("search", search), _dropped("judge", judged))
    return Texts(calibration, search.text, judged.text, tuple(filter(None, notices)))


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


def _require_enough(use: str, found: Rest, cure: str) -> None:
    """UsageError where what was taken out leaves too little."""
    if not found.n_dropped or len(found.text) >= FEWEST_CHARACTERS:
        return
    numbers = (
        f"{found.n_dropped} of its {found.n_words} words in {counted(found.n_passages, 'passage')}, such as "
        f'"{found.example[:80]}"; {len(found.text)} characters are left, {FEWEST_CHARACTERS} needed'
    )
    raise UsageError(f"the text to {use} on is part of the calibration text", numbers, cure)


def _dropped(use: str, found: Rest) -> str:
    """What was taken out of a part, "" where nothing was."""
    if not found.n_dropped:
        return ""
    return (
        f"left out of the text to {use} on: {found.n_dropped} of its {found.n_words} words "
        f"({found.n_dropped / found.n_words:.1%}), {counted(found.n_passages, 'passage')} of the "
        f'calibration text, such as "{found.example[:60]}"'
    )


def _advice(text: str) -> str:
    """A warning where the text is shorter than advised, else ""."""
    if len(text) >= ADVISED_CHARACTERS:
        return ""
    return (
        f"warning: the calibration text has {len(text)} characters, {ADVISED_CHARACTERS} or more are "
        "advised: what matters in the model is seen on too little of it"
    )
