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
    call = Call("openai", path, body + b" " * (pad - len(body)), "m", stream)
    assert check_limits(call, CARD) == fields


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


@pytest.mark.parametrize("name", ["grammar_triggers", "grammar_lazy"])
def test_regular_expressions_for_the_engine_to_run_are_refused(name: str) -> None:
    check(**{name: []})
    with pytest.raises(UsageError, match=name):
        check(**{name: [{"type": 2, "value": "((a*)*)*b"}]})
