"""What an owner writes, accepted or refused, each fault with a line of its own."""

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sixgig.router import Routing
from tests.serve.test_router_decide import upstream

GOOD = """
[[upstreams]]
name = "vllm"
base_url = "http://10.0.0.5:8000"
api_key_env = "VLLM_API_KEY"
models = { "qwen3" = "Qwen/Qwen3-30B", "*" = "*" }
input_price = 0.15
output_price = "0.60"
context = 32768

[[rules]]
when = "queue_longer_than"
value = 3
models = ["qwen*"]
upstream = "vllm"

[spending]
per_day = 5
"""


def faults(text: str) -> list[tuple[str, str]]:
    """(place, what is wrong) for each line; nothing where it is accepted."""
    try:
        Routing.model_validate(tomllib.loads(text))
    except ValidationError as error:
        return [
            (".".join(map(str, fault["loc"])), line)
            for fault in error.errors(include_input=False)
            for line in fault["msg"].splitlines()
        ]
    return []


def test_a_good_file_is_accepted_and_defaults_are_bounded() -> None:
    routing = Routing.model_validate(tomllib.loads(GOOD))
    assert routing.upstreams[0].max_output_tokens == 4096
    assert routing.upstreams[0].base_url == "http://10.0.0.5:8000/v1"
    assert str(routing.rules[0]) == "queue_longer_than 3"


def test_no_configuration_at_all_has_no_upstream() -> None:
    assert (Routing().upstreams, Routing().rules) == ((), ())


@pytest.mark.parametrize(
    ("old", "new", "place", "word"),
    [
        ('name = "vllm"', 'name = "v llm"', "upstreams.0.name", "pattern"),
        ('name = "vllm"', 'nom = "vllm"', "upstreams.0.nom", "not permitted"),
        ("http://10.0.0.5:8000", "ftp://host", "upstreams.0.base_url", "http:// or https://"),
        ("http://10.0.0.5:8000", "10.0.0.5:8000", "upstreams.0.base_url", "http:// or https://"),
        ("http://10.0.0.5:8000", "http://", "upstreams.0.base_url", "name a host"),
        ("http://10.0.0.5:8000", "https://me:pw@host", "upstreams.0.base_url", "api_key_env"),
        ("http://10.0.0.5:8000", "https://@host", "upstreams.0.base_url", "api_key_env"),
        ("http://10.0.0.5:8000", "http://host/v1?key=1", "upstreams.0.base_url", "without '?'"),
        ("http://10.0.0.5:8000", "http://host:99999", "upstreams.0.base_url", "out of range"),
        ("http://10.0.0.5:8000", "http://[::1", "upstreams.0.base_url", "IPv6"),
        ("http://10.0.0.5:8000", "http://a b", "upstreams.0.base_url", "without spaces"),
        ("http://10.0.0.5:8000", "http://host\\t/v1", "upstreams.0.base_url", "printable"),
        ("VLLM_API_KEY", "sk-abc123", "upstreams.0.api_key_env", "never the key itself"),
        ("VLLM_API_KEY", "abc123", "upstreams.0.api_key_env", "never the key itself"),
        ('{ "qwen3" = "Qwen/Qwen3-30B", "*" = "*" }', "{}", "upstreams.0.models", "at least 1"),
        ('"*" = "*"', '"*" = "gpt"', "upstreams.0.models", '"*" = "*"'),
        ('"*" = "*"', '"a" = "*"', "upstreams.0.models", '"*" = "*"'),
        ('"*" = "*"', '"a" = ""', "upstreams.0.models", "empty name"),
        ("input_price = 0.15", "", "upstreams.0.input_price", "required"),
        ("input_price = 0.15", "input_price = -1", "upstreams.0.input_price", "greater than or equal to 0"),
        ("input_price = 0.15", "input_price = nan", "upstreams.0.input_price", "finite"),
        ("input_price = 0.15", "input_price = true", "upstreams.0.input_price", "an amount such as"),
        ("input_price = 0.15", 'input_price = "1,50"', "upstreams.0.input_price", "an amount such as"),
        ("input_price = 0.15", "input_price = 1e-13", "upstreams.0.input_price", "12 decimal places"),
        ("context = 32768", "context = 1.5", "upstreams.0.context", "integer"),
        ("context = 32768", "max_output_tokens = 0", "upstreams.0.max_output_tokens", "greater than"),
        ("context = 32768", 'timeout_s = "30"', "upstreams.0.timeout_s", "number"),
        ("context = 32768", "timeout_s = inf", "upstreams.0.timeout_s", "less than"),
        ("context = 32768", "timeout_s = 30", "upstreams.0", "60 s against 30 s"),
        ('"queue_longer_than"', '"raining"', "rules.0.when", "'model_missing'"),
        ("value = 3", "", "rules.0", "needs a value, in requests"),
        ("value = 3", "value = 2.5", "rules.0", "whole number"),
        ("value = 3", "value = -1", "rules.0", "whole number"),
        ("value = 3", "value = true", "rules.0.value", "valid"),
        (
            '"queue_longer_than"\nvalue = 3',
            '"first_token_slower_than"',
            "rules.0",
            "needs a value, in seconds",
        ),
        ('"queue_longer_than"\nvalue = 3', '"first_token_slower_than"\nvalue = 0', "rules.0", "above 0"),
        ('"queue_longer_than"\nvalue = 3', '"first_token_slower_than"\nvalue = nan', "rules.0", "above 0"),
        ('"queue_longer_than"\nvalue = 3', '"model_missing"\nvalue = 3', "rules.0", "takes no value"),
        ('["qwen*"]', "[]", "rules.0.models", "at least 1"),
        ("per_day = 5", "per_week = 5", "spending.per_week", "not permitted"),
        ("per_day = 5", "per_day = -5", "spending.per_day", "greater than or equal to 0"),
    ],
)
def test_a_wrong_field_is_refused_in_its_place(old: str, new: str, place: str, word: str) -> None:
    assert GOOD.count(old) >= 1
    found = faults(GOOD.replace(old, new, 1))
    assert any(where.startswith(place) and word in what for where, what in found), found


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (
            "per_day = 5",
            "",
            "spending: no cap is set, and vllm costs money; write per_day or per_month under",
        ),
        (
            'upstream = "vllm"',
            'upstream = "gpt"',
            "rules[0].upstream: there is no upstream 'gpt'; configured: vllm;",
        ),
        (', "*" = "*"', "", None),
        (
            '"qwen3" = "Qwen/Qwen3-30B", "*" = "*"',
            '"llama" = "L"',
            "rules[0].models: vllm serves no model 'qwen*'; it",
        ),
    ],
)
def test_parts_that_disagree_are_refused_with_a_line(old: str, new: str, line: str | None) -> None:
    found = [what.removeprefix("Value error, ") for _, what in faults(GOOD.replace(old, new, 1))]
    assert len(found) == (line is not None)
    assert line is None or found[0].startswith(line)


def test_every_disagreement_has_its_own_line() -> None:
    twice = {"upstreams": [upstream("a", input_price=1), upstream("A")]}
    unknown = {"rules": [{"when": "model_missing", "upstream": name} for name in ("b", "a", "c")]}
    with pytest.raises(ValidationError) as caught:
        Routing.model_validate(twice | unknown)
    lines = caught.value.errors()[0]["msg"].removeprefix("Value error, ").splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "upstreams", "rules[0].upstream", "rules[2].upstream", "spending",
    ]  # fmt: skip


def test_free_upstreams_need_no_cap() -> None:
    assert Routing.model_validate({"upstreams": [upstream()]}).spending.capped is False


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("http://host", "http://host/v1"),
        ("http://host/", "http://host/v1"),
        ("https://host:8443/v1/", "https://host:8443/v1"),
        ("HTTPS://host/api/v1", "https://host/api/v1"),
        ("https://host/v1beta/openai/", "https://host/v1beta/openai"),
        ("http://[::1]:8000", "http://[::1]:8000/v1"),
    ],
)
def test_a_base_url_is_normalised(written: str, kept: str) -> None:
    assert Routing.model_validate({"upstreams": [upstream(base_url=written)]}).upstreams[0].base_url == kept


@pytest.mark.parametrize(
    ("field", "value"),
    [("api_key_env", "sk-secret"), ("base_url", "https://me:sk-secret@host"), ("api_key", "sk-secret")],
)
def test_a_key_in_the_file_is_not_repeated_in_the_error(field: str, value: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Routing.model_validate({"upstreams": [upstream(**{field: value})]})
    assert "sk-secret" not in str(caught.value)


def test_a_configuration_cannot_be_changed() -> None:
    routing = Routing.model_validate(tomllib.loads(GOOD))
    for model, name in (
        (routing, "rules"),
        (routing.upstreams[0], "base_url"),
        (routing.spending, "per_day"),
    ):
        with pytest.raises(ValidationError):
            setattr(model, name, None)


HOSTILE: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(st.sampled_from(("upstreams", "rules", "spending")), st.text(), HOSTILE)
def test_whatever_stands_there_is_accepted_or_refused_as_a_configuration(
    section: str, field: str, value: Any
) -> None:
    document: dict[str, Any] = tomllib.loads(GOOD)
    fields = document[section] if section == "spending" else document[section][0]
    for name in (field, *fields):
        changed = fields | {name: value}
        try:
            Routing.model_validate(document | {section: changed if section == "spending" else [changed]})
        except ValidationError as error:
            assert error.errors(include_input=False)
