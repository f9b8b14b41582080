"""Names of models as other programs take them, told as they are named here; paths stay paths."""

from pathlib import Path

import pytest

from sixgig.errors import ModelFileError, UsageError
from sixgig.modelfile.listing import reference
from sixgig.modelfile.slips import of_page, path_of

PAGE = "https://huggingface.co/Qwen/Qwen3-0.6B-GGUF"


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        (PAGE, "hf:Qwen/Qwen3-0.6B-GGUF"),
        (f"{PAGE}/", "hf:Qwen/Qwen3-0.6B-GGUF"),
        (f"{PAGE}/tree/main", "hf:Qwen/Qwen3-0.6B-GGUF"),
        (f"{PAGE}/tree/main/BF16", "hf:Qwen/Qwen3-0.6B-GGUF"),
        (f"{PAGE}?show=1", "hf:Qwen/Qwen3-0.6B-GGUF"),
        (f"{PAGE}/resolve/main/a/b.gguf?download=true", "hf:Qwen/Qwen3-0.6B-GGUF:a/b.gguf"),
        ("hf.co/Qwen/Qwen3-0.6B-GGUF:Q8_0", "hf:Qwen/Qwen3-0.6B-GGUF:Q8_0"),
        ("https://example.org/a/b", ""),
        ("https://huggingface.co/Qwen", ""),
        ("Qwen/Qwen3-0.6B-GGUF", ""),
    ],
)
def test_addresses_of_the_hub_are_told_apart(text: str, meant: str) -> None:
    assert of_page(text) == meant
    if meant:
        with pytest.raises(UsageError, match="is the address of a page; name hf:"):
            path_of(text)
        with pytest.raises(UsageError) as caught:
            reference(text)
        assert caught.value.cure == f"write {meant}"


def test_what_looks_like_the_hubs_and_is_not_there_is_asked_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for named, meant in [
        ("Qwen/Qwen3", "hf:Qwen/Qwen3"),
        ("Qwen/Qwen3:Q8_0", "hf:Qwen/Qwen3:Q8_0"),
        ("Qwen/Qwen3-GGUF/q.gguf", "hf:Qwen/Qwen3-GGUF:q.gguf"),
    ]:
        with pytest.raises(ModelFileError) as caught:
            path_of(named)
        assert str(caught.value) == f"{named} does not exist; did you mean {meant}?"
    (tmp_path / "Qwen").mkdir()
    for named in (
        "Qwen/Qwen3",
        "a/b.gguf",
        "a/b/c.gguf",
        "./a/b",
        "../a",
        "/a/b",
        "q.gguf",
        "a/b\0",
        "a" * 5000,
    ):
        assert path_of(named) == Path(named)
    assert path_of("~/a") == Path("~/a").expanduser()


def test_other_addresses_are_no_files() -> None:
    with pytest.raises(UsageError, match="an address, and models are files; fetch the file"):
        path_of("https://example.org/a.gguf")
