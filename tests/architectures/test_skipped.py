"""Architectures that the engine's own generator skips, on tiny files described by settings alone."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from bench.architectures import serving_job
from bench.architectures.description import write
from bench.architectures.skipped_models import describe_tiny
from bench.architectures.skipped_settings import TINY
from bench.architectures.trying import outcome
from sixgig.errors import ModelFileError
from sixgig.inference import EngineOptions
from sixgig.inference.dry_load import dry_load
from sixgig.inference.load import open_engine
from sixgig.jobs.plan import plan
from sixgig.llamacpp import memory_breakdown
from sixgig.modelfile import open_model
from tests.paged.engines import OPTIONS, logits_of, open_paged, share_of_experts, stock_logits

RAM_BYTES = 1 << 30
PROMPT = tuple(3 + i * i * 7 % 251 for i in range(48))
OLD_BOX = "cpu-box-2c-24g"
PLAN = partial(plan, machine=OLD_BOX, ram=4 << 30, prompt_tokens=64, ubatch=64)
SHORT = replace(OPTIONS, ubatch=32)  # two evaluations, further back than the files' windows of 16


@pytest.fixture(scope="module")
def skipped(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The file of that name in the table, made once. Read only."""
    folder, made = tmp_path_factory.mktemp("skipped"), dict[str, Path]()

    def make(name: str) -> Path:
        if name not in made:
            made[name] = write(describe_tiny(TINY[name], "Q4_K"), folder / f"{len(made)}.gguf")
        return made[name]

    return make


@pytest.mark.parametrize("name", ["gemma3n", "gemma4", "rwkv7", "apertus"])
def test_one_without_a_declaration_runs_with_the_librarys_bits_in_the_memory_that_was_told(skipped, name):
    path = skipped(name)
    expected = stock_logits(path, SHORT, PROMPT)
    dry = dry_load(open_model(path), SHORT)
    with open_engine(path, RAM_BYTES, SHORT) as engine:
        logits = logits_of(engine, PROMPT)
        held = memory_breakdown(engine.library.c, engine._context)
    assert np.isfinite(expected).all() and expected.std() > 0.1
    assert np.array_equal(logits, expected)
    assert dry.buffers == held


@pytest.mark.parametrize(
    "name", ["gemma4, experts", "step35", "granitehybrid, experts", "nemotron_h_moe, experts by layer"]
)
def test_its_experts_page_to_the_librarys_bits(skipped, name):
    path = skipped(name)
    expected = stock_logits(path, SHORT, PROMPT)
    assert np.isfinite(expected).all() and expected.std() > 0.1
    for share in (0.0, 0.25):
        with open_paged(path, share_of_experts(path, share), SHORT) as engine:
            assert np.array_equal(logits_of(engine, PROMPT), expected), share
            assert engine.pager.counters().evictions > 0


@pytest.mark.parametrize("name", ["bert", "nomic-bert-moe"])
def test_embeddings_are_those_of_the_wheels_own_server_paged_or_not(skipped, name):
    path = skipped(name)
    stock, served = (outcome(work, path, serving_job.__name__) for work in ("stock", "served"))
    assert not stock.failure and not served.failure, (stock.failure, served.failure)
    assert np.array_equal(served.logits["served"], stock.logits["repacked"])
    assert served.facts["dry"] == served.facts["held"]
    if TINY[name].is_mixture:
        assert np.array_equal(served.logits["paged"], stock.logits["plain"])


def test_served_with_two_sequences_gemma_4_gives_the_tokens_of_the_wheels_own_server(skipped):
    works = ("stock text", "served text")
    stock, served = (outcome(work, skipped("gemma4"), serving_job.__name__) for work in works)
    assert not stock.failure and not served.failure, (stock.failure, served.failure)
    assert served.logits["tokens"].tolist() == stock.logits["tokens"].tolist()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("t5", "an encoder before its decoder"),
        ("eagle3", "a draft for another model"),
        ("gemma4-assistant", "a draft for another model"),
        ("plm", "GGML_ASSERT"),
        ("neo-bert", "embedding model"),
    ],
)
def test_what_cannot_generate_is_refused_before_anything_is_loaded(skipped, name, words):
    with pytest.raises(ModelFileError) as refused:
        open_engine(skipped(name), RAM_BYTES, SHORT)
    assert words in str(refused.value)


@pytest.mark.parametrize("name", ["bert", "llama-embed", "neo-bert"])
def test_an_embedder_of_several_texts_is_planned_with_what_each_of_their_tokens_gives(skipped, name):
    options = EngineOptions(context=256, sequences=2, ubatch=256, threads=2, pooling="mean")
    code = (
        "import sys; from pathlib import Path; from sixgig.inference import EngineOptions; "
        "from sixgig.inference.dry_load import dry_load; from sixgig.modelfile import open_model; "
        f"dry_load(open_model(Path(sys.argv[1])), EngineOptions(**{options.__dict__}))"
    )  # in a process of its own, which the engine would end
    done = subprocess.run([sys.executable, "-c", code, skipped(name)], stderr=subprocess.PIPE, check=False)
    assert done.returncode == 0, done.stderr.decode()[-500:]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("t5", "an encoder before its decoder"),
        ("eagle3", "a draft for another model"),
        ("gemma4-assistant", "a draft for another model"),
    ],
)
def test_what_cannot_generate_is_no_row_of_a_plan_and_said_by_name_whatever_the_parallel(
    skipped, name, words
):
    model = open_model(skipped(name))
    for sequences in (1, 2):  # as an engine process that is to serve asks, before it arranges anything
        with pytest.raises(ModelFileError, match=words):
            dry_load(model, replace(SHORT, sequences=sequences))
    for kind in ("run", "shrink"):
        with pytest.raises(ModelFileError, match=words):
            PLAN(skipped(name), task=kind)


def test_an_embedder_is_planned_to_be_served_and_not_to_be_shrunk(skipped):
    assert PLAN(skipped("bert")).recommended.plan
    with pytest.raises(ModelFileError, match="is an embedding model"):
        PLAN(skipped("bert"), task="shrink")
