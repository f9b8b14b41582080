"""Mixtures of sixteen kinds that the engine knows: as they are and paged, each with the library's own bits.

Each file is written from the facts of a header (bench.architectures.record) with values of a seed.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.architectures.description import write
from bench.architectures.expand import N_EXPERTS, N_USED
from bench.architectures.text import from_json
from sixgig.inference.load import open_engine
from sixgig.inference.request import PagingOptions
from sixgig.modelfile import ModelFile, open_model
from sixgig.pager.trace import TraceFile
from tests.paged.engines import OPTIONS, logits_of, share_of_experts, stock_logits

FACTS = sorted(Path(__file__).parent.glob("*.json"))
PROMPT = tuple(3 + i * i * 7 % 121 for i in range(48))  # two evaluations, further back than a window of 32
DECODED = tuple(3 + i * i * 11 % 113 for i in range(8))
OPENED = replace(OPTIONS, context=256, ubatch=32)
RAM_BYTES = 1 << 30


@pytest.fixture(scope="module", params=FACTS, ids=lambda facts: facts.stem)
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One at a time: the largest take 40 MB."""
    facts: Path = request.param
    made = write(from_json(facts.read_text()), tmp_path_factory.mktemp("made") / f"{facts.stem}.gguf")
    yield made
    made.unlink()


def test_there_are_sixteen() -> None:
    assert len(FACTS) == 16


def test_unpaged_it_computes_what_the_library_alone_computes(path: Path) -> None:
    expected = stock_logits(path, OPENED, PROMPT, DECODED)
    assert np.isfinite(expected).all() and expected.std() > 0.1
    with open_engine(path, RAM_BYTES, OPENED, PagingOptions(never=True)) as engine:
        assert np.array_equal(logits_of(engine, PROMPT, DECODED), expected)


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_paged_it_computes_the_same_without_most_of_its_experts(path: Path, share: float, tmp_path) -> None:
    paging = PagingOptions(always=True, cache_bytes=share_of_experts(path, share))
    with open_engine(path, RAM_BYTES, OPENED, paging) as engine, engine.pager.tracing(tmp_path / "trace"):
        paged = logits_of(engine, PROMPT, DECODED)
        counters = engine.counters()
    assert np.array_equal(paged, stock_logits(path, OPENED, PROMPT, DECODED))
    assert counters.evictions > 0 and counters.peak_resident_bytes <= paging.cache_bytes
    assert counters.bytes_read > experts_that_run(open_model(path))
    seen = experts_by_layer(tmp_path / "trace")
    assert all(N_USED < len(experts) <= N_EXPERTS for experts in seen.values())


def experts_that_run(model: ModelFile) -> int:
    """Bytes of half the experts, those of layers that predict left out: more were read, so some again."""
    n_layers = model.n_layers - model.hyperparameters.n_prediction_layers
    return sum(t.size_bytes for t in model.routed_experts() if (t.layer or 0) < n_layers) // 2


def experts_by_layer(trace: Path) -> dict[int, set[int]]:
    seen: dict[int, set[int]] = {}
    for visit in TraceFile(trace):
        seen.setdefault(visit.layer, set()).update(visit.experts)
    return seen
