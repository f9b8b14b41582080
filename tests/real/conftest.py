"""Real models: SmolLM2 always, the larger ones where they are asked for (--all-models)."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.fixtures import FIXTURES, FetchError, fetch


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct, Q4_1, 49,152 tokens, Apache-2.0. Skips the test where it cannot be had."""
    return fetched("smollm2")


def fetched(name: str) -> Path:
    """A model of bench.fixtures."""
    try:
        return fetch(FIXTURES[name])
    except FetchError as error:
        pytest.skip(f"cannot be fetched here: {error}")
