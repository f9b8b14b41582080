"""What `sixgig serve --print-vllm` prints: texts that their readers accept, and an honest origin."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from sixgig.jobs.serve_vllm import PLACEHOLDER, find_source, vllm_setup
from sixgig.modelfile import open_model
from sixgig.router import Routing
from tests.tiny.models import build
from tests.tiny.sheet import Sheet

NAME = "org/some-model:q4"


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that writes a model with these metadata, whose name is "Some Model"."""

    def make(metadata: Mapping[str, str | int], path: Path = tmp_path / "model.gguf", **sizes: Any) -> Path:
        common = Sheet.common_metadata

        def more(sheet: Sheet, *, context: int = 4096) -> None:
            common(sheet, context=context)
            for key, value in {"general.name": "Some Model", **metadata}.items():
                if isinstance(value, int):
                    sheet.writer.add_uint32(key, value)
                else:
                    sheet.writer.add_string(key, value)

        monkeypatch.setattr(Sheet, "common_metadata", more)
        path.parent.mkdir(parents=True, exist_ok=True)
        return build("llama", path, n_layers=1, **sizes)

    return make


def source(path: Path) -> str:
    return find_source(open_model(path), path).repository


def remark(path: Path) -> str:
    return find_source(open_model(path), path).remark


def parts(text: str) -> tuple[str, Any, dict[str, Any]]:
    """The command, the compose file and the TOML blocks."""
    _, command, compose, blocks = re.split(r"^# ---- .*$", text, flags=re.MULTILINE)
    return command, yaml.safe_load(compose), tomllib.loads(blocks)


def words(command: str) -> list[str]:
    return shlex.split(next(line for line in command.splitlines() if line.startswith("vllm ")))


HUB = "https://huggingface.co/"


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"general.source.repo_url": f"{HUB}acme/some-model"}, "acme/some-model"),
        ({"general.source.huggingface.repository": "acme/some-model"}, "acme/some-model"),
        ({"general.base_model.0.repo_url": f"{HUB}acme/Some-Model/"}, "acme/Some-Model"),
        ({"general.repo_url": f"{HUB}acme/Some-Model-GGUF"}, "acme/Some-Model"),
    ],
)
def test_the_origin_that_the_file_names_is_found(model: Any, metadata: dict[str, str], expected: str) -> None:
    path = model(metadata)
    assert source(path) == expected
    assert "make sure" not in remark(path)


def test_a_parent_is_not_taken_for_the_model_itself(model: Any) -> None:
    """The hub's own "base model" of an instruct model is the one it was trained from."""
    base = {"general.base_model.0.repo_url": f"{HUB}acme/Some-Model-Base"}
    assert "make sure" in remark(model(base))
    assert source(model(base | {"general.repo_url": f"{HUB}acme/Some-Model"})) == "acme/Some-Model"


def test_of_a_merge_no_parent_is_the_model(model: Any) -> None:
    merge = {"general.base_model.count": 2, "general.base_model.0.repo_url": f"{HUB}acme/Some-Model"}
    assert source(model(merge)) == PLACEHOLDER


def test_the_repository_in_the_hubs_cache_is_a_guess_and_called_one(model: Any, tmp_path: Path) -> None:
    path = model({}, tmp_path / "models--acme--Some-Model-GGUF" / "snapshots" / "1" / "some.gguf")
    assert source(path) == "acme/Some-Model"
    assert remark(path).startswith("guessed")


@pytest.mark.parametrize(
    "url",
    ["", f"{HUB}acme", "https://github.com/acme/some-model", f"{HUB}papers/2505.09388", f"{HUB}a/b\nrm -rf /",
     "a/b; rm -rf /", "--flag/b", "a/$(id)", f"{HUB}datasets/wikitext", "../../etc", "a/b c"],
)  # fmt: skip
def test_what_is_no_repository_is_not_printed(model: Any, url: str) -> None:
    path = model({"general.repo_url": url})
    assert source(path) == PLACEHOLDER
    text = vllm_setup(path, NAME, 1024, 4)
    assert "does not tell its origin" in text
    assert words(parts(text)[0])[2] == PLACEHOLDER


def test_the_blocks_are_a_valid_configuration(model: Any) -> None:
    _, _, blocks = parts(vllm_setup(model({}), NAME, 1024, 4))
    routing = Routing.model_validate(blocks)
    upstream = routing.upstream("vllm")
    assert upstream.model_for(NAME) == NAME
    assert not upstream.has_price
    assert [(rule.when, rule.value, rule.concerns(NAME)) for rule in routing.rules] == [
        ("queue_longer_than", 4, True)
    ]


def test_command_and_container_serve_the_same_under_the_same_name(model: Any) -> None:
    text = vllm_setup(model({"general.source.repo_url": f"{HUB}acme/Some-Model"}), NAME, 1024, 3)
    command, compose, blocks = parts(text)
    service = compose["services"]["vllm"]
    typed = words(command)
    assert typed[2 : 2 + len(service["command"])] == service["command"]
    assert typed[:3] == ["vllm", "serve", "acme/Some-Model"]
    assert typed[typed.index("--served-model-name") + 1] == NAME
    assert typed[typed.index("--max-num-seqs") + 1] == "3"
    (devices,) = service["deploy"]["resources"]["reservations"]["devices"]
    assert (devices["driver"], devices["capabilities"]) == ("nvidia", ["gpu"])
    assert blocks["upstreams"][0]["api_key_env"] in service["environment"]


@pytest.mark.parametrize(("context", "longest"), [(1024, 1536), (4096, 4096), (3000, 4096)])
def test_there_a_prompt_that_fits_here_has_room_for_an_answer(model: Any, context: int, longest: int) -> None:
    """vLLM refuses prompt and max_tokens beyond --max-model-len, and that beyond the training context."""
    command, _, blocks = parts(vllm_setup(model({}), NAME, context, 4))
    typed, (upstream,) = words(command), blocks["upstreams"]
    assert int(typed[typed.index("--max-model-len") + 1]) == upstream["context"] == longest
    assert upstream["max_output_tokens"] <= context // 2


def test_the_memory_is_told_as_an_estimate(model: Any) -> None:
    path = model({})
    n_parameters = sum(
        tensor.shape[0] * tensor.shape[1] if len(tensor.shape) > 1 else tensor.shape[0]
        for tensor in open_model(path).tensors
    )
    text = vllm_setup(path, NAME, 1024, 4)
    assert "an estimate" in text
    told = re.search(r"Weights ([\d.]+) MiB", text)
    assert told is not None
    assert float(told[1]) == pytest.approx(2 * n_parameters / (1 << 20), abs=0.01)


def test_a_model_of_several_files_must_be_merged_first(model: Any) -> None:
    path = model({}, max_tensors_per_file=4)
    assert re.search(r"This model is \d+ files: merge them first", vllm_setup(path, NAME, 1024, 4))
