"""What memory a run of tuning takes: refused early by the bytes of DATA, planned once that is in tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sixgig.datafile import Kind, kind_of
from sixgig.finetune.footing import find_footing
from sixgig.finetune.schedule import BATCH_TOKENS, FEWEST_ROWS, FEWEST_STEPS, MICRO_TOKENS, StepSize
from sixgig.finetune.session import device_of
from sixgig.hardware import process_memory
from sixgig.inference.memory import LIBRARY_BYTES, LIBRARY_FILE_BYTES
from sixgig.modelfile import ModelFile
from sixgig.planning import Allowance, ProcessBytes, Refusal, anatomy
from sixgig.planning.budget import PROCESS_SPREAD_BYTES
from sixgig.planning.tuning import Batch, TuningPlan, plan_tuning

TOKEN_BYTES = 2  # a document in tokens takes, for each byte of DATA, at most
# Of a document without its tokens: as an object, and in the lists that divide, hold out and pack. Measured
# with 20 to 28 tokens: 900 bytes in all.
LEAST_DOCUMENT_BYTES, MOST_DOCUMENT_BYTES = 600, 1500
FRAME_TOKENS = 64  # that a template adds to a row
NOTHING = ProcessBytes(0, 0)
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

    def least_batch(self, size: StepSize, n_weights: int) -> Batch:
        """The smallest that documents of it may lead to."""
        tokens = size.batch or self._fitted(FEWEST_ROWS * 2, 2 * self.least_rows, size)
        micro = min(tokens, MICRO_TOKENS)
        found = [tokens // micro * micro]
        for parts in range(1, tokens // micro):  # a longest document that leaves the last part of a batch
            longest = tokens // (parts + 1) + 1
            if micro < longest <= size.context:
                found.append(parts * longest)
        return Batch(min(found), micro, n_weights)

    def most_batch(self, size: StepSize, n_weights: int) -> Batch:
        """The largest."""
        longest = min(size.context, self.longest_bytes + FRAME_TOKENS)
        all_tokens = self.size_bytes + FRAME_TOKENS * self.most_rows
        tokens = size.batch or self._fitted(FEWEST_ROWS * longest, all_tokens, size)
        micro = max(longest, min(tokens, MICRO_TOKENS))
        return Batch(max(tokens, micro), micro, n_weights)

    @staticmethod
    def _fitted(rows_tokens: int, all_tokens: int, size: StepSize) -> int:
        """As finetune.schedule.batch_tokens."""
        return min(BATCH_TOKENS, max(rows_tokens, size.least_epochs * all_tokens // FEWEST_STEPS))


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


@dataclass(frozen=True)
class Memory:
    """Of a run that trains n_weights. vram_bytes: of the GPU that computes, None where `threads` do."""

    model: ModelFile
    n_weights: int
    threads: int
    allowance: Allowance
    vram_bytes: int | None

    def refuse_early(self, extents: Sequence[Extent], size: StepSize) -> None:
        """What cannot fit, however little DATA may be, is refused before it is read, with a budget that
        holds the most it may be. extents: of what is learnt, and of what is held out."""
        try:
            least = extents[0].least_batch(size, self.n_weights)
            self._plan(least, ProcessBytes(sum(e.least_bytes for e in extents), 0))
        except Refusal:
            taken = LIBRARY_BYTES + sum(e.most_bytes for e in extents)
            most = extents[0].most_batch(size, self.n_weights)
            self._plan(most, ProcessBytes(taken, LIBRARY_FILE_BYTES))

    def plan(self, size: StepSize) -> TuningPlan:
        """A budget that a refusal names holds another run too, whose process takes a little more."""
        batch = Batch(size.step_tokens, size.micro_tokens, self.n_weights)
        return self._plan(batch).with_peak(process_memory().peak_bytes)

    def _plan(self, batch: Batch, more: ProcessBytes = NOTHING) -> TuningPlan:
        """With this process as it is now, everything imported and the data in tokens, and `more`."""
        find_footing(self.threads, device_of(self.vram_bytes))
        held = process_memory()
        owned = held.anonymous_bytes + held.shared_bytes + more.anonymous_bytes
        process = ProcessBytes(owned, held.file_bytes + more.file_bytes)
        with self.allowance.explaining():
            ram_bytes, spread = self.allowance.ram_bytes, PROCESS_SPREAD_BYTES
            return plan_tuning(anatomy(self.model), batch, process, ram_bytes, self.vram_bytes, spread)
