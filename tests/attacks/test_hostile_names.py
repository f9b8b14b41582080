"""What a file calls itself and its architecture: one short line wherever it is said."""

from pathlib import Path

import pytest

from sixgig.errors import ModelFileError
from sixgig.modelfile import open_model
from tests.attacks.raw import Raw, pair


def named(path: Path, **names: str) -> Path:
    raw = Raw()
    for key, value in names.items():
        raw.pairs[f"general.{key}"] = pair(f"general.{key}", value)
    return raw.write(path / "named.gguf")


@pytest.mark.parametrize("name", ["N" * 3_000_000, "line\nafter\r\nline\x00", "\n" * 1000 + "late"])
def test_a_models_name_is_one_short_line(tmp_path: Path, name: str) -> None:
    said = open_model(named(tmp_path, name=name)).name
    assert 0 < len(said) < 250 and "\n" not in said and "\r" not in said


def test_a_name_of_spaces_is_none(tmp_path: Path) -> None:
    assert open_model(named(tmp_path, name=" \n\t ")).name == "named"


def test_an_architecture_that_is_no_name_is_refused_in_a_short_line(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="1000000 characters, 64 at most") as refused:
        open_model(named(tmp_path, architecture="x" * 1_000_000))
    assert len(str(refused.value)) < 250
