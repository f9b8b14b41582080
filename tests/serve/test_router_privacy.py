"""No configuration, state, header or trick sends a private request away."""

import copy
import dataclasses
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sixgig.router import (
    Ask,
    Attempt,
    Gate,
    LocalState,
    Permit,
    Private,
    Routing,
    Spent,
    decide,
    is_permitted,
)
from tests.serve.test_router_decide import ASKS, MODELS, SPENT, STATES, attempts, permit, routing, routings

OPEN_WORDS, PRIVATE_WORDS = ("false", "0", "no", "off"), ("true", "1", "yes", "on")
KEYS = ("ann", "bob")
GATES = st.builds(
    Gate,
    st.booleans(),
    st.frozensets(st.sampled_from((*MODELS, "qwen*"))),
    st.dictionaries(st.sampled_from(KEYS), st.booleans()),
)
HEADERS = st.lists(
    st.sampled_from((*OPEN_WORDS, *PRIVATE_WORDS, "No", "false,false", "")) | st.text(), max_size=2
)


def must_stay(gate: Gate, model: str, key: str | None, header: list[str]) -> bool:
    """The rule in other words than the gate's: every mark on its own."""
    opened = len(header) == 1 and header[0].strip(" \t").lower() in OPEN_WORDS
    marks = [
        bool(header) and not opened,
        gate.private_by_default and not opened,
        model in gate.private_models,
        "qwen*" in gate.private_models and model.startswith("qwen"),
        bool(gate.keys) and gate.keys.get(key or "", True),
        key is not None and key not in gate.keys,
    ]
    return any(marks)


@given(GATES, ASKS, st.none() | st.sampled_from(KEYS), HEADERS, STATES, routings(), SPENT)
def test_no_configuration_sends_a_private_request_away(
    gate: Gate,
    ask: Ask,
    key: str | None,
    header: list[str],
    state: LocalState,
    configured: Routing,
    spent: Spent,
) -> None:
    answer = gate.check(ask.request_id, (ask.model,), key, header)
    assert isinstance(answer, Private) == must_stay(gate, ask.model, key, header)
    decision = decide(dataclasses.replace(ask, permit=answer), state, configured, spent)
    for attempt in attempts(decision):
        assert attempt.permit is answer and is_permitted(attempt.permit, ask.request_id)
    if isinstance(answer, Private):
        assert attempts(decision) == [] and "Permit" not in repr(decision)


@given(ASKS, STATES, routings(), SPENT)
def test_a_permit_of_another_request_sends_nothing_away(
    ask: Ask, state: LocalState, configured: Routing, spent: Spent
) -> None:
    stolen = dataclasses.replace(ask, permit=permit("another"))
    assert attempts(decide(stolen, state, configured, spent)) == []


@pytest.mark.parametrize("by_default", [True, False])
@pytest.mark.parametrize(
    ("header", "opens"),
    [
        ([], None), (["false"], True), (["0"], True), (["NO"], True), ([" off\t"], True), (["true"], False),
        (["1"], False), (["yes"], False), (["On"], False), ([""], False), (["false", "false"], False),
        (["false", "true"], False), (["false, false"], False), (["null"], False),
        (["f\N{FULLWIDTH LATIN SMALL LETTER A}lse"], False), (["\x00false"], False), (["\nno"], False),
    ],
)  # fmt: skip
def test_only_a_clear_no_opens_the_global_default(
    by_default: bool, header: list[str], opens: bool | None
) -> None:
    answer = Gate(by_default, frozenset(), {}).check("r1", ("m",), None, header)
    assert isinstance(answer, Permit) == (not by_default if opens is None else opens)


def test_a_header_lifts_neither_a_models_nor_a_keys_mark() -> None:
    gate = Gate(False, frozenset({"diary"}), {"ann": True, "bob": False})
    assert isinstance(gate.check("r1", ("m",), "bob", ["false"]), Permit)
    assert gate.check("r1", ("diary",), "bob", ["false"]) == Private("the owner marked this model private")
    assert gate.check("r1", ("m",), "ann", ["false"]) == Private("the owner marked this key private")


@pytest.mark.parametrize("mark", ["diary", "Diary:latest", "DIARY.gguf", "di*", "d[i]ary"])
@pytest.mark.parametrize(
    "asked", ["diary", "DIARY", "diary:latest", "diary:8b-q4", "hf.co/me/diary:Q4_K_M", " diary ",
              "diary.gguf", "di\N{ZERO WIDTH SPACE}ary", "\N{FULLWIDTH LATIN SMALL LETTER D}iary"],
)  # fmt: skip
def test_a_mark_holds_however_the_model_is_spelt(mark: str, asked: str) -> None:
    assert isinstance(Gate(False, frozenset({mark}), {}).check("r1", (asked,), None, ()), Private)


@pytest.mark.parametrize(
    "asked", ["models/diary/", "diary/.", "x/../diary", "diary@q4", "diary%20", "my-diary-2"]
)
def test_what_only_resembles_a_marked_name_stays_too(asked: str) -> None:
    assert isinstance(Gate(False, frozenset({"diary"}), {}).check("r1", (asked,), None, ()), Private)
    assert isinstance(Gate(False, frozenset({"diary"}), {}).check("r1", ("dairy",), None, ()), Permit)


def test_a_mark_with_brackets_is_a_name_too() -> None:
    assert isinstance(Gate(False, frozenset({"a[b]"}), {}).check("r1", ("a[b]",), None, ()), Private)


def test_a_mark_holds_for_what_a_name_was_resolved_to() -> None:
    assert isinstance(Gate(False, frozenset({"diary"}), {}).check("r1", ("chat", "diary"), None, ()), Private)


@pytest.mark.parametrize(
    ("models", "key", "header", "keys"),
    [
        ("diary", None, (), {}),
        ((), None, (), {}),
        ((None,), None, (), {}),
        (("m",), None, (3,), {}),
        (("m",), None, (b"false",), {}),
        (("m",), [], (), {"ann": False}),
        (("m",), None, (), {"ann": False}),
        (("m",), "eve", (), {"ann": False}),
        (("m",), "eve", (), {}),
        (("m",), "ann", (), {"ann": "false"}),
        (("m",), "ann", (), None),
    ],
)
def test_what_is_unclear_or_fails_is_private(models: Any, key: Any, header: Any, keys: Any) -> None:
    assert isinstance(Gate(False, frozenset(), keys).check("r1", models, key, header), Private)


@given(st.lists(st.text() | st.none() | st.binary(), max_size=3), st.text(), st.text())
def test_no_input_makes_the_gate_raise(header: list[Any], model: str, key: str) -> None:
    gate = Gate(False, frozenset({model[:3]}), {key: False})
    assert isinstance(gate.check("r1", (model,), key, header), Private | Permit)


def forged_by_subclass() -> Any:
    return type("Forged", (Permit,), {})


@pytest.mark.parametrize(
    "forge",
    [
        lambda: Permit(object(), "r1"),
        lambda: Permit(None, "r1"),
        lambda: Permit("r1"),  # type: ignore[call-arg]
        forged_by_subclass,
    ],
)
def test_only_a_gate_makes_a_permit(forge: Callable[[], Any]) -> None:
    with pytest.raises(TypeError):
        forge()


class Pretender:
    """Equal to every permit."""

    def __init__(self, real: Permit) -> None:
        self.hash = hash(real)

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return self.hash


@pytest.mark.parametrize(
    "imitate",
    [
        lambda real: object.__new__(Permit),
        copy.copy,
        copy.deepcopy,
        lambda real: pickle.loads(pickle.dumps(real)),
        Pretender,
        lambda real: "permit",
        lambda real: None,
    ],
)
def test_an_imitation_permits_nothing(imitate: Callable[[Permit], Any]) -> None:
    real = permit()
    false = imitate(real)
    assert is_permitted(real, "r1") and not is_permitted(real, "r2")
    assert not is_permitted(false, "r1") and not is_permitted(false, "")
    attempt = Attempt("r1", routing().upstreams[0], "m", 1, 0, real)
    for changes in ({"permit": false}, {"request_id": "r2"}):
        with pytest.raises(ValueError, match="no permit"):
            dataclasses.replace(attempt, **changes)
