"""A real model from Python: chats and texts are the engine's own server's, whatever was asked before."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import sixgig
from tests.real import engine_server
from tests.real.engine_server import LONGEST, PATIENCE_S

pytestmark = pytest.mark.timeout(2 * PATIENCE_S)
SYSTEM = {"role": "system", "content": "You answer in one short sentence."}
QUESTIONS = ("Who wrote Hamlet?", "When did he live?")
TEXT = "The capital of France is"


@pytest.fixture(scope="module")
def model(smollm2: Path) -> Iterator[sixgig.Model]:
    with sixgig.load(smollm2, context=1024, threads=1, ram=2 << 30) as model:
        yield model


def said(pieces: sixgig.Answer) -> str:
    text = "".join(pieces)
    assert text == pieces.result.text
    return text


def test_a_chat_that_grows_is_answered_as_the_engines_own_server_answers_it(
    model: sixgig.Model, smollm2: Path
) -> None:
    """The second answer is given with what the first left in the context; the oracle's from nothing."""
    first = [SYSTEM, {"role": "user", "content": QUESTIONS[0]}]
    ours = model.chat(first, max_tokens=LONGEST, temperature=0)
    said(ours)
    grown = [
        *first,
        {"role": "assistant", "content": ours.result.text},
        {"role": "user", "content": QUESTIONS[1]},
    ]
    theirs = engine_server.answers(smollm2, [first, grown, TEXT])
    assert ours.result.text == theirs[0]
    second = model.chat(grown, max_tokens=LONGEST, temperature=0)
    assert said(second) == theirs[1]
    assert second.result.prefill_tokens < second.result.prompt_tokens / 2
    assert said(model.generate(TEXT, max_tokens=LONGEST, temperature=0)) == theirs[2]
    assert said(model.chat(grown, max_tokens=LONGEST, temperature=0)) == theirs[1]
