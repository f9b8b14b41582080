"""What models are called: by their files, by aliases, with Ollama's tag, in every API alike."""

import json
import re
import shutil
import unicodedata

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sixgig.errors import UsageError
from sixgig.gateway.names import Names
from sixgig.jobs.served_models import _fit, model_specs
from sixgig.settings import ModelSettings, Settings, load_settings
from tests.attacks.raw import Raw
from tests.serve.gateways import CHATS, far_settings, house
from tests.serve.loops import in_loop
from tests.serve.visits import Visit

NAMES = {"aliases": {"claude-*": "here", "gpt?": "here", "sonnet[1m]": "here", "mine": "here"}}
ASKED = ["here", "here:latest", "claude-opus-4-5", "claude-x:latest", "gpt4", "sonnet[1m]", "mine:latest"]


@pytest.mark.parametrize("api", list(CHATS))
@in_loop
async def test_every_api_knows_a_model_by_all_its_names_and_by_no_other(tmp_path, api):
    async with house(tmp_path, NAMES) as home:
        for asked in ASKED:
            assert (await home.answered(api, model=asked)).status == 200, asked
        assert await home.written("model, outcome", len(ASKED)) == [("here", "ok")] * len(ASKED)
        for asked in ("Here:newest", "here:latest:latest", "gpt", "sonnet1", "her", "HERE"):
            assert (await home.answered(api, model=asked)).status == 404, asked


@in_loop
async def test_names_that_are_no_patterns_are_listed_and_all_are_found(tmp_path):
    async with house(tmp_path, NAMES) as home:
        listed = await get(home, "/v1/models")
        assert [model["id"] for model in listed["data"]] == ["here", "sonnet[1m]", "mine"]
        tags = (await get(home, "/api/tags"))["models"]
        assert [model["name"] for model in tags] == ["here", "sonnet[1m]", "mine"]
        for asked in ASKED:
            assert (await get(home, f"/v1/models/{asked}"))["id"] == asked
            assert (await Visit(home.app, "/api/show", {"model": asked}).ended()).status == 200


async def get(home, path):
    visit = Visit(home.app, path, b"", method="GET")
    return (await visit.ended()).json


@in_loop
async def test_an_alias_of_a_private_model_never_leaves(tmp_path):
    settings = far_settings({"when": "local_failed_before_first_token"}) | NAMES
    settings |= {"models": {"here": {"path": "/nowhere.gguf", "private": True}}}
    async with house(tmp_path, settings) as home:
        home.here.answers = [httpx.ReadError("gone")]
        await home.chat(model="claude-x").ended()
        assert home.far.asked == []


def test_what_is_here_goes_before_aliases_and_these_before_what_is_elsewhere():
    names = Names(["a", "b:latest"], {"*": "a", "x": "b:latest"}, ["far", "far2:latest"])
    assert [names.resolve(n) for n in ("a", "b", "b:latest", "far", "far2:latest", "x", "?")] == [
        "a", "a", "b:latest", "far", "far2:latest", "a", "a",
    ]  # fmt: skip
    assert Names(["a"], {}, []).resolve("else:latest") == "else"


@pytest.mark.parametrize(
    ("aliases", "why"),
    [
        ({"a": "a"}, "'a' is an alias itself"),
        ({"a": "b", "b": "chat"}, "'b' is an alias itself"),
        ({"a": "b", "b": "a"}, "'b' is an alias itself"),
        ({"Chat": "chat"}, "a model is named so"),
        ({"chat:latest": "chat"}, "a model is named so"),
        ({"x": "chat", "X:latest": "chat"}, "more than one is x"),
        ({" x": "chat"}, "must be a name as clients ask for it"),
        ({"": "chat"}, "must be a name as clients ask for it"),
        ({"a\nb": "chat"}, "must be a name as clients ask for it"),
    ],
)
def test_aliases_that_lead_nowhere_or_in_a_circle_are_refused(tmp_path, aliases, why):
    (file := tmp_path / "serve.toml").write_text(
        "[models.chat]\npath = 'x.gguf'\n[aliases]\n"
        + "\n".join(f"{json.dumps(alias)} = {json.dumps(model)}" for alias, model in aliases.items())
    )
    with pytest.raises(UsageError, match=re.escape(why)):
        load_settings(file)


def test_an_alias_may_be_for_a_model_of_the_command_line_but_for_one_that_is_served(tmp_path):
    (path := tmp_path / "chat.gguf").write_bytes(SOUND)
    assert len(model_specs([str(path)], Settings(aliases={"claude-*": "chat"}))) == 1
    with pytest.raises(UsageError, match=r"'claude-\*' is for 'chap', which is not served; served are: chat"):
        model_specs([str(path)], Settings(aliases={"claude-*": "chap"}))
    with pytest.raises(UsageError, match="'Chat' is a model's name as well"):
        other = shutil.copy(path, tmp_path / "other.gguf")
        model_specs([str(path), str(other)], Settings(aliases={"Chat": "other"}))


SOUND = Raw().header() + bytes(Raw().data_bytes)
FILES = [
    "模型",
    "模型二",
    "قلب",
    "हिन्दी",
    "हन्द",
    "café",
    "🚀",
    "🎉",
    "a b",
    "a-b",
    "a\nb",
    "()",
    "[]",
    "x" * 200,
]


def test_each_file_gets_a_name_of_its_own_the_same_each_time(tmp_path):
    for name in FILES:
        (tmp_path / f"{name}.gguf").write_bytes(SOUND)
    first, again = ([spec.name for spec in model_specs([str(tmp_path)], Settings())] for _ in range(2))
    assert first == again and len(set(map(str.casefold, first))) == len(FILES)
    assert {"模型", "模型二", "قلب", "हिन्दी", "café", "a-b"} <= set(first)
    for name in first:
        Settings(models={name: ModelSettings(path="x.gguf")})  # such a name may stand in a configuration, too


@given(st.text(min_size=1))
def test_any_files_name_becomes_one_that_can_be_typed_and_configured(name):
    fit = _fit(name)
    assert fit.isprintable() and len(fit) <= 128 and not set(fit) & set(" /\\\"'<>&=,;")
    assert unicodedata.normalize("NFC", fit) == fit and _fit(fit) == fit
