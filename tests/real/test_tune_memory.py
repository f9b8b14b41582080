"""Models of 49,152 and 248,320 tokens are tuned within --ram, and take what was predicted."""

from pathlib import Path

import pytest

from tests.tiny.models import build
from tests.tune.memory_case import example_text, require_kept, smallest_ram, tuned_in_a_group

N_VOCAB = 248_320  # of Qwen3.5


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("tokens", "more"),
    [(256, ("--rank", 64, "--targets", "attention")), (512, ("--optimizer", "muon")), (1024, ())],
)
def test_a_real_model_keeps_the_smallest_budget_that_a_refusal_named(smollm2, tmp_path, tokens, more):
    text = example_text(tmp_path / "learnt.jsonl", 2 * tokens)
    options = ("--batch", tokens, "--context", tokens, "--steps", 3, *more)
    ram = smallest_ram(smollm2, text, tmp_path / "refused", options)
    require_kept(tuned_in_a_group(smollm2, text, tmp_path / "out", (*options, "--ram", ram)))


@pytest.mark.timeout(1200)
def test_a_real_model_keeps_a_budget_with_room_to_merge(smollm2, tmp_path):
    text = example_text(tmp_path / "learnt.jsonl", 4096)  # documents that fill a micro-batch
    options = ("--batch", 1024, "--steps", 4, "--ram", "1080M", "--merge", tmp_path / "merged.gguf")
    require_kept(tuned_in_a_group(smollm2, text, tmp_path / "out", options))


@pytest.fixture(scope="module")
def many_words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers, an embedding and a head of 248,320 rows."""
    folder = tmp_path_factory.mktemp("words")
    return build("qwen3", folder / "words.gguf", "Q4_0", n_layers=2, width=128, n_vocab=N_VOCAB)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("family", "n_vocab"), [("gemma3", 262_144), ("qwen2", 151_936)])
def test_other_families_of_large_vocabularies_keep_it_too(family: str, n_vocab: int, tmp_path: Path) -> None:
    """A window, and norms behind each part; a head that is the embedding."""
    tokens, text = 1024, example_text(tmp_path / "learnt.jsonl", 2048)
    model = build(family, tmp_path / "model.gguf", "Q4_0", n_layers=2, expert_width=1024, n_vocab=n_vocab)
    options = ("--steps", 2, "--batch", tokens, "--context", 512, "--rank", 8)
    ram = smallest_ram(model, text, tmp_path / "refused", options)
    require_kept(tuned_in_a_group(model, text, tmp_path / "out", (*options, "--ram", ram)))


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("tokens", [128, 512, 2048])
def test_a_vocabulary_of_248k_keeps_the_smallest_budget_that_a_refusal_named(
    many_words: Path, tmp_path: Path, tokens: int
) -> None:
    text = example_text(tmp_path / "learnt.jsonl", 2 * tokens)
    options = ("--steps", 2, "--batch", tokens, "--context", min(tokens, 512), "--rank", 8)
    ram = smallest_ram(many_words, text, tmp_path / "refused", options)
    require_kept(tuned_in_a_group(many_words, text, tmp_path / "out", (*options, "--ram", ram)))
