"""What a body can cost at most, and when that cannot be told."""

import json
import unicodedata
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sixgig.hardware.machine import Absent
from sixgig.inference.tokenizer import Tokenizer, open_tokenizer
from sixgig.jobs.opening import demo_path
from sixgig.modelfile import open_model
from sixgig.router import UPSTREAM_PATHS, output_count, upper_bound_tokens

TEXT = {"role": "user", "content": "hello"}


@pytest.fixture(scope="module")
def tokenizer() -> Iterator[Tokenizer]:
    with open_tokenizer(open_model(demo_path())) as opened:
        yield opened


@given(messages=st.lists(st.text(), max_size=8), escaped=st.booleans())
def test_no_prompt_has_more_tokens_than_its_bound(
    tokenizer: Tokenizer, messages: list[str], escaped: bool
) -> None:
    chat = [{"role": "user", "content": text} for text in messages]
    fields = {"messages": chat}
    body = json.dumps(fields, ensure_ascii=escaped, separators=(",", ":"))
    rendered = tokenizer.template.render(chat)
    n_tokens = len(tokenizer.vocabulary.tokenize(rendered, add_special=True))
    assert n_tokens <= upper_bound_tokens(body.encode("utf-8", "replace"), fields)


FORMS = ("NFC", "NFD", "NFKC", "NFKD")
SCALARS = [chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000]
GROWS = [
    c
    for c in SCALARS
    if any(len(unicodedata.normalize(form, c).encode()) > len(c.encode()) for form in FORMS)
]


@given(
    st.lists(st.text() | st.text(st.sampled_from(GROWS), min_size=50), max_size=6),
    st.booleans(),
    st.sampled_from([None, *FORMS]),
)
def test_the_bound_holds_for_a_token_a_byte_after_any_of_unicodes_normal_forms(
    texts: list[str], escaped: bool, form: Any
) -> None:
    fields = {"messages": [{"role": "user", "content": text} for text in texts], "prompt": texts}
    body = json.dumps(fields, ensure_ascii=escaped, separators=(",", ":"))
    read = [text if form is None else unicodedata.normalize(form, text) for text in texts]
    worst = sum(len(text.encode("utf-8", "surrogatepass")) for text in read)
    assert 2 * worst <= upper_bound_tokens(body.encode("utf-8", "surrogatepass"), fields)


def test_decomposed_forms_are_the_longest_of_unicodes_forms() -> None:
    for composed, longest in (("NFC", "NFD"), ("NFKC", "NFKD")):
        for character in GROWS:
            short, long = (unicodedata.normalize(form, character) for form in (composed, longest))
            assert len(short.encode()) <= len(long.encode())


TREES: Any = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
    max_leaves=30,
)


@given(st.lists(TREES, max_size=5))
def test_the_bound_holds_for_tools_shown_indented(tools: list[Any]) -> None:
    body = json.dumps({"tools": tools}, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    shown = json.dumps(tools, ensure_ascii=False, indent=4)
    assert len(shown.encode("utf-8", "replace")) <= upper_bound_tokens(body, {"tools": tools}) - 1024


def test_tools_too_many_to_be_counted_have_no_bound() -> None:
    for tools in ([{"type": "function", "function": {"a": [0] * 30_000}}], [{"type": "function"}] * 30_000):
        assert isinstance(output_count("chat/completions", {"tools": tools}), Absent)


@given(text=st.text() | st.text(st.characters(min_codepoint=0x2000), min_size=50))
def test_a_token_spells_a_byte_at_least(tokenizer: Tokenizer, text: str) -> None:
    assert len(tokenizer.vocabulary.tokenize(text, parse_special=False)) <= len(
        text.encode("utf-8", "replace")
    )


@pytest.mark.parametrize(
    ("path", "body", "outputs"),
    [
        ("chat/completions", {"messages": [TEXT]}, 1),
        ("chat/completions", {"messages": [TEXT], "n": 3}, 3),
        ("chat/completions", {"messages": [TEXT], "n": None}, 1),
        ("chat/completions", {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}]}, 1),
        ("chat/completions", {"messages": [TEXT], "tools": [{"type": "function", "function": {}}]}, 1),
        ("chat/completions", {"messages": [{"role": "assistant", "content": None, "tool_calls": [{}]}]}, 1),
        ("completions", {"prompt": "a", "n": 2, "best_of": 5}, 5),
        ("completions", {"prompt": ["a", "b"], "n": 2}, 4),
        ("completions", {"prompt": [1, 2, 3]}, 1),
        ("completions", {"prompt": [[1, 2], [3]]}, 2),
        ("embeddings", {"input": ["a", "b"]}, 0),
        ("embeddings", {"input": [[1, 2], [3]]}, 0),
        ("responses", {"input": "a", "instructions": "b"}, 1),
        ("responses", {"input": [{"type": "message", "role": "user", "content": "a"}]}, 1),
        ("responses", {"input": [{"type": "function_call_output", "call_id": "1", "output": "x"}]}, 1),
    ],
)
def test_answers_are_counted(path: Any, body: dict[str, Any], outputs: int) -> None:
    assert output_count(path, {"model": "m", "stream": True, **body}) == outputs


PICTURE = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "user", "content": [PICTURE]}]},
        {"messages": [{"role": "user", "content": [{"image_url": {"url": "https://example.org/a.png"}}]}]},
        {"messages": [{"role": "user", "content": [{"type": ["text"]}]}]},
        {"messages": [{"role": "user", "content": [7]}]},
        {"messages": [{"role": "assistant", "audio": {"id": "a1"}}]},
        {"messages": [None]},
        {"messages": {"role": "user"}},
        {"input": [{"type": "item_reference", "id": "1"}]},
        {"input": [{"type": "message", "role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
        {"input": [{"type": "function_call_output", "output": [{"type": "input_image"}]}]},
        {"input": "a", "previous_response_id": "1"},
        {"input": "a", "conversation": "1"},
        {"input": "a", "prompt": {"id": "stored"}},
        {"input": "a", "tools": [{"type": "web_search"}]},
        {"input": "a", "tools": ["web_search"]},
        {"messages": [TEXT], "service_tier": "priority"},
        {"messages": [TEXT], "web_search_options": {}},
        {"messages": [TEXT], "n": 10**9},
        {"messages": [TEXT], "n": -1},
        {"messages": [TEXT], "n": "2"},
        {"messages": [TEXT], "n": True},
        {"messages": [TEXT], "best_of": 2.5},
    ],
)
def test_what_may_cost_more_than_its_bytes_has_no_bound(body: dict[str, Any]) -> None:
    found = output_count("chat/completions", body)
    assert isinstance(found, Absent) and found.reason


JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(("type", "content")), inner),
)
FIELDS = ("messages", "input", "prompt", "tools", "n", "best_of", "\ud800")


@given(st.sampled_from(UPSTREAM_PATHS), st.dictionaries(st.sampled_from(FIELDS), JSON))
def test_any_body_is_counted_or_has_a_reason(path: Any, body: dict[str, Any]) -> None:
    found = output_count(path, body)
    assert found.reason.isprintable() if isinstance(found, Absent) else found >= 0


def test_an_item_that_names_another_has_no_bound() -> None:
    """OpenAI's item references may leave out their type."""
    for item in ({"id": "msg_1"}, {"type": "item_reference", "id": "msg_1"}):
        found = output_count("responses", {"model": "m", "input": [item]})
        assert isinstance(found, Absent) and "may refer to more" in found.reason
