"""Files of examples: what is read of them, and that whatever cannot be read is named."""

import json
import os
import threading
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sixgig.errors import UsageError
from sixgig.finetune.examples import Completion, Conversation, Text, content_digest, read_examples
from sixgig.finetune.marks import LEARNT

ASKED, ANSWERED = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
NOT = {"weight": 0}
PEPS = Path(__file__).resolve().parents[3] / "shared" / "data" / "peps" / "valid.txt"


def read(tmp_path, content, name="data.jsonl"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(read_examples(path))


def line(**record):
    return json.dumps(record) + "\n"


def refusal(tmp_path, content, name="data.jsonl"):
    with pytest.raises(UsageError) as caught:
        read(tmp_path, content, name)
    return str(caught.value)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"messages": [ASKED, ANSWERED]}, Conversation("", (ASKED, ANSWERED))),
        (
            {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]},
            Conversation("", (ASKED, ANSWERED)),
        ),
        ({"instruction": "Hi", "output": "Hello"}, Conversation("", (ASKED, ANSWERED))),
        (
            {"instruction": "Hi", "input": "you", "output": "Hello", "text": "### Hi"},
            Conversation("", ({"role": "user", "content": "Hi\n\nyou"}, ANSWERED)),
        ),
        ({"prompt": "Hi", "completion": " you"}, Completion("", "Hi", " you")),
        ({"question": "Hi", "answer": "Hello"}, Conversation("", (ASKED, ANSWERED))),
        ({"prompt": "Hi", "response": "Hello", "id": 3}, Conversation("", (ASKED, ANSWERED))),
        ({"input": "Hi", "output": "Hello"}, Conversation("", (ASKED, ANSWERED))),
        ({"query": "Hi", "response": "Hello", "text": "Q: Hi"}, Conversation("", (ASKED, ANSWERED))),
        (
            {"instruction": "Hi", "context": "you", "response": "Hello", "category": "chat"},
            Conversation("", ({"role": "user", "content": "Hi\n\nyou"}, ANSWERED)),
        ),
        (
            {"prompt": [ASKED, ANSWERED, ASKED], "completion": [ANSWERED]},
            Conversation("", (ASKED | NOT, ANSWERED | NOT, ASKED | NOT, ANSWERED)),
        ),
        ({"text": "Hi", "id": 3, "messages": None}, Text("", "Hi", special=True)),
        (
            {"system": "Be kind.", "messages": [ASKED, ANSWERED]},
            Conversation("", ({"role": "system", "content": "Be kind."}, ASKED, ANSWERED)),
        ),
    ],
)
def test_each_shape_is_read(tmp_path, record, expected):
    assert read(tmp_path, line(**record)) == [expected]


def test_parts_are_joined_and_nulls_are_absent(tmp_path):
    parts = [{"type": "text", "text": "Good "}, {"type": "text", "text": "day"}]
    (found,) = read(tmp_path, line(messages=[{"role": "user", "content": parts, "name": None}, ANSWERED]))
    assert found.messages[0] == {"role": "user", "content": "Good day"}


def test_tools_may_be_strings_and_arguments_become_objects(tmp_path):
    call = {"type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    calling = {"role": "assistant", "content": None, "tool_calls": [call]}
    (found,) = read(tmp_path, line(messages=[ASKED, calling], tools='[{"name": "add"}]'))
    add = {"name": "add", "description": "", "parameters": {}}
    assert found.tools == ({"type": "function", "function": add},)
    assert found.messages[1]["content"] == ""
    assert found.messages[1]["tool_calls"][0]["function"]["arguments"] == {"a": 1}


CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
CALLED = {"role": "assistant", "content": "", "tool_calls": [CALL]}


@pytest.mark.parametrize(
    "message",
    [
        CALLED | {"content": None, "tool_calls": [CALL | {"index": 0}], "refusal": None},
        {"role": "assistant", "content": None, "function_call": {"name": "add", "arguments": '{"a": 1}'}},
        {"from": "function_call", "value": '{"name": "add", "arguments": {"a": 1}}'},
        {"from": "function-call", "value": [{"name": "add", "arguments": '{"a": 1}'}]},
        {"from": "gpt", "tool_calls": '[{"name": "add", "arguments": {"a": 1}}]'},
    ],
)
def test_every_way_to_write_a_call_is_one_call(tmp_path, message):
    (found,) = read(tmp_path, line(conversations=[ASKED, message]))
    assert found.messages[1] == CALLED


@pytest.mark.parametrize(
    ("speaker", "role"),
    [
        ("human", "user"),
        ("User", "user"),
        ("observation", "tool"),
        ("function_response", "tool"),
        ("function", "tool"),
        ("tool", "tool"),
        ("chatgpt", "assistant"),
        ("model", "assistant"),
        ("Assistant", "assistant"),
        ("developer", "developer"),
        ("system", "system"),
    ],
)
def test_speakers_of_all_formats_have_their_roles(tmp_path, speaker, role):
    (found,) = read(tmp_path, line(conversations=[{"from": speaker, "value": "Hi"}, ASKED, ANSWERED]))
    (same,) = read(tmp_path, line(messages=[{"role": speaker, "content": "Hi"}, ASKED, ANSWERED]))
    assert found.messages[0] == same.messages[0] == {"role": role, "content": "Hi"}


@pytest.mark.parametrize("mark", [{key: value} for key in LEARNT for value in (False, 0, 0.0, "false")])
def test_all_marks_of_turns_that_are_not_learnt_are_read(tmp_path, mark):
    (found,) = read(tmp_path, line(messages=[ASKED, ANSWERED | mark, ASKED, ANSWERED | {"train": True}]))
    assert [message.get("weight") for message in found.messages] == [None, 0, None, None]


@pytest.mark.parametrize("key", [*LEARNT, "mask", "train_detail"])
@pytest.mark.parametrize("value", [0.5, "no", {"begin_offset": 0}])
def test_a_mark_that_cannot_be_kept_is_refused_on_messages_rows_and_parts(tmp_path, key, value):
    said = refusal(tmp_path, line(messages=[ASKED, ANSWERED | {key: value}]))
    assert f'message 2: "{key}" is n' in said
    assert f'line 1: "{key}" is n' in refusal(tmp_path, line(question="a", answer="b", **{key: value}))
    part = {"type": "text", "text": "a", key: value}
    said = refusal(tmp_path, line(messages=[ASKED, ANSWERED | {"content": [part]}]))
    assert f'"{key}" stands on a part of the content' in said


@pytest.mark.parametrize("mark", [{key: False} for key in (*LEARNT, "label", "kto_tag")] + [{"weight": 0.0}])
def test_a_row_that_is_not_to_be_learnt_is_refused(tmp_path, mark):
    said = refusal(tmp_path, line(text="a") + line(prompt="a", completion="b", **mark))
    assert f'line 2: the whole row is not to be learnt; "{next(iter(mark))}"' in said


def test_a_row_that_is_to_be_learnt_is_read(tmp_path):
    marks = [{"weight": 1}, {"train": True}, {"label": True}, {"mask": "User"}, {"loss": "1"}, {"weight": ""}]
    assert len(read(tmp_path, "".join(line(question="a", answer="b", **mark) for mark in marks))) == 6
    assert read(tmp_path, line(text="a", label=False)) == [Text("", "a", special=True)]


@pytest.mark.parametrize("key", ["question", "prompt", "input", "answer"])
def test_a_text_beside_a_question_or_an_answer_is_refused_alike(tmp_path, key):
    said = refusal(tmp_path, line(text="body text here", **{key: "What is it?"}))
    assert f"it is not clear what the question is and what the answer; keys: {key}, text; write" in said


def test_keys_that_hold_text_and_are_not_read_are_counted(tmp_path):
    long = "a long explanation of it"
    named = {"id": "identity-00000000000000000000001", "url": "https://example.org/" + 9 * "page/"}
    rows = [
        named | {"question": "a", "answer": "b", "explanation": long, "context": long, "system": long},
        named | {"text": long, "explanation": long, "label": 1, "title": "short one"},
        {"messages": [ASKED, ANSWERED | {"refusal": long}], "text": long, "tools": [CALL], "history": []},
        {"prompt": "a", "completion": "b", "rejected": [{"content": long}], "system": long},
    ]
    counted = Counter[str]()
    (tmp_path / "a.jsonl").write_text("".join(line(**row) for row in rows))
    list(read_examples(tmp_path / "a.jsonl", passed_over=counted))
    assert counted == {"explanation": 2, "refusal of messages": 1, "text": 1, "rejected": 1, "system": 1}


def test_reasoning_is_kept_under_one_name_and_ids_and_names_are_kept(tmp_path):
    result = {"role": "tool", "content": "3", "tool_call_id": "c", "name": "add"}
    messages = [ASKED, ANSWERED | {"thinking": "Hm."}, result | {"timestamp": 7}, ANSWERED]
    (found,) = read(tmp_path, line(messages=messages))
    assert found.messages[1:3] == (ANSWERED | {"reasoning_content": "Hm."}, result)


def test_places_count_every_line_and_empty_ones_are_passed_over(tmp_path):
    found = read(tmp_path, "\n" + line(text="a") + "\r\n  \n" + line(text="b"))
    assert [example.place.rpartition("data.jsonl")[2] for example in found] == [", line 2", ", line 5"]


def test_a_byte_order_mark_and_windows_line_ends_are_no_content(tmp_path):
    assert read(tmp_path, b"\xef\xbb\xbf" + line(text="a").encode()) == [Text("", "a", special=True)]
    assert read(tmp_path, b"\xef\xbb\xbfone\r\ntwo\r\n", "a.txt") == [Text("", "one\ntwo\n")]


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("data", '\n {"text": "a"}', Text("", "a", special=True)),
        ("data", "{% jinja %}\n", Text("", "{% jinja %}\n")),
        ("data", "[[a link]]\n", Text("", "[[a link]]\n")),
        ("data.md", '{"text": "a"}', Text("", '{"text": "a"}')),
    ],
)
def test_suffix_then_first_line_tell_json_from_text(tmp_path, name, content, kind):
    assert read(tmp_path, content, name) == [kind]


def test_a_broken_first_line_is_not_learnt_as_text(tmp_path):
    assert "line 1: this is no JSON" in refusal(tmp_path, '{"text": "a"\n', "data")
    assert "jq -c" in refusal(tmp_path, '{\n "text": "a"\n}', "data.json")


def test_documents_are_what_stands_between_separators(tmp_path):
    sep = "<|endoftext|>"
    found = read(tmp_path, f"{sep}\none\n\nstill\n{sep}two\n{sep}{sep}\nthree{sep} \n", "a.txt")
    assert [document.text for document in found] == ["one\n\nstill\n", "two\n", "three"]
    assert [document.place[-1] for document in found] == ["2", "5", "7"]


def test_the_peps_are_twelve_documents_and_nothing_is_lost():
    if not PEPS.is_file():
        pytest.skip("the texts are not beside this checkout (../shared/data)")
    found = list(read_examples(PEPS))
    assert len(found) == 12
    assert "<|endoftext|>".join(document.text for document in found) == PEPS.read_text()


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        ("{", "this is no JSON; column"),
        ('"text"', "no JSON object; found a string"),
        ("[1]", "no JSON object; found a list"),
        ("[" * 100_000, "cannot be read"),
        ('{"text": ' + "9" * 5000 + "}", "cannot be read"),
        ('{"text": "a", "text": "b"}', "a key stands twice"),
        ('{"text": "\\ud800"}', "half a surrogate"),
        ('{"question": "a"}', "keys: question; write"),
        ("{}", "keys: none"),
        ('{"text": 1}', '"text" is no text; found a number'),
        ('{"text": " "}', '"text" is empty'),
        ('{"prompt": [], "completion": "a"}', '"prompt" is no text'),
        ('{"prompt": "a", "completion": ""}', '"completion" is empty'),
        ('{"instruction": "a", "output": "b", "history": [["c", "d"]]}', '"history" is not read'),
        ('{"messages": []}', "or an empty one"),
        ('{"messages": "a"}', "found a string"),
        ('{"messages": ["a"]}', "message 1: this is no message"),
        ('{"messages": [{"content": "a"}]}', "message 1: the message has no role; keys: content"),
        ('{"messages": [{"role": 3, "content": "a"}]}', "message 1: the message has no role"),
        ('{"messages": [{"role": "user"}]}', "message 1: the message has no content"),
        ('{"messages": [{"role": "user", "content": 3}]}', "the content is no text"),
        ('{"messages": [{"role": "user", "content": [{"type": "image"}]}]}', "a part of type image"),
        ('{"messages": [{"role": "user", "content": ["a"]}]}', "only text can be learnt"),
        ('{"messages": [{"role": "assistant", "content": ""}]}', "the answer is empty"),
        ('{"messages": [{"role": "assistant", "content": "a", "weight": 2}]}', '"weight" is neither'),
        ('{"messages": [{"role": "assistant", "content": "a", "train": "no"}]}', '"train" is neither'),
        ('{"messages": [{"role": "user", "content": "a", "train": true}]}', '"train" is true on a message'),
        ('{"messages": [{"role": "assistant", "content": "", "name": "a"}]}', "the answer is empty"),
        ('{"messages": [{"role": "assistant", "content": " ", "reasoning": "a"}]}', "the answer is empty"),
        ('{"conversations": [{"from": "narrator", "value": "a"}]}', "the speaker is not known; 'narrator'"),
        ('{"messages": [{"role": "critic", "content": "a"}]}', "message 1: the speaker is not known"),
        ('{"messages": [{"from": "function_call", "value": "add(1)"}]}', "are no JSON"),
        ('{"messages": [{"from": "function_call", "value": "[]"}]}', "no list of objects"),
        ('{"messages": [{"role": "gpt", "tool_calls": [{"id": 1}]}]}', "the tool call is of no function"),
        (
            '{"messages": [{"role": "gpt", "tool_calls": [{"name": "f", "arguments": [1]}]}]}',
            "the arguments of the tool call are no object",
        ),
        ('{"messages": [{"role": "user", "content": "a"}], "tools": [{}]}', "no function with a name"),
        ('{"question": "a", "prompt": "b", "answer": "c"}', "keys: question, prompt, answer"),
        ('{"question": "a", "answer": "b", "response": "c"}', "not clear what the question is"),
        ('{"text": "a", "answer": "b"}', "not clear what the question is"),
        ('{"question": "a", "answer": 4}', '"answer" is no text; found a number'),
        ('{"question": "a", "answer": " "}', '"answer" is empty'),
        ('{"question": "a", "answer": "b", "train": false}', "the whole row is not to be learnt"),
        ('{"conversations": [{"from": [], "value": "a"}]}', "has no role"),
        ('{"messages": [{"role": "system", "content": "a"}], "system": "b"}', "stands beside"),
        ('{"messages": [{"role": "user", "content": "a"}], "tools": "{"}', "are no JSON"),
        ('{"messages": [{"role": "user", "content": "a"}], "tools": [1]}', "tools are no list of objects"),
    ],
)
def test_a_bad_line_is_named_with_what_is_wrong(tmp_path, bad, named):
    message = refusal(tmp_path, line(text="a") + bad + "\n" + line(text="b"))
    assert f"{tmp_path / 'data.jsonl'}, line 2" in message
    assert named in message


@pytest.mark.parametrize(
    ("content", "byte"),
    [(b'{"text": "a"}\n{"text": "\xff"}', 24), (b"\xef\xbb\xbfa\xff", 4), ("{}".encode("utf-16"), 0)],
)
def test_the_first_byte_that_is_no_utf8_is_named(tmp_path, content, byte):
    assert f"is not UTF-8 text; byte {byte};" in refusal(tmp_path, content)


def test_files_without_examples_are_refused(tmp_path):
    assert "it is empty" in refusal(tmp_path, "")
    assert "it is empty" in refusal(tmp_path, " \n\n")
    assert "no examples" in refusal(tmp_path, "<|endoftext|>\n<|endoftext|>", "a.txt")
    assert "no row" in refusal(tmp_path, " []\n", "a.json")
    header = refusal(tmp_path, "question,answer\n", "a.csv")
    assert header.endswith("no examples; a header and no row; add rows below the header")
    with pytest.raises(UsageError, match="Is a directory"):
        next(read_examples(tmp_path))
    with pytest.raises(UsageError, match="No such file"):
        next(read_examples(tmp_path / "absent.jsonl"))


def test_a_pipe_is_read_once(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(line(text="a") + line(text="b"),))
    writer.start()
    assert [example.text for example in read_examples(pipe)] == ["a", "b"]
    writer.join()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = ("messages", "conversations", "instruction", "input", "output", "prompt", "completion", "text")
INNER = ("role", "content", "from", "value", "tool_calls", "weight", "function", "arguments", "type", "text")
MESSAGE = st.dictionaries(st.sampled_from(INNER), JSON | st.sampled_from(["user", "assistant"]), max_size=4)
RECORD = st.dictionaries(
    st.sampled_from((*KEYS, "system", "tools", "history")), JSON | st.lists(MESSAGE, max_size=3), max_size=4
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(RECORD.map(json.dumps) | JSON.map(json.dumps) | st.text(max_size=20), max_size=3))
@example(['{"messages": [{"role": "user", "content": "a", "tool_calls": {"function": 1}}]}'])
def test_any_lines_give_examples_or_a_usage_error(tmp_path, lines):
    path = tmp_path / "data.jsonl"
    path.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
    try:
        found = list(read_examples(path))
    except UsageError as error:
        assert str(path) in str(error)
    else:
        assert found and all(isinstance(each, Text | Completion | Conversation) for each in found)
        assert all(len(content_digest(each)) == 64 for each in found)


def test_the_digest_is_of_the_content_alone(tmp_path):
    first, again, other = read(tmp_path, line(text="a") + line(id=7, text="a") + line(text="b"))
    assert content_digest(first) == content_digest(again) != content_digest(other)
