"""Files of kinds that no family declares, quantised as `sixgig shrink` does: the library alone runs them, and
here they give its bits, paged too; calibration sees every matrix that the graph multiplies by.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.architectures.description import write
from bench.architectures.skipped_models import describe_tiny
from bench.architectures.skipped_settings import TINY
from bench.architectures.text import from_json
from sixgig.calibration.calibrate import Calibrator
from sixgig.calibration.moments import accumulator_bytes
from sixgig.compress.choose import header_bytes, stored_bytes
from sixgig.compress.plain import plain_types
from sixgig.compress.types import can_be_quantised
from sixgig.compress.write import Job, write_model
from sixgig.evaluate import Windows
from sixgig.families import Role
from sixgig.inference.engine import Engine
from sixgig.inference.load import open_engine
from sixgig.inference.request import PagingOptions
from sixgig.modelfile import open_model
from sixgig.weights.stored import StoredWeights
from tests.paged.engines import OPTIONS, logits_of, share_of_experts, stock_logits

# For what each has that is no matrix of blocks: hyper-connections and compressors, experts of values, short
# convolutions and latent attention, low-rank and lerp weights, per-layer embeddings and their projections.
GROWN, OWN = ("deepseek4", "k2-horizon", "kimi-linear"), ("rwkv7", "gemma3n")
OPENED = replace(OPTIONS, context=256, ubatch=32)
PROMPT = tuple(3 + i * i * 7 % 121 for i in range(48))
DECODED = tuple(3 + i * i * 11 % 113 for i in range(4))
RAM_BYTES = 1 << 30
# These layers use the keys and values of earlier ones; the file has their own, and the graph reads them not.
UNREAD = {"gemma3n": {f"blk.{layer}.attn_{what}.weight" for layer in (20, 21) for what in "kv"}}
METADATA = {"general.quantization_version": 2}


@pytest.fixture(scope="module", params=[*GROWN, *OWN])
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    facts = Path(__file__).parent / f"{request.param}.json"
    own = request.param in OWN
    described = describe_tiny(TINY[request.param], "F32") if own else from_json(facts.read_text())
    made = write(described, tmp_path_factory.mktemp("made") / f"{request.param}.gguf")
    yield made
    made.unlink()


def test_a_plain_file_of_any_kind_runs_and_gives_stocks_bits(source: Path, tmp_path: Path) -> None:
    weights, out = StoredWeights(open_model(source)), tmp_path / "quantised.gguf"
    types = plain_types(weights, "Q3_K")
    assert sum(types[info.name] != info.type for info in weights.tensors) > 10
    write_model(Job(weights, types, lambda name: None, METADATA), out, threads=2)
    predicted = header_bytes(weights, METADATA)
    predicted += sum(stored_bytes(info, types[info.name]) for info in weights.tensors)
    assert out.stat().st_size == predicted < source.stat().st_size
    stock = stock_logits(out, OPENED, PROMPT, DECODED)
    assert np.isfinite(stock).all() and stock.std() > 0
    options = [PagingOptions(never=True)]
    if weights.model.routed_bytes:
        options.append(PagingOptions(always=True, cache_bytes=share_of_experts(out, 0.25)))
    for paging in options:
        with open_engine(out, RAM_BYTES, OPENED, paging) as engine:
            assert np.array_equal(logits_of(engine, PROMPT, DECODED), stock)


def test_calibration_sees_every_matrix_and_takes_no_more_than_it_says(source: Path, tmp_path: Path) -> None:
    model = open_model(source)
    tokens = np.random.default_rng(0).integers(3, 120, (2, 64)).astype(np.int32)
    work = Calibrator(model, Windows(tokens, None), tmp_path)
    with Engine(source, replace(OPENED, all_logits=False), observe=work.collector) as engine:

        def feed(row: list[int]) -> None:
            engine.clear()
            for start in range(0, len(row), engine.ubatch):
                engine.feed(row[start : start + engine.ubatch])

        found = work.run(feed)
    matrices = [info for info in StoredWeights(model).tensors if can_be_quantised(info)]
    missed = {info.name for info in matrices if found.moments(info.name) is None}
    tables = {info.name for info in matrices if info.role is Role.EMBEDDING}
    assert missed == tables | UNREAD.get(source.stem, set())
    held = [one for moments in found.moments_by_first.values() for one in vars(moments).values()]
    assert sum(one.nbytes for one in held) <= accumulator_bytes(model)
