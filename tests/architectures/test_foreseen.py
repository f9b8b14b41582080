"""What an architecture will hold is known before it is loaded, for several sequences too."""

from pathlib import Path

import pytest

from bench.architectures.description import write
from bench.architectures.text import from_json
from sixgig.inference.dry_load import measure
from sixgig.inference.engine import Engine
from sixgig.inference.options import EngineOptions
from sixgig.llamacpp import memory_breakdown


@pytest.mark.parametrize("name", ["minimax-01", "kimi-linear", "qwen35moe"])
@pytest.mark.parametrize("sequences", [1, 4])
def test_the_dry_load_counts_a_prompt_that_one_of_several_sequences_has_to_itself(
    name: str, sequences: int, tmp_path: Path
) -> None:
    facts = from_json((Path(__file__).parent / f"{name}.json").read_text())
    path = write(facts, tmp_path / "model.gguf")
    options = EngineOptions(context=512, ubatch=512, threads=2, extra_buffers=False, sequences=sequences)
    foreseen = measure(path, options).buffers
    with Engine(path, options) as engine:
        opened = memory_breakdown(engine.library.c, engine._context)
        engine.feed([3 + i * i * 7 % 121 for i in range(512)])
        held = memory_breakdown(engine.library.c, engine._context)
    assert sorted(map(vars, foreseen), key=str) == sorted(map(vars, opened), key=str)
    assert sorted(map(vars, held), key=str) == sorted(map(vars, opened), key=str)
