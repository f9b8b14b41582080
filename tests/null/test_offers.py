"""What a name offers: a file, a folder with good and bad files in it, a repository."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest

from sixgig.errors import ModelFileError, UsageError
from sixgig.modelfile import Offer, offers, open_all
from sixgig.modelfile.names import quantisation
from tests.attacks.raw import TYPE_F32, TYPE_Q4_0, Raw, declaration, pair
from tests.null.hub_server import HubServer, serving

Tiny = Callable[..., Path]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    with serving(monkeypatch, tmp_path / "cache") as server:
        yield server


def raw(file_type: int | None = None, **pairs: str) -> bytes:
    made = Raw()
    if file_type is not None:
        made.pairs["type"] = pair("general.file_type", file_type)
    names = {key.replace("__", "."): value for key, value in pairs.items()}
    made.pairs |= {name: pair(name, value) for name, value in names.items()}
    return made.header() + bytes(made.data_bytes)


def put(folder: Path, **files: bytes) -> Path:
    for name, content in files.items():
        path = folder / (name.replace("__", "/") + ".gguf")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def labels(found: tuple[Offer, ...]) -> dict[str, str]:
    return {offer.name: offer.quantisation for offer in found}


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("Qwen3.5-122B-A10B-Q4_K_M", "Q4_K_M"),
        ("UD-Q4_K_XL/Qwen3.5-122B-UD-Q4_K_XL", "UD-Q4_K_XL"),
        ("gpt-oss-20b-mxfp4", "MXFP4"),
        ("BF16/model", "BF16"),
        ("model.i1-IQ2_XXS", "IQ2_XXS"),
        ("model-Q8_0-imat.Q6_K", "Q6_K"),
        ("model-IQ4_NL", "IQ4_NL"),
        ("Q4_0_4_4", None),
        ("llama-7b", None),
    ],
)
def test_the_quantisation_in_a_name(name: str, word: str | None) -> None:
    assert quantisation(name) == word


@pytest.mark.parametrize(
    ("file_name", "file_type", "word"),
    [
        ("model", 15, "Q4_K_M"),
        ("model-Q8_0", 15, "Q4_K_M"),
        ("model-UD-Q4_K_XL", 15, "UD-Q4_K_XL"),
        ("model-Q8_0", 9999, "Q8_0"),
        ("model", 1024 | 7, "Q8_0"),
        ("model-IQ3_XS", None, "IQ3_XS"),
        ("model", None, "Q4_0"),
    ],
)
def test_the_label_of_a_local_file(file_name: str, file_type: int | None, word: str, tmp_path: Path) -> None:
    (offer,) = offers(str(put(tmp_path, **{file_name: raw(file_type)}) / f"{file_name}.gguf"))
    assert offer.quantisation == word and offer.open().n_experts == 2


def test_without_a_number_or_a_name_the_embedding_does_not_name_the_file(tmp_path: Path) -> None:
    """Vocabularies are large and kept in more bits: by bytes they named a small model."""
    made = Raw(data_bytes=1152 + 64000)
    made.tensors = {
        "experts": declaration("blk.0.ffn_gate_exps.weight", (32, 32, 2), TYPE_Q4_0, 0),
        "embedding": declaration("token_embd.weight", (32, 500), TYPE_F32, 1152),
    }
    (offer,) = offers(str(made.write(tmp_path / "model.gguf")))
    assert offer.quantisation == "Q4_0"


def test_any_part_of_a_split_file_is_the_whole_offer(tiny: Tiny) -> None:
    first = tiny("mixtral", max_tensors_per_file=20)
    parts = sorted(first.parent.glob("*.gguf"))
    found = {offers(str(part)) for part in parts}
    ((offer,),) = found
    assert offer.files == tuple(part.name for part in parts) and offer.location == first
    assert offer.size_bytes == offer.open().size_bytes and offer.is_local


def test_a_folder_offers_its_models_and_nothing_else(tiny: Tiny, tmp_path: Path) -> None:
    for part in tiny("mixtral", max_tensors_per_file=20).parent.glob("*.gguf"):
        shutil.copy(part, tmp_path)
    put(
        tmp_path,
        **{
            "a-Q8_0": raw(7),
            "mmproj-F16": raw(),
            "x-imatrix": raw(),
            "sub__b": raw(2),
            "sub__deep__deeper__c": raw(),
        },
        lora=raw(general__type="adapter"),
    )
    found = offers(str(tmp_path))
    assert labels(found) == {"a-Q8_0": "Q8_0", "mixtral": "Q4_0", "sub/b": "Q4_0"}
    assert [len(offer.files) for offer in found] == [1, 3, 1]
    assert all(one.model and one.model.is_local for one in open_all(found))


def test_a_folder_of_publishers_and_repositories_offers_the_models_of_them_all(
    tiny: Tiny, tmp_path: Path
) -> None:
    """As LM Studio keeps them; with a projector by any name, a link to a folder, and one that leads back."""
    split = tmp_path / "maker" / "mixtral-GGUF"
    shutil.copytree(tiny("mixtral", max_tensors_per_file=20).parent, split)
    put(
        tmp_path,
        **{
            "someone__seven-imatrix-GGUF__seven-Q8_0": raw(7),
            "someone__seven-imatrix-GGUF__mmproj-seven-F16": raw(),
            "someone__seven-imatrix-GGUF__vision": raw(general__architecture="clip"),
        },
    )
    (tmp_path / "someone" / "again").symlink_to(tmp_path / "someone" / "seven-imatrix-GGUF")
    (tmp_path / "someone" / "back").symlink_to(tmp_path)
    (tmp_path / "someone" / "linked.gguf").symlink_to(
        tmp_path / "someone" / "seven-imatrix-GGUF" / "seven-Q8_0.gguf"
    )
    found = offers(str(tmp_path))
    assert {offer.name: len(offer.files) for offer in found} == {
        "maker/mixtral-GGUF/mixtral": 3,
        "someone/again/seven-Q8_0": 1,
        "someone/linked": 1,
    }


def test_damaged_files_do_not_hide_good_ones(tiny: Tiny, tmp_path: Path) -> None:
    parts = sorted(tiny("mixtral", max_tensors_per_file=20).parent.glob("*.gguf"))
    shutil.copy(parts[0], tmp_path)
    put(tmp_path, **{"bad-Q4_K_M": raw()[:-1], "empty": b"", "good": raw(), "other": raw(general__name="x")})
    found = {one.offer.name: one for one in open_all(offers(str(tmp_path)))}
    said = {name: str(one.error) for name, one in found.items() if one.error}
    assert set(found) - set(said) == {"good", "other"}
    assert "past the end" in said["bad-Q4_K_M"] and "is empty" in said["empty"]
    assert "a part of the model is missing" in said["mixtral"]
    assert (
        found["bad-Q4_K_M"].offer.quantisation == "Q4_K_M" and found["empty"].offer.quantisation == "unknown"
    )


def test_a_folder_without_a_model_and_a_missing_file(tmp_path: Path) -> None:
    put(tmp_path, mmproj=raw(), lora=raw(general__type="adapter"))
    with pytest.raises(ModelFileError, match=r"holds no GGUF model; 2 \.gguf files"):
        offers(str(tmp_path))
    with pytest.raises(ModelFileError, match="does not exist"):
        offers(str(tmp_path / "no.gguf"))
    with pytest.raises(UsageError, match="names no repository"):
        offers("hf:nothing")


def test_a_repository_is_listed_without_opening_anything(hub: HubServer) -> None:
    small = raw()
    hub.files = {
        "README.md": b"",
        "mmproj-F16.gguf": small,
        "m-Q4_K_M.gguf": small,
        "UD-Q2_K_XL/m-UD-Q2_K_XL-00001-of-00002.gguf": small,
        "UD-Q2_K_XL/m-UD-Q2_K_XL-00002-of-00002.gguf": small,
        "m-F16-00002-of-00002.gguf": small,
    }
    found = offers("hf:owner/repo")
    assert [offer.quantisation for offer in found] == ["UD-Q2_K_XL", "F16", "Q4_K_M"]
    assert [offer.size_bytes for offer in found] == [2 * len(small), len(small), len(small)]
    assert not hub.asked and not any(offer.is_local for offer in found)
    (one,) = offers("hf:owner/repo:Q4_K_M")
    assert one.files == ("m-Q4_K_M.gguf",)
    with pytest.raises(ModelFileError, match="m-F16 is incomplete in its repository; 1 of 2 parts"):
        found[1].open()


def test_a_repository_without_a_model_or_the_quantisation(hub: HubServer) -> None:
    hub.files = {"README.md": b""}
    with pytest.raises(ModelFileError, match="holds no GGUF model"):
        offers("hf:owner/repo")
    hub.files = {"a-Q8_0.gguf": raw()}
    with pytest.raises(ModelFileError, match="no file carries Q4_0; there are: a-Q8_0"):
        offers("hf:owner/repo:Q4_0")
    with pytest.raises(ModelFileError, match="does not exist or is not open"):
        offers("hf:owner/other")


def test_errors_are_kept_by_offer(hub: HubServer) -> None:
    hub.files = {"a-Q4_0.gguf": b"no model", "b-Q8_0.gguf": raw(), "c-F16.gguf": raw()[:-1]}
    a, b, c = open_all(offers("hf:owner/repo"))
    assert a.model is None and "not a GGUF file" in str(a.error)
    assert b.model is not None and b.error is None
    assert c.model is None and "past the end" in str(c.error)


def test_what_the_cache_holds_is_local(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = put(tmp_path / "snapshots/abc", **{"a-Q4_0": raw(2), "half-F16-00001-of-00002": raw()})
    files = [SimpleNamespace(file_path=path) for path in snapshot.iterdir()]
    revision = SimpleNamespace(refs={"main"}, last_modified=1.0, snapshot_path=snapshot, files=files)
    repo = SimpleNamespace(repo_id="owner/repo", revisions=[revision])
    monkeypatch.setattr(huggingface_hub, "scan_cache_dir", lambda: SimpleNamespace(repos=[repo]))
    hub.files = {"a-Q4_0.gguf": raw(2), "b-Q8_0.gguf": raw(7)}
    (cached,) = offers("hf:owner/repo:Q4_0")
    assert cached.is_local and cached.open().is_local and hub.n_listings == 0
    assert [offer.is_local for offer in offers("hf:owner/repo")] == [True, False]
    hub.reachable = False
    assert [offer.is_local for offer in offers("hf:owner/repo")] == [True, False]
    shutil.rmtree(tmp_path / "cache")
    assert labels(offers("hf:owner/repo")) == {"a-Q4_0": "Q4_0", "half-F16": "F16"}
    assert not hub.asked
