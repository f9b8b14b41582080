"""A source small enough to be shrunk in seconds, a text for it, and settings that hurry."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from sixgig.compress import shrinker, types
from sixgig.jobs import shrink

Tiny = Callable[..., Path]
WORDS = ("the", "and", "in", "a", "thing", "other", "no", "read", "write", "shape", "ring", "one")
SMALL = {"n_layers": 1, "n_experts": 4}


def quicken(patch: pytest.MonkeyPatch) -> None:
    """Few windows, groups and types, so that a run takes seconds."""
    for name, count in (("CALIBRATION", 2), ("SEARCH", 1), ("JUDGING", 1)):
        patch.setattr(shrinker, f"{name}_WINDOWS", count)
    patch.setattr(shrinker, "WINDOWS_HELD", 1)
    patch.setattr(shrinker, "GROUPS_HELD", 3)
    patch.setattr(shrink, "_ROUNDS", ((1 << 30, 1),))
    patch.setattr(types, "_SUPER_BLOCKS", ("Q2_K", "Q4_K", "Q6_K"))
    patch.setattr(types, "_SMALL_BLOCKS", ("Q4_0", "Q8_0"))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    quicken(monkeypatch)
    monkeypatch.setenv("COLUMNS", "200")


def written_text(seed: int, n_paragraphs: int) -> str:
    draw = random.Random(seed)
    lines = (
        " ".join(draw.choice(WORDS) + str(draw.randrange(99)) for _ in range(60)) for _ in range(n_paragraphs)
    )
    return "\n\n".join(lines)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(written_text(0, 130))
    return path


@pytest.fixture(scope="module")
def source(tiny: Tiny) -> Path:
    return tiny("qwen3moe", "F16", **SMALL)
