"""Documents to the micro-batches of each step, and the documents that are held out.

Every choice is a function of a seed by hashes alone: not of a library's generator, which its versions change.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from sixgig.errors import UsageError
from sixgig.finetune.rendering import Document, Ids, Marks
from sixgig.units import counted

MOST_HELD_OUT_TOKENS = 200_000
NO_TARGET = -1
_WINDOW = 32  # micro-batches' worth of documents that are sorted by length together
_STEP, _MIX = np.uint64(0x9E3779B97F4A7C15), (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def digest(documents: Iterable[Document]) -> str:
    """SHA-256 of tokens and marks, in order."""
    content = sha256()
    for document in documents:
        content.update(len(document).to_bytes(8, "little"))
        content.update(document.tokens.astype("<i4").tobytes() + document.learn.tobytes())
    return content.hexdigest()


@dataclass(frozen=True)
class Cut:
    """Documents that fit, and what that took.

    n_divided: documents cut into pieces, of which nothing is lost. n_truncated: documents that lost their
    ends, n_lost tokens in all, n_lost_learnt of them to be learnt; n_dropped: those among them that had
    nothing to be learnt left, and are no longer there.
    """

    documents: tuple[Document, ...]
    n_divided: int
    n_truncated: int
    n_dropped: int
    n_lost: int
    n_lost_learnt: int

    @property
    def notice(self) -> str:
        """What was lost, "" when nothing was."""
        if not self.n_truncated:
            return ""
        lost = f"too long: {self.n_truncated} lose their ends, {counted(self.n_lost, 'token')}"
        dropped = (
            f"; {self.n_dropped} of these have no answer left and are left out" if self.n_dropped else ""
        )
        return f"{lost}, {self.n_lost_learnt} of them of answers{dropped}"


def cut(documents: Iterable[Document], most_tokens: int) -> Cut:
    """Make every document fit in `most_tokens`: texts are divided, all others keep their beginnings.

    A piece of a text begins with the last token of the piece before, so that each token is learnt once.
    Raises UsageError when nothing is left to be learnt.
    """
    if most_tokens < 2:
        raise UsageError(f"nothing can be learnt from {most_tokens} tokens at a time", "at least 2")
    fitted = [(document, _fitted(document, most_tokens)) for document in documents]
    kept = tuple(piece for _, pieces in fitted for piece in pieces)
    if not kept:
        shortest = min((len(document) for document, _ in fitted), default=0)
        numbers = f"{counted(len(fitted), 'example')}, the shortest of {shortest} tokens, {most_tokens} fit"
        raise UsageError("no answer is left: the examples are too long", numbers, "raise --context")
    long = [pair for pair in fitted if len(pair[0]) > most_tokens]
    short = [(document, pieces) for document, pieces in long if not document.divisible]
    return Cut(
        documents=kept,
        n_divided=len(long) - len(short),
        n_truncated=len(short),
        n_dropped=sum(not pieces for _, pieces in short),
        n_lost=sum(len(document) - sum(map(len, pieces)) for document, pieces in short),
        n_lost_learnt=sum(_n_learnt([document]) - _n_learnt(pieces) for document, pieces in short),
    )


def _n_learnt(documents: Iterable[Document]) -> int:
    return sum(int(document.learn.sum()) for document in documents)


def _fitted(document: Document, most: int) -> list[Document]:
    if len(document) <= most:
        return [document]
    if document.divisible:
        starts = range(0, len(document) - 1, most - 1)
        return [piece for start in starts if (piece := _piece(document, start, most)).learn.any()]
    learnt = np.flatnonzero(document.learn[:most])
    return [_piece(document, 0, int(learnt[-1]) + 1)] if len(learnt) else []


def _piece(document: Document, start: int, size: int) -> Document:
    learn = document.learn[start : start + size].copy()
    learn[0] = False
    return replace(document, tokens=document.tokens[start : start + size], learn=learn)


def split_held_out(
    documents: Sequence[Document], share: float, seed: int, most_tokens: int = MOST_HELD_OUT_TOKENS
) -> tuple[list[Document], list[Document]]:
    """(training, held out): whole examples of about `share` of all tokens, at least one, are held out.

    What is equal goes to the same side. Examples that would overshoot are passed over; where no whole one
    can be held out, pieces of texts and single answers are. Raises UsageError when there is nothing to
    divide.
    """
    if not 0 < share < 1:
        raise UsageError(f"a share of {share} cannot be held out", "between 0 and 1")
    wanted = min(share * sum(map(len, documents)), most_tokens)
    for names in (_examples(documents), _contents(documents)):
        held = _drawn(documents, names, wanted, most_tokens, seed)
        if held and len(held) < len(set(names)):
            sides = list(zip(documents, names, strict=True))
            return [d for d, name in sides if name not in held], [d for d, name in sides if name in held]
    what = "there are too few examples to hold some out"
    raise UsageError(what, _counted(_contents(documents)), "name a file to judge on with --held-out")


def _counted(contents: Sequence[str]) -> str:
    n_all, n_different = len(contents), len(set(contents))
    if n_different == 1:
        return f"{n_all} copies of one example" if n_all > 1 else "1 example"
    return f"{n_all} examples" + (f", {n_different} without the copies" if n_different < n_all else "")


def sample(
    documents: Sequence[Document], seed: int, most_tokens: int = MOST_HELD_OUT_TOKENS
) -> list[Document]:
    """Whole examples of at most `most_tokens`, where possible; all of them if they fit."""
    for names in (_examples(documents), _contents(documents)):
        if held := _drawn(documents, names, most_tokens, most_tokens, seed):
            return [document for document, name in zip(documents, names, strict=True) if name in held]
    return list(documents[:1])


def require_apart(training: Iterable[Document], held_out: Iterable[Document]) -> None:
    """Raises UsageError when an example stands on both sides."""
    shared = set(_examples(held_out)) & set(_examples(training))
    if shared:
        what = "the held-out examples are trained on too"
        raise UsageError(what, f"{len(shared)} stand in both files", "take them out of one")


def _examples(documents: Iterable[Document]) -> list[str]:
    return [document.example for document in documents]


def _contents(documents: Iterable[Document]) -> list[str]:
    return [digest([document]) for document in documents]


def _drawn(
    documents: Sequence[Document], names: Sequence[str], wanted: float, most: int, seed: int
) -> set[str]:
    """Names of which all documents together have at most `wanted` tokens; else one name, if it has `most`."""
    sizes = dict.fromkeys(names, 0)
    for document, name in zip(documents, names, strict=True):
        sizes[name] += len(document)
    order = sorted(sizes, key=lambda name: sha256(f"{seed} {name}".encode()).digest())
    drawn, size = set[str](), 0
    for name in order:
        if size + sizes[name] <= wanted:
            drawn.add(name)
            size += sizes[name]
    return drawn or set([name for name in order if sizes[name] <= most][:1])


@dataclass(frozen=True, eq=False)
class MicroBatch:
    """Whole documents one after the other, without padding.

    tokens: int32 [n]. learn: bool [n], which are to be predicted. documents: lengths that add up to n.
    """

    tokens: Ids
    learn: Marks
    documents: tuple[int, ...]

    @property
    def targets(self) -> NDArray[np.int64]:
        """What each position is to predict, int64 [n]: its document's next token; NO_TARGET for nothing."""
        targets = np.full(len(self.tokens), NO_TARGET, np.int64)
        targets[:-1] = np.where(self.learn[1:], self.tokens[1:], NO_TARGET)
        targets[np.cumsum(self.documents) - 1] = NO_TARGET
        return targets


def pack(
    documents: Sequence[Document], tokens_per_micro_batch: int, seed: int, epoch: int
) -> list[MicroBatch]:
    """Every document once, in micro-batches of at most `tokens_per_micro_batch`, in this epoch's order."""
    groups = _groups(_lengths(documents), tokens_per_micro_batch, seed, epoch)
    return [_joined(documents, group) for group in groups]


class Steps:
    """The micro-batches of each step, epoch after epoch without end; a step may reach into the next epoch.

    A function of the arguments and the step's number alone: a run that goes on later meets the same.
    """

    def __init__(
        self,
        documents: Sequence[Document],
        tokens_per_micro_batch: int,
        micro_batches_per_step: int,
        seed: int,
    ) -> None:
        assert documents and micro_batches_per_step > 0
        self._documents, self._lengths = documents, _lengths(documents)
        self._limit, self._per_step, self._seed = tokens_per_micro_batch, micro_batches_per_step, seed
        self._starts = [0]  # of each epoch, in micro-batches
        self._plan: tuple[int, list[list[int]]] = (-1, [])  # the epoch last asked for

    def __getitem__(self, step: int) -> list[MicroBatch]:
        """Those of step 0, 1, ..."""
        first = step * self._per_step
        return [self._micro_batch(number) for number in range(first, first + self._per_step)]

    def n_steps(self, n_epochs: int) -> int:
        """Steps until every document was met `n_epochs` times."""
        while len(self._starts) <= n_epochs:
            self._add_epoch()
        return -(-self._starts[n_epochs] // self._per_step)

    def epoch(self, step: int) -> int:
        """The epoch, from 0, that a step begins in."""
        return self._epoch_of(step * self._per_step)

    def _micro_batch(self, number: int) -> MicroBatch:
        epoch = self._epoch_of(number)
        return _joined(self._documents, self._groups(epoch)[number - self._starts[epoch]])

    def _epoch_of(self, number: int) -> int:
        while self._starts[-1] <= number:
            self._add_epoch()
        return bisect_right(self._starts, number) - 1

    def _add_epoch(self) -> None:
        self._starts.append(self._starts[-1] + len(self._groups(len(self._starts) - 1)))

    def _groups(self, epoch: int) -> list[list[int]]:
        if self._plan[0] != epoch:
            self._plan = epoch, _groups(self._lengths, self._limit, self._seed, epoch)
        return self._plan[1]


def _lengths(documents: Sequence[Document]) -> NDArray[np.int64]:
    return np.array([len(document) for document in documents], np.int64)


def _joined(documents: Sequence[Document], group: Sequence[int]) -> MicroBatch:
    members = [documents[number] for number in group]
    tokens = np.concatenate([document.tokens for document in members])
    learn = np.concatenate([document.learn for document in members])
    return MicroBatch(tokens, learn, tuple(map(len, members)))


def _groups(lengths: NDArray[np.int64], limit: int, seed: int, epoch: int) -> list[list[int]]:
    """Numbers of the documents of each micro-batch: shuffled, then packed window by window."""
    assert lengths.max(initial=0) <= limit, "documents are cut before they are packed"
    order = _shuffled(len(lengths), f"documents {seed} {epoch}")
    windows = np.cumsum(lengths[order]) // (_WINDOW * limit)
    groups = [
        group
        for window in np.split(order, np.flatnonzero(np.diff(windows)) + 1)
        for group in _first_fit(window, lengths, limit)
    ]
    return [groups[number] for number in _shuffled(len(groups), f"groups {seed} {epoch}")]


def _first_fit(window: NDArray[np.int64], lengths: NDArray[np.int64], limit: int) -> list[list[int]]:
    """The longest first, each into the first group with room (first fit decreasing)."""
    groups, rooms = list[list[int]](), list[int]()
    for number in window[np.argsort(-lengths[window], kind="stable")].tolist():
        size = int(lengths[number])
        at = next((at for at, room in enumerate(rooms) if room >= size), len(groups))
        if at == len(groups):
            groups.append([])
            rooms.append(limit)
        groups[at].append(number)
        rooms[at] -= size
    return groups


def _shuffled(count: int, key: str) -> NDArray[np.int64]:
    """0 to count - 1 in the order of keyed hashes (splitmix64)."""
    start = np.uint64(int.from_bytes(sha256(key.encode()).digest()[:8], "little"))
    mixed = start + np.arange(1, count + 1, dtype=np.uint64) * _STEP
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _MIX[0]
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX[1]
    return np.argsort(mixed ^ (mixed >> np.uint64(31)), kind="stable")
