"""Who gets which slot of an engine, and when it starts empty."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sixgig.errors import UsageError
from sixgig.gateway.call import Call
from sixgig.gateway.slots import SlotChooser
from sixgig.settings import KeySettings

KEYS = [
    KeySettings(name=name, sha256=f"{number:064x}", group=group)
    for number, (name, group) in enumerate([("ann", None), ("bob", None), ("tim", "team"), ("tom", "team")])
]
CHAT = "/v1/chat/completions"


class Engine:
    """Stands for an engine process: something that slots belong to."""


def call(key, text="", path=CHAT, **fields):
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": text}], **fields}).encode()
    return Call(api="openai", path=path, body=body, model="m", stream=False, key=key)


def told(body):
    """Slot and whether its prompt may be reused, as the engine reads it."""
    fields = json.loads(body)
    return fields["id_slot"], fields.get("cache_prompt", True)


class Visit:
    """One call at a time or several side by side: enter, answered, left."""

    def __init__(self, chooser, engine, n_slots=2):
        self._chooser, self._engine, self._n_slots = chooser, engine, n_slots

    def ask(self, *args, answered=True, **fields):
        with self._chooser.place(call(*args, **fields), self._engine, self._n_slots) as place:
            if answered:
                place.began()
            return told(place.body)


@pytest.fixture
def visit():
    return Visit(SlotChooser(KEYS), Engine())


def test_the_same_key_finds_its_own_prompt_again_and_another_does_not(visit):
    slot, reuse = visit.ask("ann", "once upon a time")
    assert not reuse
    assert visit.ask("ann", "once upon a time") == (slot, True)
    other, reuse = visit.ask("bob", "once upon a time")
    assert other != slot and not reuse
    assert visit.ask("ann", "once upon a time") == (slot, True)


def test_a_slot_that_changes_hands_starts_empty(visit):
    visit.ask("ann", "a")
    visit.ask("bob", "b")
    _slot, reuse = visit.ask("tim", "a")
    assert not reuse


def test_keys_of_a_group_share(visit):
    slot, _ = visit.ask("tim", "once upon a time")
    assert visit.ask("tom", "once upon a time") == (slot, True)


def test_a_call_that_was_not_answered_leaves_a_slot_of_which_nothing_is_known(visit):
    visit.ask("ann", "a")
    for _ in range(3):  # what the engine refused changed nothing in the slot, which may hold ann's still
        visit.ask("bob", "a", answered=False)
    assert all(not visit.ask("bob", "a", answered=False)[1] for _ in range(3))


def test_conversations_of_one_key_keep_to_their_slots(visit):
    one, two = "tell me of whales, at length; " * 5, "and what is a glacier made of? " * 5
    first, second = visit.ask("ann", one)[0], visit.ask("ann", two)[0]
    assert first != second
    for more in ("", " more", " more and more"):
        assert visit.ask("ann", two + more) == (second, True)
        assert visit.ask("ann", one + more) == (first, True)


@pytest.mark.parametrize("field", ["n", "n_cmpl"])
def test_several_answers_lie_where_the_engine_put_them(field):
    chooser, engine = SlotChooser(KEYS), Engine()
    visit = Visit(chooser, engine, 3)
    slot, _ = visit.ask("bob", "a")
    with chooser.place(call("ann", "b", **{field: 2}), engine, 3) as place:
        place.began()
        assert visit.ask("bob", "a") == (slot, False)
    assert visit.ask("bob", "a")[1] is False
    assert visit.ask("bob", "a")[1] is True


def test_another_engine_process_holds_nothing():
    chooser = SlotChooser(KEYS)
    assert Visit(chooser, Engine()).ask("ann", "a")[1] is False
    assert Visit(chooser, Engine()).ask("ann", "a")[1] is False


@pytest.mark.parametrize("keys", [[], KEYS[:1], KEYS[2:]], ids=["none", "one", "one group"])
def test_where_all_share_bytes_pass_unchanged(keys):
    asked = call(keys[0].name if keys else None)
    with SlotChooser(keys).place(asked, Engine(), 2) as place:
        assert place.body is asked.body


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/messages/count_tokens"])
def test_what_keeps_no_prompt_needs_no_slot(path):
    asked = call("ann", path=path)
    with SlotChooser(KEYS).place(asked, Engine(), 2) as place:
        assert place.body is asked.body


@pytest.mark.parametrize("body", [b'{"a": "}"}', b"{}", b" { } ", b'{"cache_prompt": true, "id_slot": 9}\n'])
def test_the_servers_own_fields_come_last(body):
    asked = Call(api="openai", path=CHAT, body=body, model="m", stream=False, key="ann")
    with SlotChooser(KEYS).place(asked, Engine(), 1) as place:
        assert json.loads(place.body) == json.loads(body) | {"id_slot": 0, "cache_prompt": False}


def test_a_body_in_another_encoding_is_refused():
    body = '{"prompt": "a"}'.encode("utf-16-le")
    asked = Call(api="openai", path=CHAT, body=body, model="m", stream=False, key="ann")
    with pytest.raises(UsageError, match="UTF-8"), SlotChooser(KEYS).place(asked, Engine(), 1):
        pass


@given(
    n_slots=st.integers(1, 4),
    steps=st.lists(
        st.tuples(
            st.sampled_from([key.name for key in KEYS]),
            st.sampled_from(["one", "one and two", "three"]),
            st.sampled_from(["answered", "refused", "several"]),
            st.integers(0, 3),
        ),
        max_size=40,
    ),
)
def test_no_order_of_calls_lets_a_group_reuse_anothers_prompt(n_slots, steps):
    """holds: whose prompt each slot has; calls end in any order, further answers are begun at any time."""
    chooser, engine, holds = SlotChooser(KEYS), Engine(), {}
    groups = {key.name: key.group or key.name for key in KEYS}
    under_way = []

    def spread(group):
        """The engine puts other answers of a call where there is room."""
        holds.update(dict.fromkeys(set(range(n_slots)) - {taken for taken, *_ in under_way}, group))

    for name, text, fate, which in steps:
        if len(under_way) == n_slots:
            _, stack, spreads = under_way.pop(which % n_slots)
            if spreads:
                spread(spreads)
            stack.close()
        stack = contextlib.ExitStack()
        n = 2 if fate == "several" else 1
        place = stack.enter_context(chooser.place(call(name, text, n=n), engine, n_slots))
        slot, reuse = told(place.body)
        assert slot in set(range(n_slots)) - {taken for taken, *_ in under_way}
        assert not reuse or holds.get(slot) == groups[name]
        under_way.append((slot, stack, groups[name] if fate == "several" else None))
        if fate != "refused":
            place.began()
            holds[slot] = groups[name]
        if fate == "several":
            spread(groups[name])
