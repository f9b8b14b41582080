"""Special tokens, chat templates and sampling: carried as transformers takes them, told or refused."""

from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFReader

from sixgig.checkpoint import convert
from tests.null.test_checkpoint_tokenizers import (
    BYTE_LEVEL,
    engine_of,
    folder_of,
    pieces,
    refused,
    settings_of,
)


def fields_of(folder: Path) -> dict[str, Any]:
    convert(folder, folder.parent / "out.gguf")
    return {name: field.contents() for name, field in GGUFReader(folder.parent / "out.gguf").fields.items()}


def template(before: list[str], behind: list[str]) -> dict[str, Any]:
    single = [{"SpecialToken": {"id": token}} for token in before]
    single += [{"Sequence": {"id": "A"}}, *({"SpecialToken": {"id": token}} for token in behind)]
    return {"type": "TemplateProcessing", "single": single}


def test_what_is_put_around_a_text_is_said_in_the_gguf(tmp_path: Path) -> None:
    """By the post_processor, unless tokenizer_config.json says otherwise; never left to llama.cpp."""
    for number, (processor, said, wanted) in enumerate(
        (
            (None, {}, (False, False)),
            (template(["<s>"], []), {}, (True, False)),
            (template(["<s>"], ["</s>"]), {}, (True, True)),
            (template(["<s>"], []), {"add_bos_token": False}, (False, False)),
            (None, {"add_bos_token": True, "bos_token": "<s>"}, (True, False)),
            ({"type": "Sequence", "processors": [BYTE_LEVEL, template(["<s>"], [])]}, {}, (True, False)),
        )
    ):
        folder = folder_of(tmp_path / f"{number}", pieces(post_processor=processor))
        fields = fields_of(settings_of(folder, tokenizer_config=said))
        found = tuple(fields[f"tokenizer.ggml.add_{kind}_token"] for kind in ("bos", "eos"))
        assert found == wanted, (processor, said)
    folder = folder_of(tmp_path / "two", pieces(post_processor=template(["<s>", "</s>"], [])))
    refused(folder, "post_processor puts <s>, </s> before a text")


def test_several_stop_tokens_are_carried_or_refused(tmp_path: Path) -> None:
    content = pieces()
    folder = folder_of(tmp_path / "m", content)
    first = content["model"]["vocab"]["a"]
    fields = fields_of(settings_of(folder, generation_config={"eos_token_id": [2, first, first + 1]}))
    assert [fields[f"tokenizer.ggml.{kind}_token_id"] for kind in ("eos", "eot", "eom")] == [
        2,
        first,
        first + 1,
    ]
    with engine_of(folder) as engine:
        assert all(engine.is_end(token) for token in (2, first, first + 1))
    settings_of(folder, generation_config={"eos_token_id": [2, *range(first, first + 3)]})
    refused(folder, "more stop tokens", "3 beside '</s>'")


def test_a_number_of_a_special_token_that_is_none_is_refused_or_told(tmp_path: Path) -> None:
    for number, value in enumerate(("0", 1.0, True, ["x"], {})):
        folder = folder_of(tmp_path / f"{number}", pieces(), bos_token_id=value)
        refused(folder, "config.json: bos_token_id is no number of a token")
    lines: list[str] = []
    convert(folder_of(tmp_path / "m", pieces(), pad_token_id=99999), tmp_path / "m.gguf", tell=lines.append)
    assert len(lines) == 1 and lines[0].startswith("config.json: pad_token_id is 99999, of ")


def test_a_folder_without_any_stop_token_is_refused(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "m", pieces(), eos_token_id=None)
    refused(folder, "no token that ends a text")
    assert fields_of(settings_of(folder, special_tokens_map={"eos_token": {"content": "</s>"}}))


def test_chat_templates_come_from_the_files_that_transformers_takes(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "m", pieces())
    named = [{"name": "default", "template": "one"}, {"name": "tool_use", "template": "two"}]
    fields = fields_of(settings_of(folder, tokenizer_config={"chat_template": named}))
    assert fields["tokenizer.chat_template"] == "one"
    assert fields["tokenizer.chat_template.tool_use"] == "two"
    (folder / "chat_template.jinja").write_text("three")
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "rag.jinja").write_text("four")
    lines: list[str] = []
    convert(folder, tmp_path / "out.gguf", tell=lines.append)
    fields = {name: field.contents() for name, field in GGUFReader(tmp_path / "out.gguf").fields.items()}
    assert fields["tokenizer.chat_template"] == "three" and fields["tokenizer.chat_template.rag"] == "four"
    assert "jinja" in lines[0]


def test_how_the_makers_sample_is_carried_and_what_a_gguf_cannot_say_told(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "m", pieces())
    generation = {"temperature": 0.6, "top_k": 20, "repetition_penalty": 1.05, "suppress_tokens": [3]}
    lines: list[str] = []
    convert(settings_of(folder, generation_config=generation), tmp_path / "out.gguf", tell=lines.append)
    fields = GGUFReader(tmp_path / "out.gguf").fields
    assert fields["general.sampling.temp"].contents() == pytest.approx(0.6)
    assert fields["general.sampling.top_k"].contents() == 20
    assert fields["general.sampling.penalty_repeat"].contents() == pytest.approx(1.05)
    assert lines == ["generation_config.json: suppress_tokens is [3]; a GGUF cannot carry it"]
