"""How much DATA can be, in rows and tokens, by a look at its bytes alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sixgig.cli.tune_request import MICRO_TOKENS, Request
from sixgig.datafile import Kind, kind_of
from sixgig.finetune.schedule import BATCH_TOKENS, FEWEST_ROWS, FEWEST_STEPS
from sixgig.plan.tuning import Batch

TOKEN_BYTES = 2  # a document in tokens takes, for each byte of DATA, at most
# Of a document without its tokens: as an object, and in the lists that divide, hold out and pack. Measured
# with 20 to 28 tokens: 900 bytes in all.
LEAST_DOCUMENT_BYTES, MOST_DOCUMENT_BYTES = 600, 1500
FRAME_TOKENS = 64  # that a template adds to a row
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Extent:
    """Bytes of all and of the longest row, or more; rows, at least and at most."""

    size_bytes: int
    longest_bytes: int
    least_rows: int
    most_rows: int

    @property
    def least_bytes(self) -> int:
        """Memory that its documents take at least."""
        return LEAST_DOCUMENT_BYTES * self.least_rows

    @property
    def most_bytes(self) -> int:
        """Memory that its documents take at most."""
        return TOKEN_BYTES * self.size_bytes + MOST_DOCUMENT_BYTES * self.most_rows

    def least_batch(self, request: Request, n_weights: int) -> Batch:
        """The smallest that documents of it may lead to."""
        tokens = request.batch or self._fitted(FEWEST_ROWS * 2, 2 * self.least_rows, request)
        micro = min(tokens, MICRO_TOKENS)
        found = [tokens // micro * micro]
        for parts in range(1, tokens // micro):  # a longest document that leaves the last part of a batch
            longest = tokens // (parts + 1) + 1
            if micro < longest <= request.context:
                found.append(parts * longest)
        return Batch(min(found), micro, n_weights)

    def most_batch(self, request: Request, n_weights: int) -> Batch:
        """The largest."""
        longest = min(request.context, self.longest_bytes + FRAME_TOKENS)
        all_tokens = self.size_bytes + FRAME_TOKENS * self.most_rows
        tokens = request.batch or self._fitted(FEWEST_ROWS * longest, all_tokens, request)
        micro = max(longest, min(tokens, MICRO_TOKENS))
        return Batch(max(tokens, micro), micro, n_weights)

    @staticmethod
    def _fitted(rows_tokens: int, all_tokens: int, request: Request) -> int:
        """As finetune.schedule.batch_tokens."""
        return min(BATCH_TOKENS, max(rows_tokens, request.least_epochs * all_tokens // FEWEST_STEPS))


def extent_of(path: Path) -> Extent:
    """Nothing, where there is no such file: whoever reads it says so. Raises UsageError for no data."""
    if not path.is_file():
        return Extent(0, 0, 0, 0)
    size = longest = line = lines = objects = 0
    try:
        with path.open("rb") as file:
            kind = kind_of(path, file.peek())
            while chunk := file.read(_CHUNK_BYTES):
                size += len(chunk)
                objects += chunk.count(b"{")
                first, *following = chunk.split(b"\n")
                line += len(first)
                for piece in following:
                    longest, lines, line = max(longest, line), lines + (line > 1), len(piece)
    except OSError:
        return Extent(0, 0, 0, 0)
    longest, lines = max(longest, line), lines + (line > 1)
    if kind is Kind.LINES:
        return Extent(size, longest, lines, lines)
    return Extent(size, size, min(1, lines), max(lines, objects))
