"""Split sets with a part missing, foreign, doubled or misnumbered."""

import shutil
from pathlib import Path
from struct import pack

import pytest

from sixgig.errors import ModelFileError
from sixgig.modelfile import open_model
from tests.attacks.raw import Raw, pair, text
from tests.tiny.models import build


@pytest.fixture(scope="module")
def whole_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("mixtral", tmp_path_factory.mktemp("set") / "model.gguf", max_tensors_per_file=20)


@pytest.fixture
def parts(whole_set: Path, tmp_path: Path) -> list[Path]:
    sources = sorted(whole_set.parent.glob("*.gguf"))
    return [Path(shutil.copy(part, tmp_path)) for part in sources]


def test_any_part_opens_the_set(parts: list[Path]) -> None:
    assert len(parts) == 3
    assert len({open_model(part).parts for part in parts}) == 1


def test_missing_part(parts: list[Path]) -> None:
    parts[1].unlink()
    with pytest.raises(ModelFileError, match=r"missing.*00002-of-00003"):
        open_model(parts[0])


def test_part_of_another_set_by_number(parts: list[Path]) -> None:
    shutil.copy(parts[1], parts[2])
    with pytest.raises(ModelFileError, match="is not part 3"):
        open_model(parts[0])


def test_part_of_another_model(parts: list[Path], tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    build("llama", tmp_path / "other/model.gguf", n_layers=5, max_tensors_per_file=20)
    shutil.copy(tmp_path / "other" / parts[2].name, parts[2])
    with pytest.raises(ModelFileError, match="do not belong together"):
        open_model(parts[0])


def test_part_that_was_never_split(parts: list[Path], tmp_path: Path) -> None:
    shutil.copy(build("mixtral", tmp_path / "single.gguf"), parts[1])
    with pytest.raises(ModelFileError, match="is not part 2"):
        open_model(parts[0])


def test_same_tensors_twice(parts: list[Path]) -> None:
    """The second part again in the third one's place, its number corrected and the count made to agree."""
    raw = parts[1].read_bytes()
    number = text("split.no") + pack("<I", 2)
    at = raw.index(number) + len(number)
    parts[2].write_bytes(raw[:at] + pack("<H", 2) + raw[at + 2 :])
    announced = text("split.tensors.count") + pack("<I", 5)
    first = parts[0].read_bytes()
    at = first.index(announced) + len(announced)
    parts[0].write_bytes(first[:at] + pack("<i", 60) + first[at + 4 :])
    with pytest.raises(ModelFileError, match="in two parts"):
        open_model(parts[0])


def test_renamed_part(parts: list[Path]) -> None:
    renamed = parts[0].rename(parts[0].with_name("model.gguf"))
    with pytest.raises(ModelFileError, match="not named so"):
        open_model(renamed)


def test_truncated_part(parts: list[Path]) -> None:
    parts[2].write_bytes(parts[2].read_bytes()[:-100])
    with pytest.raises(ModelFileError, match=r"00003-of-00003.*past the end"):
        open_model(parts[0])


@pytest.mark.parametrize("count", [65535, 2**31, 0xFFFFFFFF])
def test_absurd_number_of_parts(count: int, tmp_path: Path) -> None:
    raw = Raw()
    raw.pairs["split"] = pair("split.count", count)
    with pytest.raises(ModelFileError, match="out of range"):
        open_model(raw.write(tmp_path / "a-00001-of-00002.gguf"))


def test_directory_as_a_part(parts: list[Path]) -> None:
    parts[1].unlink()
    parts[1].mkdir()
    with pytest.raises(ModelFileError, match="is a directory"):
        open_model(parts[0])
