"""Paged or not, the logits are the same to the last bit."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from sixgig.modelfile import open_model
from sixgig.pager.pager import CachePolicy
from tests.paged.engines import (
    OPTIONS,
    PROMPT,
    logits_of,
    one_visit_bytes,
    open_paged,
    share_of_experts,
    stock_logits,
)
from tests.tiny.models import MIXTURES

SHARES = (0.0, 0.25, 0.5, 1.0)  # of the routed experts; 0: one expert of one tensor
DEMO = Path(__file__).resolve().parents[2] / "sixgig" / "demo" / "pep-moe-31m.gguf"


def assert_exact(path, cache_bytes, options=OPTIONS, prompt=PROMPT, **paging):
    with open_paged(path, cache_bytes, options, **paging) as engine:
        paged = logits_of(engine, prompt)
        counters = engine.pager.counters()
    expected = stock_logits(path, options, prompt)
    assert np.isfinite(expected).all() and expected.std() > 0.1
    different = np.flatnonzero((paged != expected).any(axis=1))
    assert not len(different), (
        f"positions {different[:8]} of {len(expected)}: {np.abs(paged - expected).max()}"
    )
    assert 0 < counters.peak_resident_bytes <= cache_bytes
    return counters


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("architecture", MIXTURES)
def test_every_family_at_every_cache_size(tiny, architecture, share):
    path = tiny(architecture)
    counters = assert_exact(path, share_of_experts(path, share))
    assert (counters.evictions > 0) == (share < 1.0)


@pytest.mark.parametrize("share", SHARES)
def test_the_demo_model(share):
    assert_exact(DEMO, share_of_experts(DEMO, share))


@pytest.mark.parametrize("share", SHARES)
def test_the_trained_model(shared_model, share):
    assert_exact(shared_model, share_of_experts(shared_model, share))


@pytest.mark.parametrize(("policy", "read_ahead"), list(product(CachePolicy, (False, True))))
@pytest.mark.parametrize("architecture", ["qwen35moe", "gpt-oss"])
def test_who_leaves_and_what_is_guessed_changes_nothing(tiny, architecture, policy, read_ahead):
    path = tiny(architecture)
    counters = assert_exact(path, share_of_experts(path, 0.5), policy=policy, read_ahead=read_ahead)
    assert (counters.predicted > 0) == read_ahead


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_guesses_in_a_small_cache(tiny, share):
    path = tiny("deepseek2")
    assert_exact(path, share_of_experts(path, share), read_ahead=True)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_one_thread(tiny, share):
    path = tiny("qwen3moe")
    assert_exact(path, share_of_experts(path, share), replace(OPTIONS, threads=1))


@pytest.mark.parametrize("share", [0.0, 0.5])
@pytest.mark.parametrize("type_name", ["F32", "F16", "Q8_0", "Q4_K", "Q6_K", "Q2_K"])
def test_every_kind_of_weights(tiny, type_name, share):
    path = tiny("qwen3moe", type_name, n_layers=2)
    assert_exact(path, share_of_experts(path, share))


def test_experts_that_straddle_pages(tiny):
    path = tiny("qwen3moe", "Q4_0", expert_width=224)
    offsets = {
        (tensor.offset + expert * tensor.size_bytes // tensor.shape[2]) % 4096
        for tensor in open_model(path).routed_experts()
        for expert in range(tensor.shape[2])
    }
    assert len(offsets) > 4
    for share in SHARES:
        assert_exact(path, share_of_experts(path, share))


@pytest.mark.parametrize("policy", CachePolicy)
def test_several_experts_within_one_page(tiny, policy):
    path = tiny("qwen3moe", "Q4_0", expert_width=16, n_experts=32)
    assert min(t.size_bytes // t.shape[2] for t in open_model(path).routed_experts()) < 4096
    for share in SHARES:
        assert_exact(path, share_of_experts(path, share), policy=policy)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_split_file(tiny, share):
    path = tiny("qwen3moe", "Q4_0", max_tensors_per_file=20)
    assert len(open_model(path).parts) >= 3
    assert_exact(path, share_of_experts(path, share), read_ahead=True)


def test_a_quantised_kv_cache(tiny):
    path = tiny("qwen3moe")
    options = replace(OPTIONS, type_k="Q8_0", type_v="Q8_0", flash_attention="on")
    assert_exact(path, share_of_experts(path, 0.25), options)


@pytest.mark.parametrize(("ubatch", "n_prompt"), [(1, 12), (7, 31), (512, 500), (512, 1)])
@pytest.mark.parametrize("share", [0.0, 0.25])
def test_other_widths_of_a_batch(tiny, ubatch, n_prompt, share):
    path, prompt = tiny("qwen35moe"), tuple(3 + i * i * 7 % 251 for i in range(n_prompt))
    assert_exact(path, share_of_experts(path, share), replace(OPTIONS, ubatch=ubatch), prompt)


@pytest.mark.parametrize(("n_experts", "n_used"), [(1, 1), (4, 4), (64, 1), (16, 8)])
def test_odd_numbers_of_experts(tiny, n_experts, n_used):
    path = tiny("qwen3moe", "Q4_0", n_layers=3, n_experts=n_experts, n_used=n_used)
    for share in (0.0, 0.5, 1.0):
        assert_exact(path, share_of_experts(path, share), OPTIONS, PROMPT[:16], read_ahead=True)


@pytest.mark.parametrize("policy", CachePolicy)
@pytest.mark.parametrize("read_ahead", [False, True])
def test_a_cache_of_just_what_one_token_needs(tiny, policy, read_ahead):
    path = tiny("qwen3moe")
    room = one_visit_bytes(open_model(path))
    for extra in (-1, 0, room // 2):
        assert_exact(path, room + extra, OPTIONS, PROMPT[:16], policy=policy, read_ahead=read_ahead)
