"""A reference's log-probabilities on disk: the file of llama.cpp's `--kl-divergence-base`.

Little-endian: "_logits_"; int32 context, vocabulary and windows; the tokens, int32 [windows, context], as
tokenized; then for each window its scored positions, each a row of `log_probabilities`. Nothing names the
model: only tokens and vocabulary can be compared.
"""

from __future__ import annotations

import os
import secrets
import struct
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from sixgig.errors import ModelFileError
from sixgig.evaluate.log_probabilities import HEAD, Rows, row_length
from sixgig.evaluate.windows import LONGEST, SHORTEST, Tokens, Windows, scored

MAGIC = b"_logits_"
_HEADER = struct.Struct("<8s3i")
_MOST_TOKENS = 1 << 24  # of a vocabulary; the largest in use have about 2**18
_CURE = "make it again"


@dataclass(frozen=True)
class BaseShape:
    """What decides a base file's size. context: tokens in a window."""

    context: int
    n_vocab: int
    n_windows: int

    @property
    def rows_at(self) -> int:
        """Where the first row begins, in bytes."""
        return _HEADER.size + 4 * self.n_windows * self.context

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return 2 * row_length(self.n_vocab)

    @property
    def size_bytes(self) -> int:
        """Bytes of the whole file."""
        return self.rows_at + self.n_windows * scored(self.context) * self.row_bytes


def is_base_file(path: Path) -> bool:
    """Whether a file begins as base files do; False for what cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


class BaseFile:
    """A base file open for reading, a window at a time; a context manager.

    Raises ModelFileError for what is no base file, is not of the size its header tells, or holds tokens
    that its vocabulary lacks. Memory: the tokens, and the rows asked for.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise ModelFileError(f"cannot read {path}", str(error.strerror), "name a base file") from error
        try:
            self.shape = self._read_shape()
            self.tokens = self._read_tokens()
        except BaseException:
            self.close()
            raise

    def _read_shape(self) -> BaseShape:
        size_bytes = os.fstat(self._file.fileno()).st_size
        raw = self._file.read(_HEADER.size)
        if len(raw) < _HEADER.size or not raw.startswith(MAGIC):
            numbers = f"{size_bytes} bytes, beginning with {raw[:8]!r}"
            raise self._bad("holds no stored log-probabilities", numbers)
        shape = BaseShape(*_HEADER.unpack(raw)[1:])
        lengths = SHORTEST <= shape.context <= LONGEST and shape.n_windows > 0
        if not lengths or not 0 < shape.n_vocab <= _MOST_TOKENS:
            raise self._bad("has an impossible header", str(shape))
        if size_bytes != shape.size_bytes:
            numbers = f"{size_bytes} bytes of {shape.size_bytes}"
            raise self._bad("is not of the size its header tells", numbers)
        return shape

    def _read_tokens(self) -> Tokens:
        count = self.shape.n_windows * self.shape.context
        tokens = np.frombuffer(self._file.read(4 * count), "<i4").astype(np.int32)
        if len(tokens) != count or tokens.min() < 0 or tokens.max() >= self.shape.n_vocab:
            numbers = f"{self.shape.n_vocab} tokens in the vocabulary, {count} in the text"
            raise self._bad("holds tokens outside its vocabulary", numbers)
        return tokens.reshape(self.shape.n_windows, self.shape.context)

    def rows(self, window: int, start: int, count: int) -> Rows:
        """Rows of the scored positions start to start + count of a window, uint16 [count, row length]."""
        shape = self.shape
        first = window * scored(shape.context) + start
        raw = os.pread(self._file.fileno(), count * shape.row_bytes, shape.rows_at + first * shape.row_bytes)
        if len(raw) != count * shape.row_bytes:
            raise self._bad("changed while it was read", f"window {window + 1} of {shape.n_windows}")
        rows = np.frombuffer(raw, "<u2").reshape(count, -1)
        self._check_heads(rows, window)
        return rows

    def _check_heads(self, rows: Rows, window: int) -> None:
        """Scale and lowest can be those of log-probabilities, which rounding may lift a little over 0."""
        head = rows[:, :HEAD].copy().view("<f4").astype(np.float64)
        highest = head[:, 1] + head[:, 0] * rows[:, HEAD : HEAD + self.shape.n_vocab].max(axis=1)
        if not (np.isfinite(head).all() and (head[:, 0] >= 0).all() and (highest < 1e-3).all()):
            raise self._bad("holds log-probabilities that cannot be", f"window {window + 1}")

    def check_text(self, tokens: Tokens) -> None:
        """ModelFileError unless the file's first windows are `tokens`, int32 [windows, context]."""
        if len(tokens) > len(self.tokens):
            numbers = f"{len(self.tokens)} in the file, {len(tokens)} to score"
            raise ModelFileError(f"{self.path.name} has too few windows", numbers, _CURE)
        if not np.array_equal(tokens, self.tokens[: len(tokens)]):
            what = f"{self.path.name} is of another text, or of a model that tokenizes it differently"
            cure = "score against a reference of this text"
            raise ModelFileError(what, _difference(self.tokens, tokens), cure)

    def check_vocabulary(self, n_vocab: int) -> None:
        """ModelFileError unless a model of `n_vocab` tokens can be compared with this file."""
        if n_vocab != self.shape.n_vocab:
            numbers = f"{self.shape.n_vocab} tokens in the reference's, {n_vocab} in the model's"
            raise ModelFileError("the vocabularies differ", numbers, "compare models of one family")

    def close(self) -> None:
        """Let go of the file; safe to call twice."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def _bad(self, what: str, numbers: str) -> ModelFileError:
        return ModelFileError(f"{self.path.name} {what}", numbers, _CURE)


class BaseWriter:
    """Writes a base file row by row, in order; the file appears, whole, when the block ends without an error.

    A context manager. Raises OSError, and when a block ends with rows missing an AssertionError.
    """

    def __init__(self, path: Path, windows: Windows, n_vocab: int) -> None:
        self.path = path.resolve()
        self.shape = BaseShape(windows.context, n_vocab, len(windows))
        self._tokens = windows.tokens

    def __enter__(self) -> Self:
        self._beside = self.path.with_name(f".{self.path.name[:100]}-{secrets.token_hex(8)}")
        self._file = self._beside.open("xb")
        shape = self.shape
        self._file.write(_HEADER.pack(MAGIC, shape.context, shape.n_vocab, shape.n_windows))
        self._file.write(self._tokens.astype("<i4").tobytes())
        return self

    def write(self, rows: Rows) -> None:
        """Append rows, uint16 [n, row length]."""
        self._file.write(np.ascontiguousarray(rows, "<u2").data)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._commit()
        finally:
            self._file.close()
            self._beside.unlink(missing_ok=True)

    def _commit(self) -> None:
        assert self._file.tell() == self.shape.size_bytes, "rows are missing, or too many"
        self._file.flush()
        os.fsync(self._file.fileno())
        os.replace(self._beside, self.path)


def _difference(stored: Tokens, given: Tokens) -> str:
    """Where two texts begin to differ."""
    if stored.shape[1] != given.shape[1]:
        return f"windows of {stored.shape[1]} tokens in the file, of {given.shape[1]} here"
    place = int(np.argmax(stored[: len(given)].ravel() != given.ravel()))
    return f"token {place} is {stored.ravel()[place]} in the file and {given.ravel()[place]} here"
