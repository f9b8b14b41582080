"""README, "Below a llama.cpp of your own": what was asked for is paged, to the same text, or it stops."""

import os
import time

import pytest

from sixgig.modelfile import open_model
from tests.stock.llama_server import MIB, end_of, running

CACHE_BYTES = 40 * MIB
MANUAL = ["--load-mode", "none", "--no-repack"]
WAYS = {
    "as the manual says": MANUAL,
    "defaults": ["--no-repack"],
    "not measured first": ["--fit", "off", *MANUAL],
    "mapped": ["--load-mode", "mmap", "--no-repack"],
    "direct": ["--load-mode", "dio", "--no-repack"],
    "experts to the processor": [*MANUAL, "--cpu-moe"],
    "checked": [*MANUAL, "--check-tensors"],
}


@pytest.fixture(scope="module")
def stock(llama_server, model, tmp_path_factory):
    """Its answer without us, and the memory that it takes then."""
    with running(llama_server, model, tmp_path_factory.mktemp("log") / "stock", MANUAL) as server:
        return server.answer(), server.anonymous_bytes()


def saved_bytes(model):
    return open_model(model).routed_bytes - CACHE_BYTES


@pytest.mark.parametrize("options", WAYS.values(), ids=WAYS)
def test_what_was_asked_for_is_paged_and_the_text_is_the_same(
    llama_server, model, experts, stock, tmp_path, options
):
    answer, unpaged_bytes = stock
    with running(llama_server, model, tmp_path / "log", options, experts) as server:
        assert server.answer() == answer
        assert server.anonymous_bytes() < unpaged_bytes - 0.9 * saved_bytes(model)


def test_repacked_weights_give_the_same_text_whatever_the_cache(
    llama_server, model, experts, stock, tmp_path
):
    ample = tmp_path / "ample"
    ample.write_text(experts.read_text().replace(f"cache {CACHE_BYTES} ", f"cache {1 << 30} "))
    with running(llama_server, model, tmp_path / "ample.log", ["--load-mode", "none"], ample) as server:
        answer = server.answer()
    with running(llama_server, model, tmp_path / "log", ["--load-mode", "none"], experts) as server:
        assert server.answer() == answer
        assert server.anonymous_bytes() < stock[1] - 0.9 * saved_bytes(model)


def test_a_model_that_slept_is_paged_when_it_wakes(llama_server, model, experts, stock, tmp_path):
    options = [*MANUAL, "--sleep-idle-seconds", "1"]
    answer, unpaged_bytes = stock
    with running(llama_server, model, tmp_path / "log", options, experts) as server:
        assert server.answer() == answer
        while not server.sleeps():
            time.sleep(0.1)
        assert server.answer() == answer
        assert server.anonymous_bytes() < unpaged_bytes - 0.6 * saved_bytes(model)  # the heap keeps some


def test_another_model_than_announced_stops_the_program(llama_server, experts, tiny, tmp_path):
    status, said = end_of(llama_server, tiny("llama"), tmp_path / "log", [], experts)
    assert status != 0 and "sixgig: error: the engine does not page blk.0.ffn_" in said


def test_a_file_that_changed_since_stops_the_program(llama_server, model, experts, tmp_path):
    other = tmp_path / "moved.gguf"
    os.link(model, other)
    stale = tmp_path / "experts"
    stale.write_text(experts.read_text().replace(str(model.stat().st_mtime_ns), "1"))
    status, said = end_of(llama_server, model, tmp_path / "log", [], stale)
    assert status != 0 and "sixgig: not loaded: " in said and "changed" in said


def test_a_second_model_with_the_same_experts_stops_the_program(llama_server, model, experts, tmp_path):
    options = ["--model-draft", str(model), "--spec-type", "draft-simple"]
    status, said = end_of(llama_server, model, tmp_path / "log", options, experts)
    assert status != 0 and "in use by another model of this process" in said
