"""The mixture made of SmolLM2, as it begins: the dense logits, and real text paged to the same bits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bench.mixture.figures import PROMPT, apart, logits_of, paging
from bench.mixture.routers import first_routers, hear
from bench.mixture.text import Text, read_text
from bench.mixture.upcycle import upcycle
from sixgig.modelfile import ModelFile, open_model

pytestmark = pytest.mark.timeout(1500)
N_EXPERTS, N_USED, THREADS = 8, 2, 2


@pytest.fixture(scope="module")
def text(smollm2: Path) -> Text:
    return read_text(open_model(smollm2), None)


@pytest.fixture(scope="module")
def mixture(smollm2: Path, text: Text, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelFile]:
    """430 MiB, made in seconds."""
    dense, path = open_model(smollm2), tmp_path_factory.mktemp("mixture") / "mixture.gguf"
    routers = first_routers(dense, text.learnt[0], N_EXPERTS, 1, THREADS)
    yield open_model(upcycle(dense, routers, N_USED, path))
    path.unlink()


def test_with_even_gates_its_logits_are_the_dense_models_to_the_bit(
    smollm2: Path, text: Text, tmp_path: Path
) -> None:
    dense, path, tokens = open_model(smollm2), tmp_path / "even.gguf", text.held_out[0][:64]
    even = [np.zeros((N_EXPERTS, dense.n_embd), np.float32)] * dense.n_layers
    mixture = open_model(upcycle(dense, even, N_USED, path))
    assert np.array_equal(logits_of(dense, tokens, THREADS), logits_of(mixture, tokens, THREADS))
    path.unlink()


def test_with_its_first_routers_they_differ_by_the_rounding_of_activations(
    smollm2: Path, mixture: ModelFile, text: Text
) -> None:
    """Two gates that add up to 1 round a value otherwise, and its 8 bits may then be others."""
    tokens = text.held_out[0][:64]
    found = apart(*(logits_of(model, tokens, THREADS) for model in (open_model(smollm2), mixture)))
    assert found["rms_difference"] < 0.05 * found["deviation"] and found["same_top1"] >= 0.95


def test_its_routers_tell_tokens_apart_and_use_all_experts(mixture: ModelFile, text: Text) -> None:
    chosen = hear(mixture, text.held_out[1], THREADS).chosen
    assert len(chosen) == mixture.n_layers
    for rows in chosen.values():
        shares = np.bincount(np.stack(rows).flatten(), minlength=N_EXPERTS) / (N_USED * len(rows))
        assert shares.min() > 0.01 and shares.max() < 0.5


def test_real_text_is_paged_to_the_same_bits(mixture: ModelFile, text: Text) -> None:
    quarter, half = paging(mixture, text, PROMPT + 12, THREADS, 3 << 30)
    for found in (quarter, half):
        assert found["same_bits"] and found["prompt"]["misses"] and found["decode"]["misses"]
    assert quarter["decode"]["hit_rate"] < half["decode"]["hit_rate"] < 1
