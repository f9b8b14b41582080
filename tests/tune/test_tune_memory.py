"""`sixgig tune` of a model with a large vocabulary stays within --ram, and takes what was predicted."""

from pathlib import Path

import pytest

from tests.tiny.models import build
from tests.tune.memory_case import example_text, require_kept, smallest_ram, tuned_in_a_group

N_VOCAB = 248_320  # of Qwen3.5


@pytest.fixture(scope="module")
def many_words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers, an embedding and a head of 248,320 rows."""
    folder = tmp_path_factory.mktemp("words")
    return build("qwen3", folder / "words.gguf", "Q4_0", n_layers=2, width=128, n_vocab=N_VOCAB)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("tokens", [128, 512, 2048])
def test_a_vocabulary_of_248k_keeps_the_smallest_budget_that_a_refusal_named(
    many_words: Path, tmp_path: Path, tokens: int
) -> None:
    text = example_text(tmp_path / "learnt.jsonl", 2 * tokens)
    options = ("--steps", 2, "--batch", tokens, "--context", min(tokens, 512), "--rank", 8)
    ram = smallest_ram(many_words, text, tmp_path / "refused", options)
    require_kept(tuned_in_a_group(many_words, text, tmp_path / "out", (*options, "--ram", ram)))
