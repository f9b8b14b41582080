"""Opening a paged model: what is read, what an interrupt leaves, and which budget is kept."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.synthetic.shape import Shape
from bench.synthetic.writer import write_model
from sixgig.errors import BudgetError, EngineError
from sixgig.inference import loading
from sixgig.inference.load import open_engine
from sixgig.inference.request import PagingOptions
from sixgig.modelfile import open_model
from sixgig.pager.pager import ModelStream
from tests.paged.engines import OPTIONS, PROMPT, logits_of, open_paged, share_of_experts, stock_logits

PAGED = PagingOptions(always=True)
MIB = 1 << 20
BUDGET = 4 << 30  # the process of many tests is large itself
SMALL = replace(OPTIONS, context=256)


@pytest.fixture(scope="session")
def experts_mostly(tmp_path_factory):
    """About 60 MB, most of it experts."""
    path = tmp_path_factory.mktemp("synthetic") / "model.gguf"
    write_model(Shape(n_layers=4, n_embd=512, n_experts=64, expert_width=256, n_vocab=4096), path)
    return path


def memory_bytes(field):
    """Of this process: VmRSS, what it holds; VmHWM, the most that it held."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in status if line.startswith(field))


def bytes_asked_of_files():
    with open("/proc/self/io") as file:
        return int(file.readline().split()[1])


@pytest.mark.skipif(not os.path.exists("/proc/self/io"), reason="the kernel does not count reads here")
def test_starting_reads_no_experts(experts_mostly):
    model = open_model(experts_mostly)
    assert model.routed_bytes > 3 * model.dense_bytes
    open_engine(experts_mostly, BUDGET, SMALL, PAGED).close()  # once, for what Python and the library read
    before = bytes_asked_of_files()
    with open_engine(experts_mostly, BUDGET, SMALL, PAGED) as engine:
        read = bytes_asked_of_files() - before
        assert engine.counters().bytes_read == engine.counters().resident_bytes == 0
        engine.prefill(PROMPT[:8])
        assert engine.counters().bytes_read > 0
    assert model.dense_bytes * 0.9 < read < 1.2 * model.dense_bytes


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="the kernel keeps no peak here")
def test_no_expert_tensor_is_staged_whole(tmp_path):
    """To the loader the experts' buffer is one that it uploads to, through four buffers of 1 MiB."""
    path = tmp_path / "model.gguf"
    write_model(Shape(n_layers=1, n_embd=1024, n_experts=128, expert_width=512, n_vocab=512), path)
    assert min(tensor.size_bytes for tensor in open_model(path).routed_experts()) > 32 * MIB
    open_engine(path, BUDGET, SMALL, PAGED).close()
    peaks = []

    def note_peak(_fraction):
        peaks.append(memory_bytes("VmHWM"))

    before = memory_bytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    open_engine(path, BUDGET, SMALL, PAGED, progress=note_peak).close()
    assert peaks[-1] - before < 24 * MIB


def test_progress_rises_to_one_and_may_stop_the_loading(tiny):
    seen = []
    open_engine(tiny("qwen3moe"), BUDGET, SMALL, PAGED, progress=seen.append).close()
    assert seen == sorted(seen) and seen[-1] == 1.0
    with pytest.raises(Exception, match="stopped"):
        open_engine(tiny("qwen3moe"), BUDGET, SMALL, PAGED, progress=lambda _fraction: False)


def test_an_interrupt_while_loading_leaves_nothing_behind(tiny):
    path, files = tiny("qwen3moe"), len(os.listdir("/proc/self/fd"))
    threads = len(os.listdir("/proc/self/task"))
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            open_engine(
                path, BUDGET, SMALL, PAGED, progress=lambda _fraction: os.kill(os.getpid(), signal.SIGINT)
            )
    assert len(os.listdir("/proc/self/fd")) == files and len(os.listdir("/proc/self/task")) == threads
    with open_engine(path, BUDGET, OPTIONS, PAGED) as engine:
        assert np.array_equal(logits_of(engine), stock_logits(path))


def test_experts_that_the_engine_puts_elsewhere_are_an_error_not_rubbish(tiny, monkeypatch):
    """The stream passes over them, so whoever else holds them was given no bytes."""
    monkeypatch.setattr(loading, "name_patterns", lambda _names: [])
    with pytest.raises(EngineError, match=r"does not page an expert tensor; blk\.0\.ffn_"):
        open_engine(tiny("qwen3moe"), BUDGET, SMALL, PAGED)


@pytest.mark.parametrize("cache_bytes", [1, 4096, 50_000])
def test_a_cache_of_the_callers_choice_is_refused_or_works(tiny, cache_bytes):
    path = tiny("qwen3moe")
    try:
        engine = open_engine(path, BUDGET, OPTIONS, replace(PAGED, cache_bytes=cache_bytes))
    except BudgetError:
        return
    with engine:
        assert np.array_equal(logits_of(engine), stock_logits(path))
        assert engine.counters().peak_resident_bytes <= cache_bytes


def test_the_refusal_names_the_smallest_budget_and_that_one_works(experts_mostly):
    with pytest.raises(BudgetError) as refusal:
        open_engine(experts_mostly, 64 << 20, OPTIONS, PAGED)
    smallest = int(str(refusal.value).split("--ram ")[1].split("M")[0]) << 20
    with open_engine(experts_mostly, smallest + (4 << 20), OPTIONS, PAGED) as engine:
        assert np.array_equal(logits_of(engine), stock_logits(experts_mostly))
        assert engine.counters().peak_resident_bytes <= engine.plan.expert_cache_bytes


@pytest.mark.parametrize("moment", ["before the weights", "among the weights"])
def test_loading_one_while_another_computes(tiny, monkeypatch, moment):
    paths = tiny("qwen3moe"), tiny("gpt-oss")
    half = {path: share_of_experts(path, 0.5) for path in paths}
    with open_paged(paths[0], half[paths[0]]) as one:
        opened = ModelStream.source

        def source(stream):
            logits_of(one)
            return opened(stream)

        if moment == "before the weights":
            monkeypatch.setattr(ModelStream, "source", source)
        with open_engine(
            paths[1],
            BUDGET,
            OPTIONS,
            replace(PAGED, cache_bytes=half[paths[1]]),
            progress=lambda _fraction: logits_of(one) is not None,
        ) as two:
            monkeypatch.undo()
            assert np.array_equal(logits_of(two), stock_logits(paths[1]))
            assert two.counters().misses > 0
            assert np.array_equal(logits_of(one), stock_logits(paths[0]))
