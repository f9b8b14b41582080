"""Threads that do not spin against each other, and the trained model where it is at hand."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before the engine loads: spinning starves others

SHARED = Path(__file__).resolve().parents[3] / "shared" / "models" / "pep-moe-31m" / "pep-moe-31m-BF16.gguf"


@pytest.fixture(scope="session")
def shared_model() -> Path:
    """The trained model beside the checkout."""
    if not SHARED.is_file():
        pytest.skip("the trained model is not beside this checkout (../shared/models)")
    return SHARED
