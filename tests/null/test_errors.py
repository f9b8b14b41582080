"""Messages carry what, the numbers and the cure, and nothing empty."""

import pytest

from sixgig.errors import BudgetError, EngineError, ModelFileError, ReadError, SixgigError, UsageError


@pytest.mark.parametrize("kind", [ModelFileError, BudgetError, EngineError, ReadError, UsageError])
def test_every_error_is_one_of_ours(kind: type[SixgigError]) -> None:
    error = kind("does not fit", "needs 9.1 GiB, 6.0 GiB free", "try --context 4096")
    assert str(error) == "does not fit; needs 9.1 GiB, 6.0 GiB free; try --context 4096"
    assert isinstance(error, SixgigError)


def test_empty_pieces_leave_no_trace() -> None:
    assert str(SixgigError("what", cure="cure")) == "what; cure"
