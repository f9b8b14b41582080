"""Whether two texts share content: a model must not be measured on what it was calibrated or tuned on.

Covers passages of N words or more that appear in both, whatever their case and spacing. Does not cover
paraphrases, shorter quotations, or passages that differ in a word every few lines.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

N_WORDS = 32
_PRIME = np.uint64(0x100000001B3)
_MIX = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
Hashes = NDArray[np.uint64]


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


def overlap(first: str, second: str, n_words: int = N_WORDS) -> Overlap:
    """What of `second` stands in `first` too, in runs of `n_words` words or more.

    A text of fewer words is looked for as a whole. Takes about 80 bytes for each word of both texts; hashes
    of 64 bits stand for runs of words, so a false alarm has odds of about one in 10**7 for two million
    words each.
    """
    known, asked = first.casefold().split(), second.casefold().split()
    n_words = min(n_words, len(known), len(asked))
    if n_words == 0:
        return Overlap(0.0, 0, "")
    number = {word: index for index, word in enumerate(dict.fromkeys([*known, *asked]))}
    runs = [_runs(np.array([number[word] for word in words], np.uint64), n_words) for words in (known, asked)]
    found = np.flatnonzero(np.isin(runs[1], runs[0]))
    shared = _covered(found, n_words, len(asked))
    example = " ".join(second.split()[found[0] : found[0] + n_words]) if len(found) else ""
    return Overlap(shared / len(asked), shared, example)


def _runs(words: Hashes, n_words: int) -> Hashes:
    """A hash of each run of `n_words` word numbers, uint64 [len(words) - n_words + 1]."""
    mixed = (words + np.uint64(1)) * _MIX[0]
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _MIX[1]
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX[2]
    count = len(words) - n_words + 1
    hashes = np.zeros(count, np.uint64)
    for place in range(n_words):
        hashes = hashes * _PRIME + mixed[place : place + count]
    return hashes


def _covered(starts: NDArray[np.int64], n_words: int, n_total: int) -> int:
    """Words inside at least one of the runs that begin at `starts`."""
    edges = np.zeros(n_total + 1, np.int64)
    np.add.at(edges, starts, 1)
    np.add.at(edges, starts + n_words, -1)
    return int(np.count_nonzero(np.cumsum(edges)[:-1]))
