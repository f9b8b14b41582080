"""One pass of a model over the windows: logits in, a Score out, the reference read or written on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from sixgig.evaluate.base_file import BaseFile, BaseWriter
from sixgig.evaluate.divergence import TokenFigures, check_figures, check_logits, compare, joined, nll_only
from sixgig.evaluate.log_probabilities import Logits, chunks, pack
from sixgig.evaluate.score import Score
from sixgig.evaluate.windows import Tokens, Windows

LogitsOf = Callable[[Sequence[int], int], Iterable[Logits]]
"""From a window's tokens and the first position that counts: the logits after that and each later token, in
order, in blocks of float32 [n, vocabulary] of any size. A block is not used once the next is asked for."""


def evaluate(
    windows: Windows,
    logits_of: LogitsOf,
    base: BaseFile | None = None,
    writer: BaseWriter | None = None,
    progress: Callable[[float], object] = lambda fraction: None,
) -> Score:
    """The model's score, against `base` if given; its log-probabilities go to `writer` if given.

    `progress` gets the fraction done. Raises ModelFileError where predictions are no numbers or the base is
    of other tokens, and what `logits_of` raises.
    """
    if base is not None:
        base.check_text(windows.tokens)
    parts, total = list[TokenFigures](), len(windows) * windows.n_scored
    for number, start, logits in _chunks(windows, logits_of):
        end = start + len(logits)
        parts.append(_figures(logits, windows.targets(number)[start:end], base, number, start))
        if writer is not None:
            writer.write(pack(logits))
        progress((number * windows.n_scored + end) / total)
        del logits  # before more are made
    numbers = np.repeat(np.arange(len(windows), dtype=np.int64), windows.n_scored)
    return Score.of(joined(parts), numbers)


def _chunks(windows: Windows, logits_of: LogitsOf) -> Iterator[tuple[int, int, Logits]]:
    """All scored positions in chunks: window, which of its scored positions comes first, logits."""
    for number in range(len(windows)):
        start = 0
        for logits in logits_of(windows.inputs(number), windows.first):
            check_logits(logits)
            for chunk in chunks(*logits.shape):
                yield number, start + chunk.start, logits[chunk]
            start += len(logits)
            del logits  # before the next block is made: there must not be two
        assert start == windows.n_scored, "logits for each scored position are needed"


def _figures(logits: Logits, targets: Tokens, base: BaseFile | None, window: int, start: int) -> TokenFigures:
    if base is None:
        figures = nll_only(logits, targets)
    else:
        base.check_vocabulary(logits.shape[1])
        figures = compare(logits, targets, base.rows(window, start, len(logits)))
    check_figures(figures)
    return figures
