"""No turn vanishes: what a template leaves out is refused by name, all else is taught as it is to be said."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from sixgig.errors import UsageError
from sixgig.finetune.examples import Conversation
from sixgig.finetune.messages import read_messages, read_tools
from sixgig.finetune.rendering import render
from sixgig.inference import ChatTemplate, Engine, EngineOptions
from tests.tune import chat_templates as templates

PLACE = "data.jsonl, line 3"
TOOL = {"type": "function", "function": {"name": "rain", "description": "", "parameters": {}}}
USER = {"role": "user", "content": "Rain in Oslo?"}


def call(city="Oslo", **more):
    return {
        "id": "call00001",
        "type": "function",
        "function": {"name": "rain", "arguments": {"city": city}},
        **more,
    }


def asked(*messages, tools=(TOOL,)):
    return Conversation(PLACE, tuple(read_messages(list(messages), PLACE)), read_tools(list(tools), PLACE))


CALLING = {"role": "assistant", "content": None, "tool_calls": [call()]}
RESULT = {"role": "tool", "content": "7 mm", "tool_call_id": "call00001"}
REPLY = {"role": "assistant", "content": "Some rain."}
LOOP = (USER, CALLING, RESULT, REPLY)


@pytest.fixture(scope="module")
def vocabulary(tiny):
    with Engine(tiny("llama"), EngineOptions(context=64, threads=1)) as engine:
        yield engine.vocabulary


def template(source, vocabulary):
    return ChatTemplate(source, vocabulary.bos, vocabulary.eos)


def taught(example, source, vocabulary):
    """(what goes before, what is learnt) of each document and run of learnt tokens."""
    found = []
    for document in render(example, template(source, vocabulary), vocabulary):
        start = 0
        for at in np.flatnonzero(document.learn).tolist():
            start = at if not document.learn[at - 1] else start
            if vocabulary.is_end(int(document.tokens[at])):  # answers may follow one another with no prompt
                parts = document.tokens[:start].tolist(), document.tokens[start : at + 1].tolist()
                found.append(tuple(vocabulary.text(part, special=True) for part in parts))
                start = at + 1
        assert start == len(document.tokens)  # each run is ended
    return found


def learnt(*arguments):
    return [run for _, run in taught(*arguments)]


@pytest.mark.parametrize("source", [templates.PLAIN, templates.THREE_ROLES])
def test_a_tool_call_that_the_template_leaves_out_is_never_an_empty_answer(vocabulary, source):
    with pytest.raises(
        UsageError, match=r"line 3, message 2 \(assistant\).*leaves out its tool call.*as text"
    ):
        render(asked(*LOOP, tools=()), template(source, vocabulary), vocabulary)
    with pytest.raises(UsageError, match=r"line 3.*leaves out its definitions of tools.*system message"):
        render(asked(USER, REPLY), template(source, vocabulary), vocabulary)


@pytest.mark.parametrize(
    ("source", "first"),
    [
        (templates.CALLS, '<call>{"name": "rain", "arguments": {"city": "Oslo"}}</call><|im_end|>'),
        (templates.CALLS_OF_TEXT, '<call>rain {"city": "Oslo"}</call><|im_end|>'),
        (templates.CALLS_ALONE, '{"name": "rain", "arguments": {"city": "Oslo"}}<|im_end|>'),
        (templates.CLOSED_LATE, '<call>{"name": "rain", "arguments": {"city": "Oslo"}}</call><|im_end|>'),
    ],
)
def test_tool_calls_and_what_follows_the_tool_are_taught(vocabulary, source, first):
    found = taught(asked(*LOOP), source, vocabulary)
    assert [run for _, run in found] == [first, "Some rain.<|im_end|>"]
    assert "7 mm" in found[1][0] and '"name": "rain"' in found[0][0]
    prompt = template(source, vocabulary).render(LOOP[:1], tools=[TOOL])
    assert found[0][0] == prompt


def test_the_text_beside_a_call_is_not_lost(vocabulary):
    beside = CALLING | {"content": "I look."}
    assert learnt(asked(USER, beside), templates.CALLS, vocabulary)[0].startswith("I look.<call>")
    with pytest.raises(UsageError, match=r"message 2 \(assistant\).*leaves out its text"):
        render(asked(USER, beside), template(templates.CALLS_ALONE, vocabulary), vocabulary)


def test_a_context_message_that_the_template_leaves_out_is_named(vocabulary):
    example = asked(USER, {"role": "tool", "content": "7 mm"}, REPLY, tools=())
    with pytest.raises(UsageError, match=r"message 2 \(tool\): the chat template leaves out its text"):
        render(example, template(templates.THREE_ROLES, vocabulary), vocabulary)


def test_developers_and_systems_that_a_template_does_not_know_are_written_as_the_engine_writes_them(
    vocabulary,
):
    for role in ("developer", "system"):
        example = asked({"role": role, "content": "Be kind."}, USER, REPLY, tools=())
        ((prompt, run),) = taught(example, templates.THREE_ROLES, vocabulary)
        assert prompt.startswith("<|im_start|>system\nBe kind.<|im_end|>") and run == "Some rain.<|im_end|>"
    only_turns = (
        "{% for m in messages %}{{ raise_exception('no') if m.role == 'system' }}"
        + templates.PLAIN.removeprefix("{% for m in messages %}")
    )
    ((prompt, _),) = taught(example, only_turns, vocabulary)
    assert prompt.startswith("<|im_start|>user\nBe kind.\nRain in Oslo?<|im_end|>")


def test_an_answer_whose_past_is_written_otherwise_follows_the_prompt_of_inference(vocabulary):
    example = asked({"role": "system", "content": "Be kind."}, USER, REPLY, USER, REPLY, tools=())
    found = taught(example, templates.SYSTEM_LAST, vocabulary)
    assert [run for _, run in found] == ["Some rain.<|im_end|>"] * 2
    assert found[0][0] == "[INST]Be kind.\n\nRain in Oslo?[/INST]"
    assert found[1][0].endswith("<|im_end|>[INST]Be kind.\n\nRain in Oslo?[/INST]")


def test_turns_that_no_token_ends_are_ended_each_in_a_document_of_its_own(vocabulary):
    found = learnt(asked(USER, REPLY, USER, REPLY, tools=()), templates.UNENDED, vocabulary)
    assert found == ["Some rain.\n" + vocabulary.eos] * 2


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "thinking"])
def test_reasoning_is_taught_in_its_own_turn_and_not_in_later_ones(vocabulary, key):
    thinking = REPLY | {key: "Clouds."}
    found = taught(asked(USER, thinking, USER, thinking, tools=()), templates.REASONS, vocabulary)
    assert [run for _, run in found] == ["Clouds.\n</think>\n\nSome rain.<|im_end|>"] * 2
    assert "Clouds" not in found[1][0]
    with pytest.raises(UsageError, match=r"message 2 \(assistant\).*leaves out its reasoning.*<think>"):
        render(asked(USER, thinking, tools=()), template(templates.PLAIN, vocabulary), vocabulary)


@pytest.mark.parametrize(
    ("content", "run"),
    [
        ("<think>\nClouds.\n</think>\n\nRain.", "Clouds.\n</think>\n\nRain.<|im_end|>"),
        ("<think>x</think>Rain.", "x</think>Rain.<|im_end|>"),
        ("Rain.", "\n</think>\n\nRain.<|im_end|>"),
    ],
)
def test_reasoning_that_the_prompt_opens_is_taught_and_closed(vocabulary, content, run):
    """Else what is answered would be read as reasoning."""
    example = asked(USER, {"role": "assistant", "content": content}, tools=())
    assert learnt(example, templates.DROPS_REASONS, vocabulary) == [run]


def test_reasoning_in_the_content_is_taught_where_the_template_would_drop_it(vocabulary):
    source = templates.DROPS_REASONS.replace("assistant\n<think>\n' }}{% endif", "assistant\n' }}{% endif")
    example = asked(USER, {"role": "assistant", "content": "<think>x</think>Rain."}, tools=())
    assert learnt(example, source, vocabulary) == ["<think>x</think>Rain.<|im_end|>"]


@pytest.mark.parametrize("mark", [{"train": False}, {"training": False}, {"weight": 0}, {"weight": 0.0}])
def test_turns_that_are_not_to_be_learnt_are_context(vocabulary, mark):
    example = asked(USER, {"role": "assistant", "content": "Wrong."} | mark, USER, REPLY, tools=())
    ((before, run),) = taught(example, templates.PLAIN, vocabulary)
    assert run == "Some rain.<|im_end|>" and "Wrong.<|im_end|>" in before
    with pytest.raises(UsageError, match=r"line 3: an answer.*beside --train-on-all"):
        render(example, template(templates.PLAIN, vocabulary), vocabulary, train_on_all=True)


def test_calls_are_those_of_transformers(tmp_path, vocabulary):
    """The whole text of a loop with tools, by transformers' own rendering of the same template."""
    for source in (templates.CALLS, templates.CALLS_ALONE, templates.CLOSED_LATE):
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=_any_tokenizer(), chat_template=source)
        messages = [USER, CALLING | {"content": ""}, RESULT, REPLY]
        whole = tokenizer.apply_chat_template(messages, tools=[TOOL], tokenize=False)
        ours = template(source, vocabulary).render(messages, tools=[TOOL], add_generation_prompt=False)
        assert ours == whole


def _any_tokenizer():
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    return Tokenizer(WordLevel({"a": 0}, unk_token="a"))


WORD = st.sampled_from(["rain", "<b>", "é😀", 'a "q"', "x\ny", "{z}"])
KINDS = st.lists(
    st.tuples(
        st.sampled_from(
            ["user", "assistant", "call", "both", "calls", "thought", "inside", "unlearnt", "system", "tool"]
        ),
        WORD,
    ),
    min_size=1,
    max_size=6,
)


def _message(number, kind, word):
    said = f"{word}{number}s"
    if kind in ("user", "system", "tool"):
        return {"role": kind, "content": said}
    calls = [
        call(f"{word}{number}c{at}", id=f"call{number:04}{at}") for at in range(2 if kind == "calls" else 1)
    ]
    return {
        "assistant": REPLY | {"content": said},
        "call": CALLING | {"tool_calls": calls},
        "both": CALLING | {"tool_calls": calls, "content": said},
        "calls": CALLING | {"tool_calls": calls},
        "thought": REPLY | {"content": said, "reasoning_content": f"{word}{number}r"},
        "inside": REPLY | {"content": f"<think>{word}{number}r</think>{said}"},
        "unlearnt": REPLY | {"content": said, "train": False},
    }[kind]


def _needed(message, own):
    """Texts of a message, its reasoning only in its own turn."""
    thought, _, said = message["content"].rpartition("</think>")
    texts = [said, *(call["function"]["arguments"]["city"] for call in message.get("tool_calls", ()))]
    return texts + ([thought.removeprefix("<think>"), message.get("reasoning_content", "")] if own else [])


def _stands(text, written):
    return text in written or json.dumps(text, ensure_ascii=False)[1:-1] in written


@pytest.mark.parametrize("name", templates.ALL)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kinds=KINDS, with_tools=st.booleans())
def test_each_conversation_is_refused_by_name_or_stands_in_what_is_taught(
    vocabulary, name, kinds, with_tools
):
    messages = [_message(number, *kind) for number, kind in enumerate([("user", "rain"), *kinds])]
    example = asked(*messages, tools=(TOOL,) if with_tools else ())
    chat = template(templates.ALL[name], vocabulary)
    numbers = [
        at for at, each in enumerate(example.messages) if each["role"] == "assistant" and "weight" not in each
    ]
    try:
        found = taught(example, templates.ALL[name], vocabulary)
    except UsageError as error:
        assert str(error).startswith(PLACE) and error.cure
        return
    assert len(found) == len(numbers)
    for at, (before, run) in zip(numbers, found, strict=True):
        ask = chat.render(_bare(example.messages[:at]), tools=example.tools)
        assert before.endswith(ask) or (at != numbers[0] and before.endswith(ask[-8:]))
        assert run.removesuffix(vocabulary.eos).removesuffix("<|im_end|>").strip()
        for earlier in example.messages[:at]:
            assert all(_stands(text, before) for text in _needed(earlier, own=False))
        assert all(_stands(text, run) for text in _needed(example.messages[at], own=True))


def _bare(messages):
    return [{key: value for key, value in message.items() if key != "weight"} for message in messages]
