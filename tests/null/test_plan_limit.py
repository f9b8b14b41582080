import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sixgig.planning.limit import Limit, Traffic, distinct_experts

sizes = st.floats(0, 1e15)
rates = st.floats(1e3, 1e13)


def test_the_limit_is_memory_plus_disk_time() -> None:
    traffic = Traffic(dense_bytes=2e9, expert_bytes=1e9, disk_bytes=4e8)
    assert traffic.memory_bytes == pytest.approx(2.6e9)
    assert Limit(1e10, 1e9).seconds(traffic) == pytest.approx(0.26 + 0.4)


def test_bytes_without_a_bandwidth_take_for_ever_and_no_bytes_no_time() -> None:
    assert Limit(1e10, None).seconds(Traffic(0, 0, 1)) == math.inf
    assert Limit(1e10, None).seconds(Traffic(0, 0, 0)) == 0
    assert Limit(0).seconds(Traffic(1, 0)) == math.inf


@given(sizes, sizes, sizes, rates, rates, st.floats(1, 1e3))
def test_more_bytes_or_less_bandwidth_never_take_less_time(
    dense: float, experts: float, disk: float, memory_rate: float, disk_rate: float, factor: float
) -> None:
    base = Limit(memory_rate, disk_rate).seconds(Traffic(dense, experts, disk))
    assert base >= 0
    assert Limit(memory_rate, disk_rate).seconds(Traffic(dense * factor, experts, disk)) >= base
    assert Limit(memory_rate / factor, disk_rate).seconds(Traffic(dense, experts, disk)) >= base
    assert Limit(memory_rate, disk_rate / factor).seconds(Traffic(dense, experts, disk)) >= base


@given(sizes, sizes, sizes)
def test_what_came_from_disk_is_not_counted_twice(dense: float, experts: float, disk: float) -> None:
    traffic = Traffic(dense, experts, disk)
    assert dense <= traffic.memory_bytes <= dense + experts


@given(st.integers(1, 512), st.data())
def test_distinct_experts_grow_from_those_of_one_token_to_all(n_experts: int, data: st.DataObject) -> None:
    n_used = data.draw(st.integers(1, n_experts))
    n_tokens = data.draw(st.integers(1, 4096))
    distinct = distinct_experts(n_experts, n_used, n_tokens)
    assert distinct_experts(n_experts, n_used, 1) == pytest.approx(n_used)
    assert n_used * (1 - 1e-9) <= distinct <= min(n_experts, n_used * n_tokens) * (1 + 1e-9)
    assert distinct <= distinct_experts(n_experts, n_used, n_tokens + 1) * (1 + 1e-9)


def test_a_dense_model_has_no_experts_to_read() -> None:
    assert distinct_experts(0, 0, 5) == 0
