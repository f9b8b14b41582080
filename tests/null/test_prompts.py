"""The tokens of prompts against those of the engine's own server, on a table of small files."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sixgig.finetune import examples
from sixgig.finetune.rendering import render
from sixgig.inference import Continuation, Conversation, Engine, EngineOptions
from sixgig.inference.tokenizer import open_tokenizer
from sixgig.modelfile import open_model
from tests.tiny.lexicon import LEXICONS, write

ORACLE = Path(__file__).with_name("prompt_oracle.py")
OPTIONS = EngineOptions(context=512, threads=1)
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}"
    "{% elif m.role == 'assistant' %}{{ ' ' + m.content + eos_token }}"
    "{% else %}{{ raise_exception('no such role') }}{% endif %}{% endfor %}"
)
PARTS = (
    "{{ bos_token }}{% for m in messages %}{{ '<|im_start|>' + m.role + ':' }}"
    "{% for part in m.content %}{% if part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}"
    "{{ '<|im_end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant:' }}{% endif %}"
)
TEMPLATES = {
    "no template": None,
    "chatml": CHATML,
    "bos": "{{ bos_token }}" + CHATML,
    "bos twice": "{{ bos_token }}{{ bos_token }}" + CHATML,
    "eos at the end": "{{ bos_token }}" + CHATML + "{{ eos_token }}",
    "mistral": MISTRAL,
    "content parts": PARTS,
}
CASES = [
    (kind, template, adds_bos, adds_eos)
    for kind in LEXICONS
    for template, adds_bos, adds_eos in (
        ("no template", None, None),
        ("no template", True, False),
        ("chatml", True, None),
        ("bos", True, None),
        ("bos", False, False),
        ("bos twice", True, None),
        ("eos at the end", True, True),
        ("mistral", True, False),
        ("content parts", None, True),
    )
]
USER = {"role": "user", "content": "the cat sat, é😀 <s> on </s>"}
SYSTEM = {"role": "system", "content": "Be kind."}
REPLY = {"role": "assistant", "content": "the cat"}
CHATS = ([USER], [SYSTEM, USER], [USER, REPLY, USER])
TEXTS = ("the cat", " the <|im_start|> cat\n", "<s>the cat</s>")


@dataclass(frozen=True)
class Case:
    """A file, and what the engine's server made of CHATS and TEXTS with it."""

    path: Path
    chats: list[dict[str, Any]]
    texts: list[dict[str, Any]]


def from_the_server(asked: list[dict[str, Any]]) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, str(ORACLE)],
        input=json.dumps(asked),
        env=os.environ | {"GGML_NO_BACKTRACE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("ANSWERS ")]
    assert lines, done.stderr[-2000:]
    answers: list[dict[str, Any]] = json.loads(lines[-1].removeprefix("ANSWERS "))
    return answers


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Any, Case]]:
    folder, asked = tmp_path_factory.mktemp("prompts"), []
    for number, (kind, template, adds_bos, adds_eos) in enumerate(CASES):
        path = write(folder / f"{number}.gguf", kind, TEMPLATES[template], adds_bos, adds_eos)
        asked.append({"path": str(path), "chats": _chats(template), "texts": TEXTS})
    pairs = zip(CASES, asked, from_the_server(asked), strict=True)
    yield {case: Case(Path(one["path"]), **answer) for case, one, answer in pairs}


def _chats(template: str) -> list[list[dict[str, str]]]:
    """Mistral's takes no system message."""
    return [list(chat) for chat in CHATS if template != "mistral" or SYSTEM not in chat]


class Scripted:
    """A sampler that says what it is told, then ends the turn."""

    def __init__(self, tokens: list[int], end: int) -> None:
        self._tokens = [*tokens, end]

    def heed(self, prompt: Any) -> None:
        pass

    def sample(self, engine: Engine) -> int:
        return self._tokens.pop(0)


def prompted(engine: Engine, ask: Callable[..., Any], content: str) -> list[int]:
    """The tokens evaluated before an answer of no token."""
    engine.clear()
    assert list(ask(content, 0, Scripted([], 0))) == []
    return engine.tokens


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
def test_prompts_have_the_tokens_of_the_engines_own_server(table: dict[Any, Case], case: Any) -> None:
    made = table[case]
    with Engine(made.path, OPTIONS) as engine:
        for messages, told in zip(_chats(case[1]), made.chats, strict=True):
            conversation = Conversation(engine, engine.chat_format())
            conversation.messages = list(messages[:-1])
            ours = prompted(engine, conversation.ask, messages[-1]["content"])
            assert ours == told["tokens"] and len(ours) == told["count"]
        for text, told in zip(TEXTS, made.texts, strict=True):
            ours = prompted(engine, Continuation(engine).ask, text)
            assert ours == told["tokens"] and len(ours) == told["count"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
def test_a_chat_that_goes_on_has_the_servers_tokens_too(table: dict[Any, Case], case: Any) -> None:
    """The reply is generated here and given to the server as a message there."""
    made = table[case]
    with Engine(made.path, OPTIONS) as engine:
        conversation = Conversation(engine, engine.chat_format())
        words = engine.vocabulary.tokenize("\nthe cat")[len(engine.vocabulary.tokenize("\n")) :]
        run = conversation.ask(USER["content"], None, Scripted(words, 4))
        assert "".join(run).strip() and run.result.finish == "end"
        assert prompted(engine, conversation.ask, USER["content"]) == made.chats[-1]["tokens"]


@pytest.mark.parametrize(
    "case", [case for case in CASES if not case[3]], ids=lambda case: "-".join(map(str, case))
)
def test_training_teaches_answers_behind_the_very_prompts_of_the_server(
    table: dict[Any, Case], case: Any
) -> None:
    made = table[case]
    for messages, told in zip(_chats(case[1]), made.chats, strict=True):
        example = examples.Conversation("here", (*messages, REPLY), None)
        with open_tokenizer(open_model(made.path)) as tokenizer:
            document = render(example, tokenizer.template, tokenizer.vocabulary)[-1]
            _, end = tokenizer.vocabulary.frame
        prompt = told["tokens"][: len(told["tokens"]) - len(end)]
        assert document.tokens[: len(prompt)].tolist() == prompt
        assert document.learn[len(prompt)]
