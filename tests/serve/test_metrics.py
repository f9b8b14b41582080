"""What Prometheus reads: every figure there is, none that is absent, whatever the models are called."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from sixgig.gateway.metrics import Metrics
from tests.serve.statuses import GIB, MIB, busy, empty, model, tiers


def families(snapshot: dict[str, Any]) -> dict[str, Any]:
    text = Metrics(lambda: snapshot).text().decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def samples(snapshot: dict[str, Any], name: str) -> dict[tuple[str, ...], float]:
    """Values of a sample's name by the values of its labels, in the alphabetical order of these."""
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in families(snapshot).values()
        for sample in family.samples
        if sample.name == name
    }


def test_a_busy_server_in_figures() -> None:
    assert samples(busy(), "sixgig_tokens_per_second")["qwen3.5-122b-a10b",] == 19.8
    assert samples(busy(), "sixgig_tokens_total")["prompt", "qwen3.5-122b-a10b"] == 912_000
    assert samples(busy(), "sixgig_memory_bytes")["gemma-3-4b-it", "KV cache"] == 544 * MIB
    assert samples(busy(), "sixgig_budget_bytes")["ram",] == 24 * GIB
    assert samples(busy(), "sixgig_queue_waiting") == {(): 2}
    assert samples(busy(), "sixgig_engine_losses_total")["gemma-3-4b-it",] == 1
    assert samples(busy(), "sixgig_watts") == {(): 61.3}
    assert samples(busy(), "sixgig_upstream_spent")["EUR", "example-cloud", "month"] == pytest.approx(6.12045)
    assert samples(busy(), "sixgig_upstream_cap")["EUR", "example-cloud", "day"] == pytest.approx(1)
    assert samples(busy(), "sixgig_build_info") == {("0.1.0",): 1}


def test_what_is_absent_is_left_out_and_zero_is_not() -> None:
    found = families(empty())
    absent = {"sixgig_joules", "sixgig_watts", "sixgig_idle_watts", "sixgig_expert_hit_ratio"}
    assert not absent & set(found)
    assert samples(empty(), "sixgig_requests_rejected_total") == {(): 0}
    assert samples(busy(), "sixgig_expert_hit_ratio") == {("qwen3.5-122b-a10b",): 0.913}
    assert ("EUR", "workstation", "day") not in samples(busy(), "sixgig_upstream_cap")
    assert ("nomic-embed-text-v2-moe",) not in samples(busy(), "sixgig_memory_resident_bytes")


def test_a_model_is_in_one_state() -> None:
    states = samples(busy(), "sixgig_model_state")
    assert states["nomic-embed-text-v2-moe", "loading"] == 1
    assert sum(states.values()) == len(busy()["models"])


def test_outcomes_are_counted_where_the_snapshot_has_them() -> None:
    served = busy() | {"models": [model("m", requests={"ok": 5, "failed": 1})]}
    assert samples(served, "sixgig_requests_total") == {("m", "ok"): 5, ("m", "failed"): 1}
    assert samples(busy(), "sixgig_requests_total") == {}


def test_tiers_of_one_name_are_added_up() -> None:
    twice = empty() | {"models": [model("m", tiers=[*tiers(buffers=1), *tiers(buffers=2)])]}
    assert samples(twice, "sixgig_memory_bytes") == {("m", "buffers"): 3 * MIB}


def test_a_failing_ledger_is_seen() -> None:
    failing = busy() | {"ledger": busy()["ledger"] | {"failing": "disk full"}}
    assert samples(busy(), "sixgig_ledger_failing") == {(): 0}
    assert samples(failing, "sixgig_ledger_failing") == {(): 1}


@given(st.text())
def test_any_name_comes_back_as_it_was(name: str) -> None:
    assert samples(empty() | {"models": [model(name, users=3)]}, "sixgig_model_users") == {(name,): 3}


def test_names_units_and_help_are_as_prometheus_has_them() -> None:
    text = Metrics(busy).text().decode()
    described = re.findall(r"^# HELP (\S+) (.+)$", text, re.MULTILINE)
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    assert [name for name, _ in described] == list(kinds)
    assert all(re.fullmatch(r"sixgig_[a-z_]+", name) for name in kinds)
    assert all(name.endswith("_total") == (kind == "counter") for name, kind in kinds.items())
    series = [line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")]
    assert len(series) == len(set(series))


def test_latencies_are_counted_in_buckets_by_model() -> None:
    metrics = Metrics(empty)
    metrics.latencies.first_token("m", 0.2)
    metrics.latencies.total("m", 45.0)
    metrics.latencies.queue("m", 0.001)
    text = metrics.text().decode()
    assert 'sixgig_first_token_seconds_bucket{le="0.1",model="m"} 0.0' in text
    assert 'sixgig_first_token_seconds_bucket{le="0.25",model="m"} 1.0' in text
    assert 'sixgig_request_seconds_sum{model="m"} 45.0' in text
    assert 'sixgig_queue_seconds_bucket{le="0.005",model="m"} 1.0' in text


def test_two_servers_in_one_process_share_nothing() -> None:
    one, other = Metrics(empty), Metrics(empty)
    one.latencies.queue("m", 1.0)
    assert b'model="m"' in one.text() and b'model="m"' not in other.text()
