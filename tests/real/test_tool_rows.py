"""Twenty rows of tool calls and a real model whose template knows no tools: refused or taught, never lost."""

import json
import subprocess
import sys

import pytest

from sixgig.finetune.examples import read_examples
from sixgig.finetune.rendering import render
from sixgig.inference.tokenizer import open_tokenizer
from sixgig.modelfile import open_model

CITIES = ("Oslo", "Rome", "Lima", "Cairo", "Quito")


def calls(number):
    arguments = json.dumps({"city": CITIES[number % 5], "days": number})
    return [
        {"id": f"call{number:05}", "type": "function", "function": {"name": "rain", "arguments": arguments}}
    ]


def rows(path, answer):
    lines = [
        {"messages": [{"role": "user", "content": f"Rain in {CITIES[n % 5]} for {n} days?"}, answer(n)]}
        for n in range(20)
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


@pytest.mark.parametrize("content", [None, ""])
def test_tool_calls_that_the_template_does_not_write_are_refused_by_name(smollm2, tmp_path, content):
    data = rows(
        tmp_path / "calls.jsonl",
        lambda n: {"role": "assistant", "content": content, "tool_calls": calls(n)},
    )
    command = [sys.executable, "-m", "sixgig", "tune", str(smollm2), str(data), "-o", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2 and not (tmp_path / "out").exists()
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "calls.jsonl, line 1, message 2 (assistant): the chat template leaves out its tool call" in error
    assert "write the call as text in the content" in error


def test_calls_written_as_text_are_taught_whole(smollm2, tmp_path):
    data = rows(
        tmp_path / "calls.jsonl",
        lambda n: {
            "role": "assistant",
            "content": f"<tool_call>{json.dumps(calls(n)[0]['function'])}</tool_call>",
        },
    )
    with open_tokenizer(open_model(smollm2)) as tokenizer:
        vocabulary = tokenizer.vocabulary
        for number, example in enumerate(read_examples(data)):
            (document,) = render(example, tokenizer.template, vocabulary)
            taught = vocabulary.text(document.tokens[document.learn].tolist(), special=True)
            assert CITIES[number % 5] in taught and taught.endswith("</tool_call><|im_end|>")
            assert vocabulary.is_end(int(document.tokens[-1]))
