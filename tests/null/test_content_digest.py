"""A digest tells a model from another and from its own later state."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sixgig.checkpoint import checkpoint_digest
from sixgig.errors import ModelFileError
from sixgig.modelfile import open_model
from sixgig.modelfile.content import (
    BLOCK_BYTES,
    WHOLE_BYTES,
    ContentFile,
    files_digest,
    header_digest,
    model_digest,
)
from tests.null.test_checkpoint import write_folder

LARGE = 8 * WHOLE_BYTES
Tiny = Callable[..., Path]


def digest(path: Path) -> str:
    return files_digest([ContentFile(path, header_bytes=1000)])


def rewritten(path: Path, at: int, content: bytes) -> None:
    """In place, size and times as before."""
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(at)
        file.write(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("size", [1, 5000, WHOLE_BYTES])
def test_of_a_small_file_every_byte_counts(tmp_path: Path, size: int) -> None:
    path = tmp_path / "small"
    path.write_bytes(bytes(size))
    before = digest(path)
    for at in (0, size // 2, size - 1):
        rewritten(path, at, b"\1")
        assert digest(path) != before
        rewritten(path, at, b"\0")
        assert digest(path) == before


def test_other_weights_of_the_same_size_and_time_are_noticed(tmp_path: Path) -> None:
    path, other = tmp_path / "a", tmp_path / "b"
    path.write_bytes(bytes(LARGE))
    other.write_bytes(bytes(1000) + b"\1" * (LARGE - 1000))
    shutil.copystat(path, other)
    before = digest(path)
    assert digest(other) != before
    shutil.copy2(other, path)
    assert digest(path) == digest(other)


@pytest.mark.parametrize("at", [0, 999, 1000, LARGE - 1])
def test_header_first_and_last_byte_always_count(tmp_path: Path, at: int) -> None:
    path = tmp_path / "large"
    path.write_bytes(bytes(LARGE))
    before = digest(path)
    rewritten(path, at, b"\1")
    assert digest(path) != before


def test_between_the_blocks_only_time_and_size_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sixgig.modelfile.content.BLOCKS", 8)
    path = tmp_path / "large"
    path.write_bytes(bytes(LARGE))
    before = digest(path)
    rewritten(path, 1000 + 2 * BLOCK_BYTES, b"\1")
    assert digest(path) == before, "as the docstring says"
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    assert digest(path) != before
    with path.open("ab") as file:
        file.write(b"\0")
    assert digest(path) != before


def test_a_moved_model_is_the_same_and_a_touched_one_is_not(tmp_path: Path, tiny: Tiny) -> None:
    path = shutil.copy2(tiny("llama"), tmp_path / "m.gguf")
    before, header = model_digest(open_model(path)), header_digest(open_model(path))
    moved = path.rename(tmp_path / "n.gguf")
    assert model_digest(open_model(moved)) == before
    os.utime(moved)
    assert model_digest(open_model(moved)) != before
    assert header_digest(open_model(moved)) == header


def test_a_damaged_folder_and_the_repaired_one_differ(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m")
    known = {checkpoint_digest(folder)}
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"):
        content = (folder / name).read_bytes()
        rewritten(folder / name, len(content) // 2, b"\0")
        known.add(checkpoint_digest(folder))
        rewritten(folder / name, len(content) // 2, content[len(content) // 2 :][:1])
    known.add(checkpoint_digest(folder))
    assert len(known) == 5
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    known.add(checkpoint_digest(folder))
    known.add(checkpoint_digest(folder.rename(tmp_path / "named otherwise")))
    assert len(known) == 7


def test_what_the_conversion_does_not_read_does_not_count(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m")
    before = checkpoint_digest(folder)
    (folder / "README.md").write_text("about")
    (folder / "original").mkdir()
    assert checkpoint_digest(folder) == before


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, b"\xff" * 100])
def test_weights_that_are_no_safetensors_have_a_digest_too(tmp_path: Path, content: bytes) -> None:
    folder = write_folder(tmp_path / "m")
    (folder / "model.safetensors").write_bytes(content)
    assert len(checkpoint_digest(folder)) == 64


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="does not exist"):
        digest(tmp_path / "none")
