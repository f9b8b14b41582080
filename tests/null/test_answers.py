"""What is said and what is thought: an answer's parts against those that the engine's server tells apart."""

import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sixgig.errors import ModelFileError
from sixgig.hardware import process_memory
from sixgig.inference import Conversation, Engine, EngineOptions, answer, chat_format
from sixgig.inference.chat_format import Turn
from tests.null.test_prompts import Scripted, from_the_server
from tests.tiny.lexicon import write

OPTIONS = EngineOptions(context=1024, threads=1)
# Channels, as gpt-oss has them: what was thought is left out of past turns, markers in a content are refused.
HARMONY = (
    "{% for m in messages %}{% if m.role == 'assistant' %}"
    '{%- if "<|channel|>analysis<|message|>" in message.content or '
    '"<|channel|>final<|message|>" in message.content %}'
    "{{ raise_exception('markers in the content') }}{%- endif %}"
    "{% if loop.last and m.thinking %}"
    "{{ '<|start|>assistant<|channel|>analysis<|message|>' + m.thinking + '<|end|>' }}{% endif %}"
    "{{ '<|start|>assistant<|channel|>final<|message|>' + m.content + '<|end|>' }}"
    "{% else %}{{ '<|start|>' + m.role + '<|message|>' + m.content + '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant' }}{% endif %}"
)
# Tags, as Qwen3 has them: thinking stays behind the last question only.
THINK = (
    "{%- set ns = namespace(last=0) %}{%- for m in messages %}{%- if m.role == 'user' %}"
    "{%- set ns.last = loop.index0 %}{%- endif %}{%- endfor %}"
    "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\n' }}"
    "{%- if m.role == 'assistant' and m.reasoning_content and loop.index0 > ns.last %}"
    "{{- '<think>\n' + m.reasoning_content + '\n</think>\n\n' }}{%- endif %}"
    "{{- m.content + '<|im_end|>\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\n\n</think>\n\n' }}"
    "{%- endif %}{%- endif %}"
)
PLAIN = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TEMPLATES = {
    "channels": HARMONY,
    "tags": THINK,
    "begun": THINK.replace("'<|im_start|>assistant\n'", "'<|im_start|>assistant\n<think>\n'"),
    "plain": PLAIN,
}
FINAL = "<|channel|>final<|message|>"
THOUGHT = "<|channel|>analysis<|message|>the cat\n\nsat<|end|><|start|>assistant"
ANSWERS = [
    ("channels", THOUGHT + FINAL + "On the mat."),
    ("channels", FINAL + "On the mat."),
    ("channels", "<|channel|>analysis<|message|>the cat"),
    ("tags", "<think>\nthe cat\n\nsat\n</think>\n\nOn the mat."),
    ("tags", "<think>the cat</think>On the mat."),
    ("tags", "On the mat."),
    ("tags", "<think>\nthe cat, never done"),
    ("begun", "the cat\n</think>\n\nOn the mat."),
    ("begun", "the cat, never done"),
    ("plain", "On the mat. <|nothing|> is hidden, é😀"),
    ("plain", "  spaces \n stay "),
]


@dataclass(frozen=True)
class Told:
    paths: dict[str, Path]
    parts: dict[tuple[str, str], dict[str, str]]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    folder = tmp_path_factory.mktemp("answers")
    paths = {name: write(folder / f"{name}.gguf", "bpe", source) for name, source in TEMPLATES.items()}
    spoken = {name: [text for kind, text in ANSWERS if kind == name] for name in paths}
    given = from_the_server([{"path": str(paths[name]), "spoken": spoken[name]} for name in paths])
    parts = {
        (name, text): part
        for name, answer in zip(paths, given, strict=True)
        for text, part in zip(spoken[name], answer["spoken"], strict=True)
    }
    return Told(paths, parts)


def said(engine: Engine, conversation: Conversation, text: str, **more: Any) -> tuple[list[str], list[str]]:
    """The pieces of the content and of the thinking, as they came."""
    thoughts = list[str]()
    script = Scripted(engine.vocabulary.tokenize(text), 4)
    return list(conversation.ask("the", None, script, thinking=thoughts.append, **more)), thoughts


@pytest.mark.parametrize(("name", "text"), ANSWERS)
def test_parts_are_told_apart_as_the_engines_server_does(told: Told, name: str, text: str) -> None:
    with Engine(told.paths[name], OPTIONS) as engine:
        content, thoughts = said(engine, Conversation(engine, engine.chat_format()), text)
    parts = told.parts[name, text]
    assert ("".join(content), "".join(thoughts)) == (parts["content"], parts["reasoning_content"])
    assert not any(marker in part for marker in ("<|", "think>") for part in thoughts)


def test_past_answers_go_back_as_the_template_wants_them(told: Told) -> None:
    """Of the channels' template: it refuses markers in a content, and takes thinking by its own name."""
    with Engine(told.paths["channels"], OPTIONS) as engine:
        conversation = Conversation(engine, engine.chat_format())
        said(engine, conversation, THOUGHT + FINAL + "On the mat.")
        content, thoughts = said(engine, conversation, FINAL + "Still there.")
        assert ("".join(content), thoughts) == ("Still there.", [])
        prompt = engine.vocabulary.text(engine.tokens, special=True)
    assert f"<|start|>assistant{FINAL}On the mat.<|end|><|start|>user" in prompt
    assert THOUGHT not in prompt
    assert conversation.messages[1] == {
        **{"role": "assistant", "content": "On the mat."},
        "reasoning_content": "the cat\n\nsat",
    }


@pytest.mark.parametrize(("name", "text"), [*ANSWERS, ("tags", "the <thi nothing, cut"), ("channels", "x")])
def test_an_answer_streams_to_the_same_parts_that_it_has_as_a_whole(told: Told, name: str, text: str) -> None:
    """However it is cut into tokens, nothing that was shown is taken back or lost."""
    with Engine(told.paths[name], OPTIONS) as engine:
        whole = Conversation(engine, engine.chat_format())
        content, thoughts = said(engine, whole, text)
        assert "".join(content) == whole.messages[-1]["content"]
        assert "".join(thoughts) == whole.messages[-1]["reasoning_content"]
        assert "".join(content + thoughts).strip()


def test_an_answer_that_breaks_its_format_is_shown_as_it_stands(told: Told) -> None:
    with Engine(told.paths["channels"], OPTIONS) as engine:
        content, thoughts = said(engine, Conversation(engine, engine.chat_format()), "no channel at all")
    assert ("".join(content), thoughts) == ("no channel at all", [])


def test_a_long_answer_is_not_parsed_for_every_token(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parser takes the whole answer each time: for each token that would be quadratic."""
    asked, read = list[int](), Turn.read

    def counted(turn: Turn, pieces: Any, last: bool = False) -> Any:
        asked.append(len(pieces))
        return read(turn, pieces, last)

    monkeypatch.setattr(Turn, "read", counted)
    monkeypatch.setattr(answer, "_PARSES", 64)
    with Engine(told.paths["plain"], OPTIONS) as engine:
        said(engine, Conversation(engine, engine.chat_format()), "a" * 800)
    assert sum(asked) == 800 and len(asked) < 400


BROKEN = (
    ("{% for", "llama.cpp cannot parse it"),
    ("{{ raise_exception('not\nthis') }}", "work; not this; --raw"),
    ("{{ nothing.called() }}", "Callee is not a function"),
    ("{{ messages[9].content }}", "it writes nothing for 1 messages"),
)
ENDLESS = (
    "{% for i in range(1000000000) %}x{% endfor %}",
    "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
)


@pytest.mark.parametrize(("source", "words"), BROKEN)
def test_a_template_that_does_not_work_is_told_in_the_engines_words(
    tmp_path: Path, source: str, words: str
) -> None:
    path = write(tmp_path / "broken.gguf", "bpe", source)
    with (
        Engine(path, OPTIONS) as engine,
        pytest.raises(ModelFileError, match="chat template does not work") as told,
    ):
        engine.chat_format().begin([{"role": "user", "content": "Hi"}])
    assert words in str(told.value) and "\n" not in str(told.value)


@pytest.mark.parametrize("source", ENDLESS)
def test_a_template_that_does_not_end_stands_still_from_then_on(
    tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a program that goes on it would take the machine's memory, or a processor, for good."""
    monkeypatch.setattr(chat_format, "LONGEST_S", 0.5)
    with Engine(write(tmp_path / "endless.gguf", "bpe", source), OPTIONS) as engine:
        with pytest.raises(ModelFileError, match="does not work; it "):
            engine.chat_format().begin([{"role": "user", "content": "Hi"}])
        worker = next(t for t in reversed(threading.enumerate()) if t.name == "chat-template")
        stat = Path(f"/proc/self/task/{worker.native_id}/stat")
        before_s, before_bytes = stat.read_text().split()[13:15], process_memory().resident_bytes
        time.sleep(0.5)
        assert stat.read_text().split()[13:15] == before_s
        assert process_memory().resident_bytes < before_bytes + (16 << 20)


@pytest.mark.parametrize("source", ENDLESS)
def test_a_template_that_does_not_end_is_one_line_and_so_is_the_process(tmp_path: Path, source: str) -> None:
    path = write(tmp_path / "endless.gguf", "bpe", source)
    code = (
        "import sys; from pathlib import Path; from sixgig.inference import *\n"
        "from sixgig.inference import chat_format; chat_format.LONGEST_S = 0.5\n"
        "with Engine(Path(sys.argv[1]), EngineOptions(context=256, threads=1)) as engine:\n"
        "    engine.chat_format().begin([{'role': 'user', 'content': 'Hi'}])"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    line = done.stderr.strip().splitlines()[-1]
    assert "ModelFileError: the model's chat template does not work; it " in line
