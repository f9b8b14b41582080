import dataclasses
from datetime import datetime
from types import SimpleNamespace

import pytest

from sixgig.server.ollama_models import capabilities, listed, running, shown
from tests.serve.fake_engines import card

NOW_NS, CLOCK_S = 1_800_000_000 * 10**9, 50.0


def model(**facts):
    return dataclasses.replace(card("m"), **facts)


def loaded(**facts):
    seated = {"card": card("m"), "granted_bytes": 7, "keep_alive_s": 300.0, "deadline_s": None} | facts
    engine = SimpleNamespace(order=SimpleNamespace(vram_bytes=5))
    return running(SimpleNamespace(**seated), engine, NOW_NS, CLOCK_S)


def left_s(entry):
    return datetime.fromisoformat(entry["expires_at"][:19] + "+00:00").timestamp() - NOW_NS / 10**9


@pytest.mark.parametrize(
    ("template", "pooling", "told"),
    [
        (None, None, ["completion"]),
        ("{% for tool in tools %}", None, ["completion", "tools"]),
        ("{% if enable_thinking %}<think>", None, ["completion", "thinking"]),
        ("{{ tools }}{{ reasoning_effort }}", None, ["completion", "tools", "thinking"]),
        ("{{ tools }}", "mean", ["embedding"]),
    ],
)
def test_a_model_can_what_its_template_speaks_of(template, pooling, told):
    assert capabilities(model(chat_template=template, pooling=pooling)) == told


@pytest.mark.parametrize(
    ("count", "told"),
    [(8_030_261_248, "8.0B"), (235_000_000_000, "235.0B"), (31_009_568, "31.01M"), (99_000, "99.00K")],
)
def test_parameters_are_counted_as_clients_show_them(count, told):
    assert listed(model(n_parameters=count))["details"]["parameter_size"] == told


def test_a_file_that_changes_is_another_one():
    digests = {listed(model(**change))["digest"] for change in ({}, {"size_bytes": 1}, {"modified_ns": 1})}
    assert len(digests) == 3
    assert all(len(digest) == 64 for digest in digests)


def test_nothing_told_of_a_model_says_where_its_file_is():
    assert "gguf" in str(card("m").spec.path)
    told = str([shown(card("m")), listed(card("m")), loaded()])
    assert str(card("m").spec.path) not in told.replace("'format': 'gguf'", "")


def test_what_a_model_takes_is_main_memory_and_the_gpus():
    entry = loaded()
    assert (entry["size"], entry["size_vram"], entry["context_length"]) == (12, 5, 64)


def test_a_model_leaves_when_its_time_is_over_and_a_busy_one_after_its_answer():
    assert left_s(loaded(deadline_s=CLOCK_S + 60)) == 60
    assert left_s(loaded(deadline_s=CLOCK_S - 60)) == 0
    assert left_s(loaded(deadline_s=None)) == 300
    assert left_s(loaded(keep_alive_s=1e9)) == 1e9
    assert left_s(loaded(keep_alive_s=-1.0)) > 100 * 365 * 86400
