"""Random damage to a valid header: the reader opens it or raises ModelFileError, and nothing else ever."""

import contextlib
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sixgig.errors import ModelFileError
from sixgig.modelfile import ModelFile, open_model, virtual_file
from tests.attacks.raw import Raw

VALID = Raw().header() + bytes(Raw().data_bytes)
HEADER_BYTES = len(Raw().header())
FUZZED = settings(
    max_examples=400, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "fuzzed.gguf"


def use(model: ModelFile) -> None:
    """Asks everything of a model that a damaged file might still answer wrongly."""
    for ask in (lambda: model.chat_template, lambda: model.bos_id, lambda: model.name):
        with contextlib.suppress(ModelFileError):
            ask()
    for key in model.metadata:
        if model.metadata.count(key):
            model.metadata.array(key)
    end = 0
    for segment in virtual_file(model, page=True).segments:
        assert segment.start == end
        end += segment.size
    assert end == model.size_bytes


def opens_or_refuses(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with contextlib.suppress(ModelFileError):
        use(open_model(path))


def replaced(changes: Iterable[tuple[int, int]]) -> bytes:
    content = bytearray(VALID)
    for at, value in changes:
        content[at] = value
    return bytes(content)


places, values = st.integers(0, HEADER_BYTES - 1), st.integers(0, 255)


@FUZZED
@given(st.lists(st.tuples(places, values), min_size=1, max_size=8))
def test_bytes_replaced(path: Path, changes: list[tuple[int, int]]) -> None:
    opens_or_refuses(path, replaced(changes))


@FUZZED
@given(places, st.sampled_from([0xFF, 0x7F, 0x80, 0x00]), st.integers(1, 8))
def test_a_number_made_extreme(path: Path, at: int, value: int, size: int) -> None:
    opens_or_refuses(path, replaced((min(at + step, HEADER_BYTES - 1), value) for step in range(size)))


@FUZZED
@given(st.integers(0, len(VALID)))
def test_cut_anywhere(path: Path, size: int) -> None:
    opens_or_refuses(path, VALID[:size])


@FUZZED
@given(places, st.binary(max_size=40), st.integers(0, 40))
def test_bytes_inserted_or_removed(path: Path, at: int, inserted: bytes, removed: int) -> None:
    opens_or_refuses(path, VALID[:at] + inserted + VALID[at + removed :])


@FUZZED
@given(st.binary(max_size=200))
def test_noise_after_the_magic(path: Path, noise: bytes) -> None:
    opens_or_refuses(path, b"GGUF\3\0\0\0" + noise)
