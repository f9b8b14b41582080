"""Every error a user can cause or meet.

::

    SixgigError
    ├── ModelFileError   a bad, hostile or unsupported model file
    │   └── PurposeError     a sound one, asked for what it is not made for
    ├── BudgetError      does not fit the stated budget
    ├── EngineError      library missing, wrong version, layout mismatch, libgomp missing
    ├── ReadError        the disk failed while a model was running
    ├── TrainingError    a run of tuning cannot go on
    │   └── DivergedError   its loss is no number any more
    ├── LedgerError      the ledger cannot be opened, read or written (sixgig.ledger)
    ├── ServingError     a request cannot be served now
    │   └── EngineLostError   the process that served it has ended
    ├── Cancelled        a job was told to end (sixgig.jobs)
    └── UsageError       asked wrongly: exit status 2, unless the system caused it; of all others 1

Each message says what is wrong, gives the numbers, and names the cure.
"""

from typing import Any


class SixgigError(Exception):
    """Root of the tree; ``str()`` is "what; numbers; cure" without the empty parts."""

    def __init__(self, what: str, numbers: str = "", cure: str = "") -> None:
        super().__init__(what, numbers, cure)
        self.what = what
        self.numbers = numbers
        self.cure = cure

    def __reduce__(self) -> tuple[Any, ...]:
        """As it stands, whatever a subclass takes: a pool of processes hangs on what it cannot read."""
        return _remade, (type(self), self.args), vars(self)

    def __str__(self) -> str:
        return "; ".join(part for part in (self.what, self.numbers, self.cure) if part)


def _remade(kind: type[SixgigError], arguments: tuple[Any, ...]) -> SixgigError:
    return kind.__new__(kind, *arguments)


class ModelFileError(SixgigError):
    """A model file that is damaged, lies about itself, or is of a kind we do not support."""


class PurposeError(ModelFileError):
    """A sound model that is asked for what it is not made for: text of an embedding model, say."""


class BudgetError(SixgigError):
    """The model or the context does not fit the stated budget.

    smallest_bytes: the smallest budget that works: of `vram` where it is the GPU's memory that is too small,
    else of `ram`. None where that is not known.
    """

    smallest_bytes: int | None = None


class EngineError(SixgigError):
    """llama.cpp's library is missing, of another version, or laid out differently."""


class ReadError(SixgigError):
    """A read failed while running; ``numbers`` carries file, offset and errno."""


class TrainingError(SixgigError):
    """A run of tuning cannot go on: its state cannot be saved, or what was saved is not this run's."""


class DivergedError(TrainingError):
    """The loss of a run is no number any more."""


class ServingError(SixgigError):
    """A request cannot be served now; another time it may."""


class EngineLostError(ServingError):
    """The engine process that was serving has ended; ``numbers`` says how."""


class Cancelled(SixgigError):
    """A job was told to end, and did."""


class UsageError(SixgigError):
    """Something else must be asked for: an option's value, a text, a configuration that we cannot use.

    Where the operating system refused it is raised from that OSError (where a package is missing, from the
    ImportError): then it may work another time.
    """
