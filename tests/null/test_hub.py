"""Choosing and fetching from the hub, with a fake hub: no network."""

from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import platformdirs
import pytest
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError

from sixgig.errors import ModelFileError, UsageError
from sixgig.modelfile.hub import choose, resolve

FILES = [
    "README.md",
    "mmproj-F16.gguf",
    "imatrix_unsloth.gguf",
    "Qwen3.5-122B-Q8_0-00001-of-00002.gguf",
    "Qwen3.5-122B-Q8_0-00002-of-00002.gguf",
    "UD-Q4_K_XL/Qwen3.5-122B-UD-Q4_K_XL-00001-of-00003.gguf",
    "UD-Q4_K_XL/Qwen3.5-122B-UD-Q4_K_XL-00003-of-00003.gguf",
    "UD-Q4_K_XL/Qwen3.5-122B-UD-Q4_K_XL-00002-of-00003.gguf",
    "Qwen3.5-122B-Q4_K_M.gguf",
    "Qwen3.5-122B-UD-Q4_K_M.gguf",
    "Qwen3.5-122B-Q4_K_S.gguf",
]


def chosen(files: Iterable[str], quant: str | None = None) -> tuple[str, ...]:
    return choose("owner/repo", files, quant)


def test_the_named_quant() -> None:
    assert chosen(FILES, "Q4_K_S") == ("Qwen3.5-122B-Q4_K_S.gguf",)
    assert chosen(FILES, "q4_k_m") == ("Qwen3.5-122B-Q4_K_M.gguf",)
    assert chosen(FILES, "UD-Q4_K_M") == ("Qwen3.5-122B-UD-Q4_K_M.gguf",)
    assert [file[-19:-5] for file in chosen(FILES, "UD-Q4_K_XL")] == [
        "00001-of-00003",
        "00002-of-00003",
        "00003-of-00003",
    ]
    assert len(chosen(FILES, "Q8_0")) == 2


def test_without_a_quant() -> None:
    assert chosen(FILES) == ("Qwen3.5-122B-Q4_K_M.gguf",)
    assert len(chosen(file for file in FILES if "Q4_K_M" not in file)) == 3
    assert chosen(["only-IQ2_S.gguf", "mmproj.gguf"]) == ("only-IQ2_S.gguf",)


@pytest.mark.parametrize(
    ("files", "quant", "said"),
    [
        (
            ["a-Q8_0.gguf", "a-Q6_K.gguf"],
            None,
            "name one of its quantisations; there are: a-Q6_K, a-Q8_0; try",
        ),
        (["a-Q4_K_M.gguf", "b-Q4_K_M.gguf"], None, "several files carry Q4_K_M"),
        (FILES, "Q2_K", "no file carries Q2_K"),
        (FILES, "Q4_K", "no file carries Q4_K"),
        (["README.md", "mmproj-F16.gguf"], None, "holds no GGUF model"),
        (["a-Q4_K_M-00001-of-00002.gguf"], None, "incomplete in its repository; 1 of 2 parts"),
        ([f"a-IQ{number}_X.gguf" for number in range(50)], None, "and 10 more"),
    ],
)
def test_what_cannot_be_decided_lists_the_choices(files: list[str], quant: str | None, said: str) -> None:
    with pytest.raises(ModelFileError) as caught:
        chosen(files, quant)
    assert said in str(caught.value)


class FakeHub:
    """Stands in for the two functions that reach the network."""

    def __init__(self, folder: Path, files: list[str], failure: Exception | None = None) -> None:
        self.folder, self.files, self.failure = folder, files, failure
        self.fetched: list[tuple[str, bool]] = []

    def model_info(self, repository: str, **_: object) -> SimpleNamespace:
        assert repository == "owner/repo"
        if self.failure:
            raise self.failure
        siblings = [SimpleNamespace(rfilename=file, size=1, blob_id="b", lfs=None) for file in self.files]
        return SimpleNamespace(sha="abc", siblings=siblings)

    def hf_hub_download(self, repository: str, file: str, local_files_only: bool) -> str:
        self.fetched.append((file, local_files_only))
        path = self.folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        return str(path)

    def install(self, monkeypatch: pytest.MonkeyPatch, cached: Iterable[str] = ()) -> "FakeHub":
        monkeypatch.setattr(huggingface_hub, "HfApi", lambda: self)
        monkeypatch.setattr(huggingface_hub, "hf_hub_download", self.hf_hub_download)
        monkeypatch.setattr(huggingface_hub, "scan_cache_dir", lambda: cache(self.folder, cached))
        monkeypatch.setattr(platformdirs, "user_cache_dir", lambda _: str(self.folder / "listings"))
        return self


def test_a_path_is_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    assert resolve("a/b.gguf") == Path("a/b.gguf")
    assert resolve("~/b.gguf") == Path("/home/someone/b.gguf")


def test_all_parts_are_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = FakeHub(tmp_path, FILES).install(monkeypatch)
    path = resolve("hf:owner/repo:UD-Q4_K_XL")
    assert path.name == "Qwen3.5-122B-UD-Q4_K_XL-00001-of-00003.gguf" and path.exists()
    assert len(hub.fetched) == 3 and not any(offline for _, offline in hub.fetched)


@pytest.mark.parametrize("model", ["hf:", "hf:repo", "hf:a/b/c", "hf:a/b:", "hf:a/b:c:d", "hf:a/b c"])
def test_malformed_reference(model: str) -> None:
    with pytest.raises(UsageError, match="names no repository"):
        resolve(model)


def response(status: int) -> HfHubHTTPError:
    kind = RepositoryNotFoundError if status == 404 else HfHubHTTPError
    error = kind.__new__(kind)
    error.response = SimpleNamespace(status_code=status)
    return error


@pytest.mark.parametrize(("status", "cure"), [(404, "check the name"), (401, "log in"), (403, "licence")])
def test_refused_by_the_hub(status: int, cure: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeHub(tmp_path, FILES, response(status)).install(monkeypatch)
    with pytest.raises(ModelFileError, match=f"not open to you; HTTP {status}; .*{cure}"):
        resolve("hf:owner/repo")


def test_a_name_the_hub_cannot_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeHub(tmp_path, FILES, HFValidationError("two dots")).install(monkeypatch)
    with pytest.raises(UsageError, match="no valid name; HFValidationError: two dots"):
        resolve("hf:owner/repo")


def cache(folder: Path, files: Iterable[str]) -> SimpleNamespace:
    """What scan_cache_dir says of one revision with `files`."""
    snapshot = folder / "snapshots/abc"
    entries = [SimpleNamespace(file_path=snapshot / file) for file in files]
    revision = SimpleNamespace(refs={"main"}, last_modified=1.0, snapshot_path=snapshot, files=entries)
    return SimpleNamespace(repos=[SimpleNamespace(repo_id="owner/repo", revisions=[revision])])


@pytest.mark.parametrize("failure", [ConnectionError("no route"), response(503)])
def test_offline_takes_the_cache(failure: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = FakeHub(tmp_path, [], failure).install(monkeypatch, ["only-IQ2_S.gguf"])
    assert resolve("hf:owner/repo").name == "only-IQ2_S.gguf"
    assert hub.fetched == [("only-IQ2_S.gguf", True)]


def test_what_the_cache_holds_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = FakeHub(tmp_path, [], AssertionError("must not be asked")).install(monkeypatch, FILES)
    assert resolve("hf:owner/repo").name == "Qwen3.5-122B-Q4_K_M.gguf"
    assert hub.fetched == [("Qwen3.5-122B-Q4_K_M.gguf", True)]
    assert resolve("hf:owner/repo:Q8_0").name == "Qwen3.5-122B-Q8_0-00001-of-00002.gguf"


@pytest.mark.parametrize("cached", [["a-Q8_0.gguf"], FILES[3:4], []])
def test_what_the_cache_lacks_is_asked_for(
    cached: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = FakeHub(tmp_path, FILES).install(monkeypatch, cached)
    resolve("hf:owner/repo:Q8_0" if cached == FILES[3:4] else "hf:owner/repo")
    assert hub.fetched and not any(offline for _, offline in hub.fetched)


def test_offline_without_a_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeHub(tmp_path, [], ConnectionError("no route")).install(monkeypatch, ["README.md"])
    with pytest.raises(
        ModelFileError, match="not in the cache; ConnectionError: no route; check the network"
    ):
        resolve("hf:owner/repo")


def test_a_broken_download_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeHub(tmp_path, FILES).install(monkeypatch)

    def broken(*_: object, **__: object) -> str:
        raise OSError(28, "No space left on device\nmore")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", broken)
    with pytest.raises(ModelFileError, match=r"could not be fetched; OSError: .*No space left.*run it again"):
        resolve("hf:owner/repo")
