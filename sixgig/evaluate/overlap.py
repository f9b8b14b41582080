"""What two texts share: a model must not be measured on what it was calibrated or tuned on.

Covers passages of N words or more that appear in both, whatever their case and spacing. Does not cover
paraphrases, shorter quotations, or passages that differ in a word every few lines.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray

N_WORDS = 32
GAP = "\n\n"  # what is left of a passage that was taken out
_WORD = re.compile(r"\S+")  # the words of str.split()
_PRIME = np.uint64(0x100000001B3)
_MIX = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
Numbers = NDArray[np.uint64]
Marks = NDArray[np.bool_]


@dataclass(frozen=True)
class Overlap:
    """share: of the second text's words, those inside a passage that is in the first text too, 0 to 1.

    n_words: how many that are. example: the first such passage, "" when there is none.
    """

    share: float
    n_words: int
    example: str

    def __bool__(self) -> bool:
        return self.n_words > 0


@dataclass(frozen=True)
class Rest:
    """A text without what another holds too. n_words: it had; n_dropped of them went, in n_passages.

    example: how the first passage that went begins, "" where none did.
    """

    text: str
    n_words: int
    n_dropped: int
    n_passages: int
    example: str


def overlap(first: str, second: str, n_words: int = N_WORDS) -> Overlap:
    """What of `second` stands in `first` too, in runs of `n_words` words or more.

    A text of fewer words is looked for as a whole. Takes about 80 bytes for each word of both texts; hashes
    of 64 bits stand for runs of words, so a false alarm has odds of about one in 10**7 for two million
    words each.
    """
    known, asked = _numbered(first, second)
    shared = _shared(partial(_runs, known), asked, min(n_words, len(known)))
    n_shared = int(shared.sum())
    return Overlap(n_shared / max(1, len(asked)), n_shared, _example(second, shared, n_words))


def rest(first: str, second: str, n_words: int = N_WORDS) -> Rest:
    """`second` without what overlap() finds: nothing of what is left stands in `first`, by the same rule.

    Each passage becomes GAP; what was on both sides of it is looked at again as neighbours.
    """
    known, asked = _numbered(first, second)
    kept, most = np.ones(len(asked), bool), min(n_words, len(known))
    runs_of_known = cache(partial(_runs, known))
    first_found = found = _shared(runs_of_known, asked, most)
    while found.any():
        kept[np.flatnonzero(kept)[found]] = False
        found = _shared(runs_of_known, asked[kept], most)
    if kept.all():
        return Rest(second, len(asked), 0, 0, "")
    text, n_passages = _without(second, kept)
    example = _example(second, first_found, n_words)
    return Rest(text, len(asked), int((~kept).sum()), n_passages, example)


def _numbered(first: str, second: str) -> tuple[Numbers, Numbers]:
    """The words of both as numbers, equal ones alike."""
    known, asked = first.casefold().split(), second.casefold().split()
    number = {word: index for index, word in enumerate(dict.fromkeys([*known, *asked]))}
    return (
        np.array([number[word] for word in known], np.uint64),
        np.array([number[word] for word in asked], np.uint64),
    )


def _shared(runs_of_known: Callable[[int], Numbers], asked: Numbers, n_words: int) -> Marks:
    """Which of `asked` lie in a run of `n_words`, or of all where it has fewer, that is known; bool
    [len(asked)]."""
    n_words = min(n_words, len(asked))
    if n_words == 0:
        return np.zeros(len(asked), bool)
    found = np.flatnonzero(np.isin(_runs(asked, n_words), runs_of_known(n_words)))
    return _covered(found, n_words, len(asked))


def _runs(words: Numbers, n_words: int) -> Numbers:
    """A hash of each run of `n_words` word numbers, uint64 [len(words) - n_words + 1]."""
    mixed = (words + np.uint64(1)) * _MIX[0]
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _MIX[1]
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX[2]
    count = len(words) - n_words + 1
    hashes = np.zeros(count, np.uint64)
    for place in range(n_words):
        hashes = hashes * _PRIME + mixed[place : place + count]
    return hashes


def _covered(starts: NDArray[np.int64], n_words: int, n_total: int) -> Marks:
    """Words inside at least one of the runs that begin at `starts`."""
    edges = np.zeros(n_total + 1, np.int64)
    np.add.at(edges, starts, 1)
    np.add.at(edges, starts + n_words, -1)
    return np.cumsum(edges)[:-1] > 0


def _example(text: str, shared: Marks, n_words: int) -> str:
    """How the first passage of `text` that is marked begins, in one line."""
    if not shared.any():
        return ""
    start = int(shared.argmax())
    return " ".join(text.split()[start : start + n_words])


def _without(text: str, kept: Marks) -> tuple[str, int]:
    """`text` with each passage of words that are not kept replaced by GAP; how many passages those are."""
    spans = np.fromiter((edge for word in _WORD.finditer(text) for edge in word.span()), np.int64)
    starts, ends = spans[::2], spans[1::2]
    edges = np.flatnonzero(np.diff(np.concatenate([[False], kept, [False]])))
    pieces = [text[starts[a] : ends[b - 1]] for a, b in zip(edges[::2], edges[1::2], strict=True)]
    n_passages = int(np.count_nonzero(np.diff(np.concatenate([[True], kept])) & ~kept))
    return GAP.join(pieces), n_passages
