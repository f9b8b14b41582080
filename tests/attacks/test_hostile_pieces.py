"""Files that are no GGUF model by themselves: pieces, joined parts, downloads, archives; and capitals."""

import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from sixgig.errors import ModelFileError
from sixgig.modelfile import offers, open_all, open_model, resolve
from sixgig.modelfile.hub import choose
from sixgig.modelfile.pieces import piece_of
from tests.tiny.models import build

Tiny = Callable[..., Path]
SCHEMES = {
    "numbers": "{name}.part{n:02d}",
    "of": "{name}.part{one}of{count}",
    "letters": "{name}.{letters}",
    "no dot": "{name}{letters}",
    "dash": "{name}-split-{letter}",
    "digits": "{name}.{one:03d}",
    "inside": "{stem}.part{one}.gguf",
}


def cut(model: Path, folder: Path, scheme: str, count: int = 12, name: str = "M.gguf") -> list[Path]:
    """`model` in `count` pieces as split -b cuts, named as people name them."""
    raw = model.read_bytes()
    size = -(-len(raw) // count)
    paths = []
    for n in range(count):
        words = {"n": n, "one": n + 1, "count": count, "letter": chr(97 + n), "letters": f"a{chr(97 + n)}"}
        path = folder / scheme.format(name=name, stem=name.removesuffix(".gguf"), **words)
        path.write_bytes(raw[n * size : (n + 1) * size])
        paths.append(path)
    return paths


def refusal(path: Path) -> ModelFileError:
    with pytest.raises(ModelFileError) as caught:
        open_model(path)
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
@pytest.mark.parametrize("number", [0, 1, 11])
def test_a_piece_is_told_with_the_command_that_joins(
    tiny: Tiny, tmp_path: Path, scheme: str, number: int
) -> None:
    model = tiny("mixtral")
    folder = tmp_path / "a folder"
    folder.mkdir()
    error = refusal(cut(model, folder, scheme)[number])
    assert "is a piece of M.gguf, cut up as by split -b" in error.what
    assert error.numbers.startswith("12 ") and "pieces here" in error.numbers
    command = error.cure.removeprefix("join them: ")
    assert shlex.split(command)[0] == "cat"
    subprocess.run(command, shell=True, check=True)
    assert (folder / "M.gguf").read_bytes() == model.read_bytes()
    assert open_model(folder / "M.gguf").n_experts


@pytest.mark.parametrize(
    ("left", "numbers"), [(2, "2 of 12 pieces here, not all"), (1, "1 of 12 pieces here")]
)
def test_pieces_that_lack_some_are_told_so(tiny: Tiny, tmp_path: Path, left: int, numbers: str) -> None:
    paths = cut(tiny("mixtral"), tmp_path, SCHEMES["of"])
    for path in paths[left:]:
        path.unlink()
    error = refusal(paths[0])
    assert numbers in error.numbers and error.cure.startswith("fetch all of them into one folder, then join")


def test_the_whole_file_that_was_never_joined_is_told(tiny: Tiny, tmp_path: Path) -> None:
    cut(tiny("mixtral"), tmp_path, SCHEMES["numbers"])
    for open_it in (open_model, lambda path: offers(str(path))):
        with pytest.raises(ModelFileError, match=r"but pieces of it do; 12 pieces here; join them: cat "):
            open_it(tmp_path / "M.gguf")


def test_a_file_that_was_joined_from_too_few_pieces_is_told(tiny: Tiny, tmp_path: Path) -> None:
    paths = cut(tiny("mixtral"), tmp_path, SCHEMES["numbers"])
    (tmp_path / "M.gguf").write_bytes(b"".join(path.read_bytes() for path in paths[:-1]))
    error = refusal(tmp_path / "M.gguf")
    assert "past the end" in error.what and "if pieces were left out, join them: cat" in error.cure


def test_pieces_in_a_folder_and_in_a_repository_do_not_vanish(tiny: Tiny, tmp_path: Path) -> None:
    names = [path.name for path in cut(tiny("mixtral"), tmp_path, SCHEMES["of"], 3)]
    (one,) = open_all(offers(str(tmp_path)))
    assert one.offer.name == "M" and "is a piece of M.gguf" in str(one.error)
    with pytest.raises(ModelFileError, match=r"holds M\.gguf in 3 pieces.*cat M\.gguf\.part1of3"):
        choose("owner/repo", names, None)
    shutil.copy(tiny("mixtral"), tmp_path / "M.gguf")
    (one,) = open_all(offers(str(tmp_path)))
    assert one.model is not None


@pytest.mark.parametrize("name", ["joined.gguf", "model-00001-of-00003.gguf"])
@pytest.mark.parametrize("first", [0, 1])
def test_parts_of_gguf_split_that_were_joined_by_cat_are_told(
    tiny: Tiny, tmp_path: Path, name: str, first: int
) -> None:
    parts = sorted(tiny("mixtral", max_tensors_per_file=20).parent.glob("*.gguf"))
    (tmp_path / name).write_bytes(b"".join(part.read_bytes() for part in (*parts[first:], *parts[:first])))
    error = refusal(tmp_path / name)
    assert "parts of a split model written one after the other" in error.what
    assert "another header stands, at byte" in error.numbers and "parts do not join with cat" in error.cure


def test_a_later_part_alone_is_told_which_are_missing(tiny: Tiny, tmp_path: Path) -> None:
    parts = sorted(tiny("mixtral", max_tensors_per_file=20).parent.glob("*.gguf"))
    error = refusal(Path(shutil.copy(parts[1], tmp_path)))
    assert "a part of the model is missing" in error.what and "00003-of-00003" in error.what
    assert error.numbers == "2 of 3 parts are not there" and "into one folder" in error.cure


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"\x1f\x8b\x08", "gunzip"),
        (b"\x28\xb5\x2f\xfd", "zstd -d"),
        (b"PK\x03\x04", "PyTorch"),
        (b"tjgg\x03", "before GGUF"),
        (bytes(64), "download that is not finished"),
        (b'\x40\0\0\0\0\0\0\0{"__metadata__":{}}' + b" " * 40, "safetensors"),
    ],
)
def test_another_kind_of_file_is_told_with_what_to_do(tmp_path: Path, start: bytes, said: str) -> None:
    path = tmp_path / "M.gguf"
    path.write_bytes(start)
    error = refusal(path)
    assert error.what == "M.gguf is not a GGUF file" and said in f"{error.numbers}; {error.cure}"


def test_a_download_that_is_not_finished_is_told(tiny: Tiny, tmp_path: Path) -> None:
    path = tmp_path / "M.gguf.part"
    path.write_bytes(tiny("mixtral").read_bytes()[:-100])
    assert "is a download that is not finished" in refusal(path).what


@pytest.mark.parametrize(
    "name", ["M.gguf", "M-Q4_K_M.gguf", "M.gguf.gz", "README.md", "M.gguf.sha256", "M.txt.aa"]
)
def test_other_names_are_no_pieces(name: str) -> None:
    assert piece_of(name) is None


def test_an_ending_in_capitals_is_an_ending(tmp_path: Path) -> None:
    """Parts too, whole folders, and a name for a model that has none of its own."""
    build("mixtral", tmp_path / "small.gguf", max_tensors_per_file=20)
    for part in tmp_path.glob("*.gguf"):
        part.rename(part.with_name(part.name.replace("small", "Big").replace(".gguf", ".GGUF")))
    first = tmp_path / "Big-00001-of-00003.GGUF"
    assert len(open_model(resolve(str(first))).parts) == 3
    for named in (tmp_path, first, tmp_path / "Big-00002-of-00003.GGUF"):
        (offer,) = offers(str(named))
        assert offer.name == "Big" and len(offer.files) == 3 and offer.open().n_experts
