"""docs/serve.example.toml is what it says: a configuration in which only the key's digest is missing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sixgig.errors import UsageError
from sixgig.server.keys import Keyring
from sixgig.settings import (
    EnergySettings,
    KeySettings,
    LedgerSettings,
    ModelSettings,
    ServerSettings,
    Settings,
    check_exposure,
    load_settings,
)
from tests.serve.fixed_keys import fixed_key

EXAMPLE = Path(__file__).parents[2] / "docs" / "serve.example.toml"
PLACEHOLDER = "PUT-HERE-THE-64-HEX-DIGITS-THAT-NEW-KEY-PRINTS"
SECRET, DIGEST = fixed_key("one")


@pytest.fixture
def text() -> str:
    return EXAMPLE.read_text().replace(PLACEHOLDER, DIGEST)


def loaded(folder: Path, text: str) -> Settings:
    path = folder / "serve.toml"
    path.write_text(text)
    return load_settings(path)


def test_only_the_digest_has_to_be_put_in() -> None:
    with pytest.raises(UsageError) as caught:
        load_settings(EXAMPLE)
    assert "keys[0].sha256" in str(caught.value)
    assert " | " not in str(caught.value), "more than one fault"


def test_with_a_digest_it_may_be_reached_from_outside(tmp_path: Path, text: str) -> None:
    settings = loaded(tmp_path, text)
    check_exposure(settings)
    key = Keyring(settings.keys).find(SECRET)
    assert key is not None and key.name == "alice"
    assert settings.server.host == "0.0.0.0"


def test_nothing_in_it_leaves_the_machine(tmp_path: Path, text: str) -> None:
    settings = loaded(tmp_path, text)
    assert not settings.upstreams
    assert not settings.rules


def test_what_is_commented_out_is_valid_too(tmp_path: Path, text: str) -> None:
    """A line that begins with "# " and looks like TOML is one that a reader may put in force."""
    shown = re.sub(r"^# (\[|[a-z_]+ = )", r"\1", text, flags=re.MULTILINE)
    settings = loaded(tmp_path, shown)
    assert [upstream.name for upstream in settings.upstreams] == ["cloud"]
    assert [rule.when for rule in settings.rules] == ["queue_longer_than"]
    assert settings.spending.capped


def test_defaults_that_it_shows_are_the_defaults(tmp_path: Path, text: str) -> None:
    shown = re.sub(r"^# (max_body|private_by_default|log_prompts|currency)", r"\1", text, flags=re.MULTILINE)
    settings, plain = loaded(tmp_path, shown), Settings()
    for field in (
        "port",
        "parallel",
        "queue",
        "keep_alive_s",
        "max_body_bytes",
        "private_by_default",
        "log_prompts",
    ):
        assert getattr(settings.server, field) == getattr(plain.server, field), field
    assert settings.energy == plain.energy


@pytest.mark.parametrize(
    "section",
    [ServerSettings, KeySettings, ModelSettings, EnergySettings, LedgerSettings],
    ids=lambda s: s.__name__,
)
def test_every_field_is_shown(text: str, section: type[Settings]) -> None:
    names = [field.alias or name for name, field in section.model_fields.items()]
    missing = [name for name in names if not re.search(rf"^(# )?{name} = ", text, re.MULTILINE)]
    assert not missing
