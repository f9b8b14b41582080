"""How one model of a repository is named: real repositories' shapes, and every listing that can be made."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sixgig.errors import ModelFileError, UsageError
from sixgig.modelfile import offers, resolve
from sixgig.modelfile.hub import choose
from sixgig.modelfile.listing import reference
from sixgig.modelfile.names import model_sets, quantisation, spelling
from tests.attacks.raw import Raw
from tests.null.hub_server import HubServer, serving

HEADS = ["M-Q4_K_M.gguf", "M-Q4_K_M-MTP.gguf"]
PARTS = [f"BF16/M-BF16-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
FOLDERS = ["Q8_0/model.gguf", "BF16/model-00001-of-00002.gguf", "BF16/model-00002-of-00002.gguf"]
UNLIKE = ["UD-Q4_K_XL/M-UD-Q4_K_XL.gguf", "M-Q4_K_M.gguf", "M-UD-Q4_K_M.gguf", "mmproj-F16.gguf", "x.imatrix"]
SEVERAL = ["a/chat-Q4_K_M.gguf", "b/chat-Q4_K_M.gguf", "b/base-Q4_K_M.gguf"]
SIDECARS = ["M-Q8_0.gguf", "mtp-M-Q8_0.gguf", "eagle3-M-Q8_0.gguf", "imatrix-M-BF16.gguf"]
CALIBRATED = ["M-imatrix-Q4_K_M.gguf", "M-imatrix.gguf", "M.imatrix.gguf", "imatrix.gguf"]
CAPITALS = ["M-Q4_0.GGUF", "BIG-Q8_0-00001-of-00002.GGUF", "BIG-Q8_0-00002-of-00002.GGUF"]
ODD = [
    "My Model (v2)+x Q4_K_M.gguf",
    "modèle:2-Q4_K_M.gguf",
    "M.gguf",
    "M.gguf.gguf",
    "M-00001-of-00001.gguf",
]


def chosen(files: list[str], word: str | None) -> tuple[str, ...]:
    return choose("owner/repo", files, word)


@pytest.mark.parametrize(
    ("files", "word", "file"),
    [
        (HEADS, "Q4_K_M", HEADS[0]),
        (HEADS, None, HEADS[0]),
        (HEADS, "q4_k_m", HEADS[0]),
        (HEADS, "Q4_K_M-MTP", HEADS[1]),
        (HEADS, "mtp", HEADS[1]),
        (HEADS, "M-Q4_K_M", HEADS[0]),
        (HEADS, "M-Q4_K_M.gguf", HEADS[0]),
        (HEADS, "m-q4_k_m-mtp.GGUF", HEADS[1]),
        (["M-Q4_K_M.gguf", "M-MTP-Q4_K_M.gguf"], "Q4_K_M", "M-Q4_K_M.gguf"),
        (["M-MTP-UD-Q4_K_M.gguf", "M-MTP-Q4_K_M.gguf"], "Q4_K_M", "M-MTP-Q4_K_M.gguf"),
        (PARTS, "BF16", PARTS[0]),
        (PARTS, PARTS[2], PARTS[0]),
        (PARTS, "M-BF16-00002-of-00003.gguf", PARTS[0]),
        (PARTS, "BF16/M-BF16", PARTS[0]),
        (FOLDERS, "bf16", FOLDERS[1]),
        (FOLDERS, "Q8_0/model.gguf", FOLDERS[0]),
        (UNLIKE, "Q4_K_M", UNLIKE[1]),
        (UNLIKE, "UD-Q4_K_M", UNLIKE[2]),
        (UNLIKE, "Q4_K_XL", UNLIKE[0]),
        (UNLIKE, "mmproj-F16.gguf", UNLIKE[3]),
        (SEVERAL, "base", SEVERAL[2]),
        (SEVERAL, "A/chat-Q4_K_M", SEVERAL[0]),
        (SIDECARS, None, SIDECARS[0]),
        (SIDECARS, "Q8_0", SIDECARS[0]),
        (SIDECARS, "eagle3-m-q8_0", SIDECARS[2]),
        (CALIBRATED, None, CALIBRATED[0]),
        (CALIBRATED, "M.imatrix.gguf", CALIBRATED[2]),
        (CAPITALS, "Q4_0", CAPITALS[0]),
        (CAPITALS, "big-q8_0-00002-of-00002.gguf", CAPITALS[1]),
        (ODD, "My Model (v2)+x Q4_K_M.gguf", ODD[0]),
        (ODD, "M.gguf", "M.gguf"),
        (ODD, "M.gguf.gguf", "M.gguf.gguf"),
        (["M.gguf", "m.gguf"], "m", "m.gguf"),
        (["M-00001-of-00002.gguf", "M-00002-of-00002.gguf", "M.gguf"], "M.gguf", "M.gguf"),
    ],
)
def test_a_word_finds_the_file_that_is_meant(files: list[str], word: str | None, file: str) -> None:
    assert chosen(files, word)[0] == file


@pytest.mark.parametrize(
    ("files", "word", "offered"),
    [
        (SEVERAL, "Q4_K_M", "a/chat-Q4_K_M, b/chat-Q4_K_M, base-Q4_K_M"),
        (SEVERAL, "chat-Q4_K_M.gguf", "a/chat-Q4_K_M, b/chat-Q4_K_M"),
        (SEVERAL, "Q8_0", "a/chat-Q4_K_M, b/chat-Q4_K_M, base-Q4_K_M"),
        (SEVERAL, "no.gguf", "a/chat-Q4_K_M, b/chat-Q4_K_M, base-Q4_K_M"),
        (["M.gguf", "M-00001-of-00001.gguf"], "M", "M-00001-of-00001.gguf, M.gguf"),
        (["M.gguf", "m.GGUF"], "x", "M, m"),
    ],
)
def test_what_is_not_decided_is_listed_with_words_that_work(
    files: list[str], word: str, offered: str
) -> None:
    with pytest.raises(ModelFileError, match=r"(several files carry|no file carries) ") as caught:
        chosen(files, word)
    assert caught.value.numbers == f"there are: {offered}"
    assert caught.value.cure == f"try hf:owner/repo:{offered.split(', ')[0]}"
    for one in offered.split(", "):
        chosen(files, one)


def test_parts_that_do_not_count_up_are_incomplete() -> None:
    with pytest.raises(ModelFileError, match="incomplete"):
        chosen(["M-00001-of-00002.gguf", "M-00003-of-00002.gguf"], "M")


PIECE = st.sampled_from(
    [
        "M",
        "m",
        "Q4_K_M",
        "UD",
        "MTP",
        "BF16",
        "8B",
        "imatrix",
        "Q8_0",
        "i1",
        "draft",
        "é",
        "a b",
        "x:y",
        "v1.5",
    ]
)
STEM = st.lists(PIECE, min_size=1, max_size=4).flatmap(
    lambda words: st.sampled_from("-._ ").map(lambda between: between.join(words))
)
ENDED = st.sampled_from([".gguf", ".GGUF", ".gguf.gguf", "-00001-of-00001.gguf"])
SPLIT = st.integers(2, 3).map(lambda n: tuple(f"-0000{i}-of-0000{n}.gguf" for i in range(1, n + 1)))


@st.composite
def listings(draw: st.DrawFn) -> list[str]:
    """File names as people give them: folders, parts, variants, either case, one name within another."""
    files: set[str] = {"README.md", "mmproj-F16.gguf"}
    for _ in range(draw(st.integers(1, 7))):
        folder = draw(st.sampled_from(["", "", "BF16/", "UD-Q4_K_XL/", "MTP/", "a/b/"]))
        stem = draw(STEM)
        endings = draw(st.one_of(ENDED.map(lambda one: (one,)), SPLIT))
        files |= {folder + stem + ending for ending in endings}
    return sorted(files)


@given(listings())
def test_every_name_that_is_offered_means_exactly_that_file(files: list[str]) -> None:
    sets = model_sets(files)
    for name, parts in sets.items():
        for word in {spelling(sets, name), spelling(sets, name, quantisation(name)), *parts}:
            assert reference(f"hf:owner/repo:{word}") == ("owner/repo", word)
            assert chosen(files, word) == tuple(parts), word


@given(listings(), st.one_of(PIECE, STEM))
def test_every_name_in_a_refusal_means_one_file(files: list[str], word: str) -> None:
    try:
        chosen(files, word)
    except ModelFileError as error:
        if "there are: " in error.numbers:
            found = [chosen(files, one) for one in error.numbers.removeprefix("there are: ").split(", ")]
            assert len(set(found)) == len(found) >= 1


@pytest.mark.parametrize(
    ("typed", "better"),
    [
        ("hf:owner/repo/M-Q4_K_M.gguf", "write hf:owner/repo:M-Q4_K_M.gguf"),
        ("hf:owner/repo/sub/M.gguf", "write hf:owner/repo:sub/M.gguf"),
        ("hf:owner", "write hf:owner/repo or"),
    ],
)
def test_a_file_after_a_slash_is_told_the_colon(typed: str, better: str) -> None:
    with pytest.raises(UsageError, match=better):
        reference(typed)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    with serving(monkeypatch, tmp_path / "cache") as server:
        yield server


def keep(folder: Path, monkeypatch: pytest.MonkeyPatch, *names: str) -> Path:
    """The hub's cache as it is after these files were fetched."""
    snapshot = folder / "snapshots/abc"
    for name in names:
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / name).write_bytes(SMALL)
    files = [SimpleNamespace(file_path=snapshot / name) for name in names]
    revision = SimpleNamespace(refs={"main"}, last_modified=1.0, snapshot_path=snapshot, files=files)
    repo = SimpleNamespace(repo_id="owner/repo", revisions=[revision])
    monkeypatch.setattr(huggingface_hub, "scan_cache_dir", lambda: SimpleNamespace(repos=[repo]))

    def fetched(repository: str, file: str, local_files_only: bool) -> str:
        return f"{'kept' if local_files_only else 'fetched'}:{file}"

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetched)
    return snapshot


SMALL = Raw().header() + bytes(Raw().data_bytes)


def test_every_word_of_a_plan_offers_that_file_alone(hub: HubServer) -> None:
    hub.files = {name: SMALL for name in (*HEADS, *PARTS, *SEVERAL, *CAPITALS, "M-Q8_0.gguf", "README.md")}
    found = offers("hf:owner/repo")
    assert {offer.word for offer in found} >= {"M-Q4_K_M", "M-Q4_K_M-MTP", "BF16", "b/chat-Q4_K_M"}
    for offer in found:
        (again,) = offers(f"HF:owner/repo:{offer.word}")
        assert (again.files, again.name) == (offer.files, offer.name)


def test_what_lies_in_the_cache_is_not_taken_for_what_is_meant(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The draft heads alone were fetched, by another program, before the model itself is asked for."""
    hub.files = {name: SMALL for name in (*HEADS, "other-Q4_K_M.gguf", "other-Q8_0.gguf")}
    keep(tmp_path, monkeypatch, HEADS[1])
    with pytest.raises(ModelFileError, match="several files carry Q4_K_M"):
        resolve("hf:owner/repo:Q4_K_M")
    del hub.files["other-Q4_K_M.gguf"]
    assert resolve("hf:owner/repo:Q4_K_M").name == f"fetched:{HEADS[0]}"
    n_listings = hub.n_listings
    assert resolve("hf:owner/repo:M-Q4_K_M-MTP.gguf").name == f"kept:{HEADS[1]}"
    assert resolve("hf:owner/repo:MTP").name == f"kept:{HEADS[1]}" and hub.n_listings == n_listings
    (offer,) = offers("hf:owner/repo:Q4_K_M")
    assert offer.files == (HEADS[0],) and not offer.is_local
    hub.reachable = False
    assert resolve("hf:owner/repo:q4_k_m-mtp").name == f"kept:{HEADS[1]}"
