"""Files over which the engine ends its process: each is one refusal, and whoever opened it lives on.

Every case but the sound ones was seen to end the process of the pinned library.
"""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFWriter

from sixgig.cli.main import main
from sixgig.engines import EngineProcess
from sixgig.errors import ModelFileError
from sixgig.hardware import load_machine
from sixgig.inference import EngineOptions, trial
from sixgig.inference.load import open_engine
from sixgig.inference.tokenizer import open_tokenizer
from sixgig.jobs import machines
from sixgig.modelfile import open_model
from tests.serve.engine_processes import order
from tests.serve.loops import in_loop
from tests.tiny import models, sheet
from tests.tiny.vocabulary import tokens

N = len(tokens())
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6
SPECIAL = ["<unk>", "<s>", "</s>"]
BYTES = [f"<0x{value:02X}>" for value in range(256)]
RAW_BYTES = [f"\\x{value:02x}" for value in range(256)]
SMALL = EngineOptions(context=256, ubatch=32)


def words(count: int) -> list[str]:
    return [f"w{number}" for number in range(count)]


WITH_BYTES = SPECIAL + BYTES + words(N - 259)
BYTE_TYPES = [UNKNOWN, CONTROL, CONTROL] + [BYTE] * 256 + [NORMAL] * (N - 259)
PLAIN, PLAIN_TYPES = SPECIAL + words(N - 3), [UNKNOWN, CONTROL, CONTROL] + [NORMAL] * (N - 3)


def vocabulary(
    kind: str, texts: list[str], types: list[int] | None = None, **more: Any
) -> Callable[[GGUFWriter, int], None]:
    def add(writer: GGUFWriter, n_vocab: int) -> None:
        writer.add_tokenizer_model(kind)
        writer.add_token_list(texts)
        writer.add_token_scores([0.0] * len(texts))
        if types is not None:
            writer.add_token_types(types)
        for name, value in more.items():
            getattr(writer, f"add_{name}")(value)

    return add


SOUND = {
    "SPM": vocabulary("llama", WITH_BYTES, BYTE_TYPES),
    "UGM": vocabulary("t5", WITH_BYTES, BYTE_TYPES),
    "WPM": vocabulary("bert", words(N)),
    "RWKV": vocabulary("rwkv", ["<s>", *RAW_BYTES, *words(N - 257)]),
    "UGM that adds a BOS it has": vocabulary(
        "t5", WITH_BYTES, BYTE_TYPES, add_bos_token=True, bos_token_id=1
    ),
}
FATAL = {
    "a token twice": (
        vocabulary("llama", [*WITH_BYTES[:-1], "w1"], BYTE_TYPES),
        r"llama-vocab\.cpp:\d+: GGML_ASSERT\(",
    ),
    "WPM with bytes": (vocabulary("bert", WITH_BYTES, BYTE_TYPES), r"llama-vocab\.cpp:\d+: fatal error"),
    "SPM without bytes": (vocabulary("llama", PLAIN, PLAIN_TYPES), r"what\(\):  _Map_base::at"),
    "UGM that adds a BOS it lacks": (
        vocabulary("t5", WITH_BYTES, BYTE_TYPES, add_bos_token=True),
        r"GGML_ASSERT\(special_bos_id",
    ),
    "RWKV without bytes": (vocabulary("rwkv", PLAIN), r"std::bad_alloc within 2\.00 GiB"),
}  # fmt: skip


def built(folder: Path, add: Callable[[GGUFWriter, int], None], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sheet, "add_vocabulary", add)
    return models.build("qwen3", folder / "model.gguf", "Q8_0", n_layers=1)


@pytest.fixture
def fatal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return built(tmp_path, FATAL["a token twice"][0], monkeypatch)


@pytest.mark.parametrize("case", FATAL)
def test_is_refused_in_one_line_with_the_engines_last_words(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add, words_of_engine = FATAL[case]
    model = open_model(built(tmp_path, add, monkeypatch))
    with pytest.raises(ModelFileError, match=words_of_engine) as refused:
        open_engine(model, None, SMALL)
    assert refused.value.what == "llama.cpp cannot open model.gguf"
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 300
    assert "/" not in refused.value.numbers  # no path of the machine that built the engine


@pytest.mark.parametrize("case", SOUND)
def test_a_sound_one_of_the_kind_comes_through(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial.require_openable(open_model(built(tmp_path, SOUND[case], monkeypatch)), SMALL)


def test_a_tokenizer_alone_is_behind_the_same_door(fatal: Path) -> None:
    with pytest.raises(ModelFileError, match="GGML_ASSERT"), open_tokenizer(open_model(fatal)):
        pass


@in_loop
async def test_an_engine_process_refuses_the_file_and_does_not_end_over_it(
    fatal: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelFileError, match="GGML_ASSERT"):
        await EngineProcess.start(order(fatal, tmp_path))


@pytest.mark.parametrize("verb", [["run", "-p", "a"], ["bench"], ["score", "--text"]])
def test_a_verb_says_it_in_one_line(verb: list[str], fatal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = fatal.with_name("text.txt")
    text.write_text("a text " * 500)
    arguments = [verb[0], str(fatal), "--ram", "1G", *verb[1:], *([str(text)] if verb[0] == "score" else [])]
    assert main(arguments) == 1
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith("error: llama.cpp cannot open model.gguf; llama-vocab.cpp:")
    assert not [line for line in said if "Traceback" in line or "#0" in line]


def test_plan_tells_the_bad_file_of_a_folder_and_goes_on_with_the_others(
    tiny: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(machines, "this_machine", lambda *_, **__: load_machine("cpu-box-2c-24g"))
    good = tmp_path / "good.gguf"
    good.write_bytes(tiny("qwen3", "Q8_0", n_layers=1).read_bytes())
    monkeypatch.setattr(sheet, "add_vocabulary", FATAL["a token twice"][0])
    for name, n_layers in (("large", 3), ("small", 1)):  # what would be recommended, and what would not
        models.build("qwen3", tmp_path / f"{name}.gguf", "Q8_0", n_layers=n_layers)
    assert main(["plan", str(tmp_path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["recommended"]["name"] == "good"
    assert [one["name"] for one in told["refused"] if "GGML_ASSERT" in one["error"]] == ["large", "small"]


def test_what_came_through_once_is_not_tried_again_until_it_changes(
    tiny: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(tiny("qwen3", n_layers=1).read_bytes())
    tried: list[object] = []
    real = subprocess.run
    monkeypatch.setattr(
        trial.subprocess, "run", lambda *words, **more: tried.append(words) or real(*words, **more)
    )
    for options in (SMALL, SMALL, EngineOptions(context=256, ubatch=32, threads=2, extra_buffers=False)):
        trial.require_openable(open_model(path), options)
    assert len(tried) == 1
    path.touch()
    trial.require_openable(open_model(path), SMALL)
    assert len(tried) == 2


def test_a_record_that_cannot_be_kept_costs_time_only(
    tiny: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "opened.txt").mkdir()
    monkeypatch.setattr(trial, "user_cache_path", lambda _name: tmp_path)
    trial.require_openable(open_model(tiny("qwen3", n_layers=1)), SMALL)


def test_one_that_does_not_come_to_an_end_is_refused(fatal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "LONGEST_S", 0.001)
    with pytest.raises(ModelFileError, match="not done after"):
        trial.require_openable(open_model(fatal), SMALL)


def test_where_no_process_can_be_started_nothing_is_tried(
    tiny: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial.sys, "executable", "/no such program")
    trial.require_openable(open_model(tiny("qwen3", n_layers=1, width=64)), SMALL)
