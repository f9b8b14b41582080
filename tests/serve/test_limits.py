"""What one request may not ask, because it would take memory that nobody planned."""

import json
from pathlib import Path
from typing import Any

import pytest

from sixgig.engines import ModelCard, ModelSpec
from sixgig.errors import UsageError
from sixgig.gateway.call import Call
from sixgig.gateway.limits import check_limits

CONTEXT = 4096
CARD = ModelCard(
    spec=ModelSpec("m", Path("m.gguf")),
    architecture="llama",
    size_bytes=1,
    n_parameters=1,
    file_type="F16",
    context=CONTEXT,
    trained_context=CONTEXT,
    ubatch=512,
    pooling=None,
    modified_ns=0,
    whole_bytes=1,
    paged_bytes=None,
    chat_template=None,
)


def check(stream: bool = False, pad: int = 0, path: str = "/v1/completions", **fields: Any) -> None:
    body = json.dumps(fields).encode()
    check_limits(Call("openai", path, body + b" " * (pad - len(body)), "m", stream), CARD)


@pytest.mark.parametrize("name", ["repeat_last_n", "dry_penalty_last_n"])
def test_how_far_back_repetition_is_looked_for_is_bounded(name: str) -> None:
    check(**{name: 65_536})
    check(**{name: -1})
    with pytest.raises(UsageError, match=name):
        check(**{name: 65_537})


@pytest.mark.parametrize("name", ["n_probs", "top_logprobs", "logprobs"])
def test_a_whole_answer_holds_no_more_probabilities_than_planned(name: str) -> None:
    check(**{name: 20}, max_tokens=400)
    with pytest.raises(UsageError, match="log-probabilities"):
        check(**{name: 20}, max_tokens=500)
    with pytest.raises(UsageError, match=str(CONTEXT)):
        check(**{name: 20})


def test_a_stream_passes_probabilities_on_as_they_come() -> None:
    check(stream=True, top_logprobs=20)


def test_what_is_no_number_is_left_to_the_engine() -> None:
    check(repeat_last_n="many", logprobs=True, top_logprobs=None, max_tokens="all")


def test_a_body_that_no_context_holds_is_refused_unread() -> None:
    check(pad=64 * CONTEXT)
    with pytest.raises(UsageError, match="exceeds the available context size") as refused:
        check(pad=64 * CONTEXT + 1)
    assert refused.value.n_context == CONTEXT <= refused.value.n_prompt_tokens


def test_more_texts_than_planned_are_refused() -> None:
    check(prompt=["x"] * 2048)
    check(prompt=[1] * 5000)
    with pytest.raises(UsageError, match="too many texts"):
        check(prompt=["x"] * 2049)
    with pytest.raises(UsageError, match="too many texts"):
        check(path="/v1/embeddings", input=[[1]] * 2049)


def test_many_texts_to_embed_may_be_long_together() -> None:
    check(pad=100 * CONTEXT, path="/v1/embeddings")


def schema(**limits: int) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": {"type": "string", **limits}}}


def test_what_a_grammar_lets_be_repeated_is_bounded() -> None:
    check(json_schema=schema(maxLength=1024))
    check(grammar="root ::= [a-z]{0,1000}")
    check(response_format={"type": "json_schema", "json_schema": {"schema": schema(minLength=1)}})
    for fields in (
        {"json_schema": schema(maxLength=1025)},
        {"grammar": "root ::= [a-z]{0,1999}"},
        {"grammar": "root ::= " + " | ".join(["[a-z]{0,999}"] * 5)},
        {"response_format": {"json_schema": {"schema": {"allOf": [schema(maxLength=1000)] * 5}}}},
        {"tools": [{"function": {"parameters": schema(maxLength=90_000)}}]},
    ):
        with pytest.raises(UsageError, match="repeated"):
            check(**fields)


def test_a_grammar_is_no_longer_than_planned() -> None:
    with pytest.raises(UsageError, match="grammar is too long"):
        check(grammar="root ::= " + "a" * 40_000)


def test_ordinary_schemas_and_tools_pass() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": schema()}}
    check(tools=[tool] * 60, response_format={"type": "json_schema", "json_schema": {"schema": schema()}})


def test_numbers_that_are_no_counts_are_not_counted() -> None:
    years = {"type": "integer", "enum": [1990, 2024, 5000], "minimum": 1900}
    check(tools=[{"function": {"parameters": {"properties": {"year": years}}}}], max_tokens=4000)
    check(grammar='root ::= "2024" | "1000000" | "{" [a-z]{3} "}"')


@pytest.mark.parametrize("count", ["9" * 40, "1999,", ",1999", " 5 , 1999 "])
def test_a_count_is_seen_however_it_is_written(count: str) -> None:
    with pytest.raises(UsageError, match="repeated"):
        check(grammar="root ::= [a-z]{" + count + "}")


def test_a_count_of_many_digits_in_a_schema_is_too_many() -> None:
    with pytest.raises(UsageError, match="repeated"):
        check(json_schema=schema(maxLength=10**30))
