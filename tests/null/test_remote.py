"""Headers by ranges: only what is needed is fetched, once, and siblings help each other."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sixgig.errors import ModelFileError
from sixgig.modelfile import (
    KnownArrays,
    ModelFile,
    Offer,
    offers,
    open_all,
    open_model,
    read_header,
    read_tensor,
    virtual_file,
)
from sixgig.modelfile.store import Store
from tests.attacks.raw import STRING, Raw, array, pair, text
from tests.null.hub_server import HubServer, serving

BLOCK_BYTES = 256 * 1024


@dataclass(frozen=True)
class BytesFile:
    """A source that gives at most `piece` bytes at a time."""

    content: bytes
    piece: int = 1 << 20
    name: str = "bytes.gguf"

    @property
    def size_bytes(self) -> int:
        return len(self.content)

    def read(self, offset: int, size: int) -> bytes:
        return self.content[offset : offset + min(size, self.piece)]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    with serving(monkeypatch, tmp_path / "cache") as server:
        yield server


def strings(key: str, words: list[str]) -> bytes:
    return array(key, STRING, len(words), b"".join(text(word) for word in words))


def with_tokenizer(file_type: int, words: list[str]) -> bytes:
    raw = Raw()
    raw.pairs["tokens"] = strings("tokenizer.ggml.tokens", words)
    raw.pairs["merges"] = strings("tokenizer.ggml.merges", words)
    raw.pairs["type"] = pair("general.file_type", file_type)
    return raw.header() + bytes(raw.data_bytes)


WORDS = [f"token number {number}" for number in range(80_000)]


def only(found: tuple[Offer, ...]) -> Offer:
    (offer,) = found
    return offer


def test_a_remote_header_says_what_the_local_file_says(
    hub: HubServer, tiny: Callable[..., Path], tmp_path: Path
) -> None:
    path = tiny("qwen35moe", "Q4_K")
    hub.files["model-Q4_K.gguf"] = path.read_bytes()
    remote, local = offers("hf:owner/repo")[0].open(), open_model(path)
    assert remote.tensors == local.tensors and remote.hyperparameters == local.hyperparameters
    assert remote.attention == local.attention and remote.size_bytes == local.size_bytes
    assert remote.metadata.array("tokenizer.ggml.tokens") == local.metadata.array("tokenizer.ggml.tokens")
    assert remote.chat_template == local.chat_template and remote.name == local.name


def test_no_weights_are_fetched(hub: HubServer, tiny: Callable[..., Path]) -> None:
    content = tiny("qwen3moe", "F16").read_bytes()
    hub.files["model-F16.gguf"] = content
    only(offers("hf:owner/repo")).open()
    assert hub.asked == [("model-F16.gguf", 0, BLOCK_BYTES)] and len(content) > 4 * BLOCK_BYTES


def test_a_sibling_does_not_fetch_the_same_tokenizer(hub: HubServer) -> None:
    hub.files = {"a-Q4_0.gguf": with_tokenizer(2, WORDS), "b-Q8_0.gguf": with_tokenizer(7, WORDS)}
    opened = open_all(offers("hf:owner/repo"))
    assert [one.error for one in opened] == [None, None]
    models = [one.model for one in opened if one.model]
    assert models[0].tensors == models[1].tensors and models[1].n_vocab == len(WORDS)
    first, second = (hub.bytes_asked(name) for name in hub.files)
    assert first > 15 * BLOCK_BYTES and second <= 3 * BLOCK_BYTES
    assert models[1].metadata.array("tokenizer.ggml.merges") == WORDS


def test_a_sibling_with_another_tokenizer_is_walked(hub: HubServer) -> None:
    others = [word + "!" for word in WORDS]
    hub.files = {"a-Q4_0.gguf": with_tokenizer(2, WORDS), "b-Q8_0.gguf": with_tokenizer(7, others)}
    second = open_all(offers("hf:owner/repo"))[1].model
    assert second is not None and second.metadata.array("tokenizer.ggml.tokens") == others


def test_a_second_plan_fetches_nothing_and_works_offline(hub: HubServer) -> None:
    hub.files = {"a-Q4_0.gguf": with_tokenizer(2, WORDS), "b-Q8_0.gguf": with_tokenizer(7, WORDS)}
    before = [one.model for one in open_all(offers("hf:owner/repo"))]
    hub.asked.clear()
    again = [one.model for one in reversed(open_all(offers("hf:owner/repo")[::-1]))]
    assert not hub.asked and hub.n_listings == 2
    hub.reachable = False
    offline = [one.model for one in open_all(offers("hf:owner/repo"))]
    for models in (again, offline):
        assert [model and model.tensors for model in models] == [model and model.tensors for model in before]
    assert only(offers("hf:owner/repo:Q8_0")).open().n_vocab == len(WORDS)


def test_a_new_upload_is_not_mistaken_for_the_old(hub: HubServer) -> None:
    hub.files["a.gguf"] = with_tokenizer(2, ["old", "one"])
    only(offers("hf:owner/repo")).open()
    hub.files["a.gguf"] = with_tokenizer(2, ["new", "two"])
    model = only(offers("hf:owner/repo")).open()
    assert model.metadata.array("tokenizer.ggml.tokens") == ["new", "two"]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda raw: raw[:-1],
    "empty": lambda raw: b"",
    "a byte changed": lambda raw: raw[:40] + b"?" + raw[41:],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_cache_is_fetched_again(damage: str, hub: HubServer, tmp_path: Path) -> None:
    hub.files["a.gguf"] = with_tokenizer(2, ["one"])
    only(offers("hf:owner/repo")).open()
    hub.asked.clear()
    for path in (tmp_path / "cache/headers").iterdir():
        path.write_bytes(DAMAGE[damage](path.read_bytes()))
    assert only(offers("hf:owner/repo")).open().n_vocab == 1 and len(hub.asked) == 1


def test_an_unwritable_cache_is_done_without(hub: HubServer, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    hub.files["a.gguf"] = with_tokenizer(2, ["one"])
    assert only(offers("hf:owner/repo")).open().n_vocab == 1


def test_all_parts_of_a_split_set(hub: HubServer, tiny: Callable[..., Path]) -> None:
    path = tiny("mixtral", max_tensors_per_file=20)
    hub.files = {f"Q4_0/{part.name}": part.read_bytes() for part in sorted(path.parent.glob("*.gguf"))}
    offer = only(offers("hf:owner/repo:mixtral"))
    model = offer.open()
    assert len(offer.files) == 3 and offer.size_bytes == sum(map(len, hub.files.values()))
    assert model.tensors == open_model(path).tensors and not model.is_local


def test_a_listing_without_sizes_asks_for_each(hub: HubServer) -> None:
    hub.files["a-Q4_0.gguf"], hub.with_sizes = with_tokenizer(2, ["one"]), False
    offer = only(offers("hf:owner/repo"))
    assert offer.size_bytes is None
    assert offer.open().size_bytes == len(hub.files["a-Q4_0.gguf"])


@pytest.mark.parametrize(
    "use",
    [
        lambda model: model.parts,
        lambda model: model.fingerprints,
        lambda model: read_tensor(model, model.tensors[0]),
        lambda model: virtual_file(model, page=True),
    ],
)
def test_a_remote_model_cannot_be_run_by_mistake(use: Callable[[ModelFile], object], hub: HubServer) -> None:
    hub.files["a.gguf"] = with_tokenizer(2, ["one"])
    model = only(offers("hf:owner/repo")).open()
    assert not model.is_local
    with pytest.raises(ModelFileError, match=r"a\.gguf is not on this machine"):
        use(model)


@given(st.integers(1, 200))
@settings(max_examples=20, deadline=None)
def test_short_reads_change_nothing(piece: int) -> None:
    content = Raw().header() + bytes(Raw().data_bytes)
    whole, pieces = read_header(BytesFile(content)), read_header(BytesFile(content, piece))
    assert whole.tensors == pieces.tensors and whole.metadata.entries == pieces.metadata.entries
    assert pieces.metadata.array("tokenizer.ggml.tokens") == ["a", "b", "", "dd"]


tokenizers = st.lists(st.text(max_size=3), min_size=2, max_size=4)


@given(tokenizers, tokenizers, st.integers(1, 64))
@settings(max_examples=60, deadline=None)
def test_what_is_known_never_changes_what_is_read(first: list[str], second: list[str], piece: int) -> None:
    known, content = KnownArrays(), with_tokenizer(7, second)
    read_header(BytesFile(with_tokenizer(2, first)), known)
    helped, alone = read_header(BytesFile(content, piece), known), read_header(BytesFile(content))
    assert helped.metadata.entries == alone.metadata.entries and helped.tensors == alone.tensors


def test_known_arrays_are_kept_as_plain_values() -> None:
    known, other = KnownArrays(), KnownArrays()
    read_header(BytesFile(with_tokenizer(2, ["one", "two"])), known)
    other.add(known.rows())
    assert other.rows() == known.rows() and len(known.rows()) == 2


def test_the_store_drops_what_was_longest_unused(tmp_path: Path) -> None:
    store = Store(tmp_path, limit_bytes=410)
    for key in "abc":
        store.save(key, key.encode() * 100)
    for path in tmp_path.iterdir():
        os.utime(path, (1, 1))
    store.save("c", b"c" * 100)
    assert store.load("a") == b"a" * 100
    store.save("d", b"d" * 100)
    assert [key for key in "abcd" if store.load(key)] == ["a", "c", "d"]
    store.save("e", b"e" * 500)
    assert store.load("e") is None and store.load("d") is not None
    assert all(len(path.name) == 64 for path in tmp_path.iterdir())
