"""A real model of 49,152 tokens is tuned within --ram, and takes what was predicted."""

import pytest

from tests.tune.memory_case import example_text, require_kept, smallest_ram, tuned_in_a_group


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("tokens", "more"),
    [(256, ("--rank", 64, "--targets", "attention")), (512, ("--optimizer", "muon")), (1024, ())],
)
def test_a_real_model_keeps_the_smallest_budget_that_a_refusal_named(smollm2, tmp_path, tokens, more):
    text = example_text(tmp_path / "learnt.jsonl", 2 * tokens)
    options = ("--batch", tokens, "--context", tokens, "--steps", 1, *more)
    ram = smallest_ram(smollm2, text, tmp_path / "refused", options)
    require_kept(tuned_in_a_group(smollm2, text, tmp_path / "out", (*options, "--ram", ram)))


@pytest.mark.timeout(1200)
def test_a_real_model_keeps_a_budget_with_room_to_merge(smollm2, tmp_path):
    text = example_text(tmp_path / "learnt.jsonl", 2048)
    options = ("--batch", 1024, "--steps", 1, "--ram", "1080M", "--merge", tmp_path / "merged.gguf")
    require_kept(tuned_in_a_group(smollm2, text, tmp_path / "out", options))
