"""Fixtures for all tests."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tiny.models import build


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`tiny("qwen35moe", "Q4_K", n_experts=16)`: as tests.tiny.models.build, each made once. Read only."""
    made: dict[object, Path] = {}

    def make(architecture: str, type_name: str = "Q4_0", **options: int) -> Path:
        key = (architecture, type_name, *sorted(options.items()))
        if key not in made:
            made[key] = build(
                architecture, tmp_path_factory.mktemp("tiny") / f"{architecture}.gguf", type_name, **options
            )
        return made[key]

    return make
