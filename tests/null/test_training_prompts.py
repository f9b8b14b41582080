"""What training puts before an answer against the prompts of the engine's own server: rules of templates."""

from pathlib import Path
from typing import Any

import pytest

from sixgig.finetune.messages import read_messages
from sixgig.inference.tokenizer import open_tokenizer
from sixgig.modelfile import open_model
from tests.null.test_prompts import MISTRAL, PARTS, REPLY, SYSTEM, USER, from_the_server
from tests.tiny.lexicon import write
from tests.tune import chat_templates as templates

DATED = "{% if date_string is defined %}{{ date_string }}{% endif %}" + templates.PLAIN
THINKS_IF_ASKED = templates.REASONS.replace(
    "{{ '<|im_start|>assistant\n<think>\n' }}",
    "{{ '<|im_start|>assistant\n' + ('<think>\n' if enable_thinking else '<think>\n\n</think>\n\n') }}",
)
NO_TOOLS = "{% if tools is defined %}{{ 'tools' }}{% endif %}" + templates.PLAIN
CALL = {"id": "call00001", "type": "function", "function": {"name": "rain", "arguments": '{"city": "é😀"}'}}
CALLING = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "content": "7 mm", "tool_call_id": "call00001"}
DEVELOPER = SYSTEM | {"role": "developer"}
PLAIN_CHATS = ([USER], [SYSTEM, USER], [DEVELOPER, USER, REPLY, USER])
CALLS = ([USER, CALLING, RESULT], [USER, CALLING, RESULT, REPLY, USER])
CASES: dict[str, tuple[str, tuple[list[dict[str, Any]], ...]]] = {
    "no system": (MISTRAL, PLAIN_CHATS),
    "no system, parts": (PARTS, PLAIN_CHATS),
    "dates": (DATED, PLAIN_CHATS),
    "thinking": (THINKS_IF_ASKED, PLAIN_CHATS),
    "no tools": (NO_TOOLS, PLAIN_CHATS),
    "calls": (templates.CALLS, CALLS),
    "calls of text": (templates.CALLS_OF_TEXT, CALLS),
    "calls marked safe": (templates.CALLS.replace("'<call>' +", "'<call>' | safe +"), CALLS),
    "calls alone": (templates.CALLS_ALONE, CALLS),
}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, list[dict[str, Any]]]]:
    folder = tmp_path_factory.mktemp("prompts")
    paths = {name: write(folder / f"{name}.gguf", "bpe", source) for name, (source, _) in CASES.items()}
    asked = [{"path": str(paths[name]), "chats": chats} for name, (_, chats) in CASES.items()]
    answers = from_the_server(asked)
    return {name: (paths[name], answer["chats"]) for name, answer in zip(CASES, answers, strict=True)}


@pytest.mark.parametrize("name", CASES)
def test_training_renders_the_prompts_of_the_engines_server(told: dict[str, Any], name: str) -> None:
    path, answers = told[name]
    with open_tokenizer(open_model(path)) as tokenizer:
        for messages, answer in zip(CASES[name][1], answers, strict=True):
            assert tokenizer.template.render(read_messages(messages, "here")) == answer["prompt"]
