"""Fixtures of the tests that ask a running server."""

from collections.abc import Iterator

import pytest

from tests.serve.served import Served, models, sixgig_serve


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for the whole session."""
    folder = tmp_path_factory.mktemp("served")
    with sixgig_serve(
        folder, f'[server]\nram = "2G"\nparallel = 2\nmax_body = "1M"\n{models(folder)}'
    ) as server:
        yield server
