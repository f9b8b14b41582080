"""Several models in one process, from several threads: whatever one does, the others' logits are right."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import numpy as np
import pytest

from sixgig.errors import ModelFileError
from sixgig.inference.dry_load import dry_load
from sixgig.inference.engine import Engine
from sixgig.inference.load import open_engine
from sixgig.inference.request import PagingOptions
from sixgig.modelfile import open_model
from sixgig.pager.pager import Pager
from tests.paged.engines import OPTIONS, logits_of, open_paged, share_of_experts, stock_logits

SHORT = {"prompt": (3, 10, 31, 66, 115), "decoded": (7, 14)}
PLENTY = 4 << 30  # the process of many tests is large itself


def is_right(engine, path):
    return np.array_equal(logits_of(engine, **SHORT), stock_logits(path, **SHORT))


def opened(path, paged):
    if not paged:
        return Engine(open_model(path).parts, OPTIONS)
    return open_paged(path, share_of_experts(path, 0.25), read_ahead=True)


@contextmanager
def computing(path, paged):
    """A model that another thread computes with meanwhile; at the end every result must have been right."""
    done, results = threading.Event(), []
    stock_logits(path, **SHORT)

    def compute(engine):
        while not done.is_set() or not results:
            results.append(is_right(engine, path))

    with opened(path, paged) as engine, ThreadPoolExecutor(1) as thread:
        work = thread.submit(compute, engine)
        try:
            yield
        finally:
            done.set()
            work.result()
    assert all(results), f"{results.count(False)} of {len(results)} results are wrong"


def at_once(*works):
    """All of these at the same time, each in a thread of its own."""
    start = threading.Barrier(len(works))

    def begin(work):
        start.wait()
        return work()

    with ThreadPoolExecutor(len(works)) as threads:
        return list(threads.map(begin, works))


@pytest.mark.parametrize(
    ("first_paged", "second_paged", "times"),
    [(True, True, 100), (True, False, 10), (False, True, 10)],
    ids=["paged beside paged", "unpaged beside paged", "paged beside unpaged"],
)
def test_one_loads_and_closes_while_another_computes(tiny, first_paged, second_paged, times):
    paths = tiny("qwen3moe"), tiny("gpt-oss")
    with computing(paths[0], first_paged):
        for _ in range(times):
            with opened(paths[1], second_paged) as engine:
                assert is_right(engine, paths[1])


def test_models_of_the_same_names_load_at_the_same_time(tiny):
    paths = [tiny("qwen3moe", seed=seed) for seed in (1, 2, 3)]
    for path in paths:
        stock_logits(path, **SHORT)

    def again_and_again(path):
        for _ in range(8):
            with opened(path, paged=True) as engine:
                assert is_right(engine, path) and engine.pager.counters().misses > 0

    at_once(*(lambda path=path: again_and_again(path) for path in paths))


def test_one_loads_while_another_is_measured(tiny):
    paths = tiny("qwen3moe"), tiny("qwen3moe", seed=5)
    model = open_model(paths[1])
    alone, stop = dry_load(model, OPTIONS), threading.Event()

    def measure():
        while not stop.is_set():
            with Pager(model) as pager:
                measured = dry_load(model, OPTIONS, pager)
                assert {need.buffer for need in measured.buffers} == buffers_of_paging

    def load():
        try:
            for _ in range(10):
                with opened(paths[0], paged=True) as engine:
                    assert is_right(engine, paths[0])
        finally:
            stop.set()

    with Pager(model) as pager:
        buffers_of_paging = {need.buffer for need in dry_load(model, OPTIONS, pager).buffers}
    assert buffers_of_paging > {need.buffer for need in alone.buffers}
    at_once(measure, load)


def test_engines_within_a_budget_open_at_the_same_time(tiny):
    """The whole way of a request: measured, planned, loaded, each in a thread of its own."""
    paths = tiny("qwen3moe"), tiny("gpt-oss")
    for path in paths:
        stock_logits(path, **SHORT)

    def again_and_again(path):
        for _ in range(3):
            with open_engine(path, PLENTY, OPTIONS, PagingOptions(always=True)) as engine:
                assert is_right(engine, path)

    at_once(*(lambda path=path: again_and_again(path) for path in paths))


def test_two_models_of_one_file_each_have_their_own_pager(tiny):
    path = tiny("qwen3moe")
    with ExitStack() as both:
        engines = [both.enter_context(opened(path, paged=True)) for _ in range(2)]
        assert all(is_right(engine, path) for engine in engines)
        assert all(engine.pager.counters().misses > 0 for engine in engines)


def test_each_load_that_fails_gives_its_own_reason(tiny, tmp_path):
    """Several at once: the engine's words about one are not taken for another's."""
    paths = []
    for name in (b"tokenizer.ggml.model", b"qwen3moe.block_count"):
        paths.append(tmp_path / f"{name.decode()}.gguf")
        paths[-1].write_bytes(tiny("qwen3moe").read_bytes().replace(name, name[:-1] + b"X"))

    def reasons(path):
        found = set()
        for _ in range(10):
            with pytest.raises(ModelFileError) as error:
                Engine(path, OPTIONS)
            found.add(str(error.value))
        return found

    alone = [reasons(path) for path in paths]
    assert at_once(*(lambda path=path: reasons(path) for path in paths)) == alone
    assert all(len(found) == 1 for found in alone) and alone[0] != alone[1]
