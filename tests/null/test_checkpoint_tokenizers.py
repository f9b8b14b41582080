"""Tokenizer files: carried so that llama.cpp makes the same tokens, or refused by the name of the field."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFReader
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from sixgig.checkpoint import convert
from sixgig.checkpoint.byte_fallback import scores_of
from sixgig.checkpoint.probes import probes
from sixgig.errors import ModelFileError
from sixgig.inference.converting import convert_checked
from sixgig.inference.tokenizer import open_tokenizer
from sixgig.inference.tokens import Vocabulary
from sixgig.modelfile import open_model
from tests.null import test_checkpoint as plain
from tests.null.test_checkpoint import CONFIG, Random, llama_tensors, tokenizer, write_folder
from tests.null.test_checkpoint_recipes import SEED

SPACE = "\u2581"
ESCAPE = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
PREPEND = {"type": "Prepend", "prepend": SPACE}
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
# A word list with all that SentencePiece's merges have: each pair of tokens that makes one is a merge.
WORDS = [f"{SPACE}{SPACE}", f"{SPACE}a", "an", "th", f"{SPACE}th", f"{SPACE}the", "he", "aa", "\u00e9t"]
LETTERS = [SPACE, *"abcdefghijklmnopqrstuvwxyz", "\u00e9", "\n", "1", "2"]


def pieces(**beside: Any) -> dict[str, Any]:
    """A tokenizer.json like LLaMA's: characters, merges of `WORDS`, single bytes for the rest."""
    tokens = ["<unk>", "<s>", "</s>", *BYTES, *LETTERS, *WORDS]
    known = set(tokens)
    merges = [
        [word[:place], word[place:]]
        for word in WORDS
        for place in range(1, len(word))
        if {word[:place], word[place:]} <= known
    ]
    added = [
        {"id": number, "content": token, "special": True, "normalized": False}
        | dict.fromkeys(("single_word", "lstrip", "rstrip"), False)
        for number, token in enumerate(tokens[:3])
    ]
    content = {
        "version": "1.0",
        "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": [PREPEND, ESCAPE]},
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]},
        "model": {
            "type": "BPE",
            "unk_token": "<unk>",
            "fuse_unk": True,
            "byte_fallback": True,
            "vocab": {token: number for number, token in enumerate(tokens)},
            "merges": merges,
        },
    }
    return content | beside


def folder_of(folder: Path, content: dict[str, Any], **config: Any) -> Path:
    """A model whose embedding has a row for each token."""
    n_tokens = max(content["model"]["vocab"].values()) + 1
    tensors = llama_tensors() | {
        name: Random().matrix(n_tokens, plain.WIDTH)
        for name in ("model.embed_tokens.weight", "lm_head.weight")
    }
    numbers = {"bos_token_id": 1, "eos_token_id": 2, "vocab_size": n_tokens}
    write_folder(folder, CONFIG | numbers | config, tensors)
    (folder / "tokenizer.json").write_text(json.dumps(content))
    (folder / "tokenizer_config.json").write_text("{}")
    return folder


def settings_of(folder: Path, **files: Any) -> Path:
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


@contextmanager
def engine_of(folder: Path) -> Iterator[Vocabulary]:
    out = folder.parent / f"{folder.name}.gguf"
    convert(folder, out)
    with open_tokenizer(open_model(out)) as opened:
        yield opened.vocabulary


def trained(**normalizer: Any) -> dict[str, Any]:
    """Merges that were learnt, so that pairs which make a token need be none."""
    made = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    made.normalizer = normalizers.Replace(" ", SPACE)
    made.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    special = ["<unk>", "<s>", "</s>", *BYTES]
    lines = [line for text in probes() for line in text.split("\n")]
    made.train_from_iterator(
        lines, trainers.BpeTrainer(vocab_size=900, special_tokens=special, show_progress=False)
    )
    content: dict[str, Any] = json.loads(made.to_str())
    return content | {"added_tokens": content["added_tokens"][:3]} | normalizer


TEXTS = st.text(
    alphabet=st.one_of(st.sampled_from(" \nabehtn\u00e91"), st.characters(codec="utf-8")), max_size=24
)


@pytest.mark.parametrize("kind", ["prefixed", "plain", "learnt"])
def test_byte_fallback_without_a_tokenizer_model_makes_the_same_tokens(tmp_path: Path, kind: str) -> None:
    """Of any text: with a space before it, without one, and of merges that scores cannot say."""
    content = {"prefixed": pieces(), "plain": pieces(normalizer=ESCAPE), "learnt": trained()}[kind]
    folder = folder_of(tmp_path / "m", content)
    library = Tokenizer.from_str(json.dumps(content))
    with engine_of(folder) as engine:

        @settings(max_examples=400, deadline=None, database=None)
        @given(TEXTS)
        def same(text: str) -> None:
            assert engine.tokenize(text) == library.encode(text, add_special_tokens=False).ids

        same()
        for text in (*probes(), "a</s>b<s> c", "</s></s>"):
            assert engine.tokenize(text) == library.encode(text, add_special_tokens=False).ids
    fields = GGUFReader(tmp_path / "m.gguf").fields
    assert fields["tokenizer.ggml.model"].contents() == ("gpt2" if kind == "learnt" else "llama")


def test_merges_that_scores_cannot_say_are_refused_where_a_space_is_put_before() -> None:
    pairs = [("a", "b"), ("ab", "c")]
    vocab = {token: number for number, token in enumerate(("a", "b", "c", "ab", "bc", "abc"))}
    assert "'b' and 'c' make a token, but are no merge" in str(scores_of(pairs, vocab))
    assert scores_of([("b", "c"), *pairs, ("a", "bc")], vocab) == {"bc": 0.0, "ab": -1.0, "abc": -2.0}
    apart = [("b", "c"), ("ab", "c"), ("a", "b"), ("a", "bc")]
    assert "'abc' do not stand together" in str(scores_of(apart, vocab))


def test_learnt_merges_behind_a_prefix_are_refused_by_name(tmp_path: Path) -> None:
    content = trained(normalizer={"type": "Sequence", "normalizers": [PREPEND, ESCAPE]})
    refused(folder_of(tmp_path / "m", content), "tokenizer.json", "no merge", "tokenizer.model")


def refused(folder: Path, *words: str) -> None:
    with pytest.raises(ModelFileError) as caught:
        convert(folder, folder.parent / "out.gguf")
    for word in words:
        assert word in str(caught.value)


BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"normalizer": {"type": "Lowercase"}}, "Lowercase"),
        ({"normalizer": {"type": "NFKC"}}, "NFKC"),
        ({"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Strip"}]}}, "Strip"),
        ({"normalizer": PREPEND}, "Prepend"),
        ({"pre_tokenizer": BYTE_LEVEL | {"add_prefix_space": True}}, "add_prefix_space"),
        ({"pre_tokenizer": {"type": "Whitespace"}}, "Whitespace"),
        ({"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "a"}, "behavior": "Removed"}}, "Split"),
        ({"decoder": {"type": "WordPiece"}}, "WordPiece"),
        ({"decoder": None}, "decoder is None; answers would be spelled otherwise"),
        ({"decoder": {"type": "Sequence", "decoders": []}}, "decoder is None"),
        ({"model": {"dropout": 0.1}}, "model.dropout"),
        ({"model": {"end_of_word_suffix": "</w>"}}, "end_of_word_suffix"),
        ({"added_tokens": [{"id": 0, "content": "<|end|>", "lstrip": True}]}, "lstrip of '<|end|>'"),
        ({"added_tokens": [{"id": 0, "content": "<|end|>", "single_word": True}]}, "single_word"),
    ],
)
def test_what_a_byte_level_tokenizer_does_beside_its_merges_is_refused_by_name(
    tmp_path: Path, change: dict[str, Any], word: str
) -> None:
    folder = write_folder(tmp_path / "m")
    content = tokenizer()
    if "model" in change:
        change = {"model": content["model"] | change["model"]}
    (folder / "tokenizer.json").write_text(json.dumps(content | change))
    refused(folder, "tokenizer.json", word)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"normalizer": {"type": "NFKC"}}, "NFKC"),
        ({"normalizer": None}, "U+2581"),
        ({"normalizer": {"type": "Sequence", "normalizers": [ESCAPE, {"type": "Lowercase"}]}}, "Lowercase"),
        ({"pre_tokenizer": {"type": "Digits"}}, "Digits"),
        ({"decoder": {"type": "WordPiece"}}, "WordPiece"),
        ({"decoder": None}, "decoder is None"),
    ],
)
def test_what_a_tokenizer_of_pieces_does_beside_them_is_refused_by_name(
    tmp_path: Path, change: dict[str, Any], word: str
) -> None:
    refused(folder_of(tmp_path / "m", pieces(**change)), "tokenizer.json", word)


CLEAN_UP = ("", "_for_bpe_even_though_it_will_corrupt_output")


@pytest.mark.parametrize(
    ("said", "word"),
    [
        ({"add_prefix_space": True}, "add_prefix_space is True; no space would be put before the text"),
        ({"add_prefix_space": "yes"}, "its add_prefix_space is neither true nor false"),
        ({"add_bos_token": "yes"}, "its add_bos_token is neither true nor false"),
        ({"bos_token": 7}, "a special token is no text"),
        ({"split_special_tokens": True}, "split_special_tokens is True"),
        ({f"clean_up_tokenization_spaces{end}": True for end in CLEAN_UP}, "answers would be spelled"),
    ],
)
def test_what_wins_over_tokenizer_json_is_refused_by_name(
    tmp_path: Path, said: dict[str, Any], word: str
) -> None:
    """As the same value of tokenizer.json is; transformers itself makes other tokens of it."""
    folder = write_folder(tmp_path / "m")
    refused(settings_of(folder, tokenizer_config={"eos_token": "<|end|>"} | said), "tokenizer_config", word)


def test_what_tokenizer_config_json_says_without_effect_goes_through_in_silence(tmp_path: Path) -> None:
    folder, lines = write_folder(tmp_path / "m"), list[str]()
    idle = {"add_prefix_space": False, "clean_up_tokenization_spaces": True, "legacy": False, "errors": "x"}
    known = {"additional_special_tokens": ["[x]"], "added_tokens_decoder": {"0": {"content": "<|end|>"}}}
    settings_of(folder, tokenizer_config={"eos_token": "<|end|>"} | idle | known)
    convert(folder, tmp_path / "out.gguf", tell=lines.append)
    assert lines == []


def test_tokens_and_prefixes_that_only_tokenizer_config_json_has_are_told(tmp_path: Path) -> None:
    folder, lines = write_folder(tmp_path / "m"), list[str]()
    for name, value in (
        ("extra_special_tokens", ["the"]),
        ("additional_special_tokens", [{"content": "<new>"}]),
        ("added_tokens_decoder", {"7": {"content": "<new>"}}),
    ):
        settings_of(folder, tokenizer_config={"eos_token": "<|end|>", name: value})
        lines.clear()
        convert(folder, tmp_path / "out.gguf", tell=lines.append)
        assert len(lines) == 1 and "a token of its own" in lines[0], name
    folder = folder_of(tmp_path / "p", pieces())
    for said, n_lines in ((True, 0), (None, 0), (False, 1)):
        settings_of(folder, tokenizer_config={"add_prefix_space": said})
        lines.clear()
        convert(folder, tmp_path / "out.gguf", tell=lines.append)
        assert len(lines) == n_lines and all("add_prefix_space is false" in line for line in lines)


def test_a_refusal_by_proof_shows_tokens_from_the_first_difference_on() -> None:
    from sixgig.checkpoint.proof import _compare

    same = [*range(20)]
    for wanted, found, words in (
        ([*same, 7, 8], [*same, 9], "is [7, 8], and would be [9] from token 21 on"),
        (same, [*same, 9], "is [], and would be [9] from token 21 on"),
        ([1, 2], [3], "is [1, 2], and would be [3]; 1 of 2 texts"),
        ([5, *same], [4, *same], "is [5, 0, 1, 2, 3, 4, 5, 6, ...], and would be [4, 0, "),
    ):
        with pytest.raises(ModelFileError) as caught:
            _compare(Path("tokenizer.json"), ["x", "some text"], [[1], wanted], [[1], found])
        assert f"'some text' {words}" in str(caught.value)


def test_bytes_without_a_token_are_refused(tmp_path: Path) -> None:
    content = pieces()
    del content["model"]["vocab"]["<0x00>"]
    refused(folder_of(tmp_path / "m", content), "1 of 256")


def test_form_c_and_prefix_schemes_are_told(tmp_path: Path) -> None:
    for name, change, word in (
        ("a", {"pre_tokenizer": metaspace("first"), "normalizer": None}, "behind a special token"),
        ("b", {"pre_tokenizer": metaspace("always"), "normalizer": None}, "begins with one"),
    ):
        lines: list[str] = []
        folder = folder_of(tmp_path / name, pieces(**change))
        convert(folder, tmp_path / "out.gguf", tell=lines.append)
        assert any(word in line for line in lines)
    folder, lines = write_folder(tmp_path / "c"), []
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer() | {"normalizer": {"type": "NFC"}}))
    convert(folder, tmp_path / "out.gguf", tell=lines.append)
    assert len(lines) == 1 and "form C" in lines[0]


def metaspace(scheme: str) -> dict[str, Any]:
    return {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": scheme, "split": False}


def byte_level(cut: str = "") -> dict[str, Any]:
    """A byte-level BPE in full, as the library wants it; `cut`: the expression of a word, else GPT-2's."""
    made = Tokenizer(models.BPE())
    whole = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not cut)
    parts = [pre_tokenizers.Split(Regex(cut), "isolated"), whole]
    made.pre_tokenizer = pre_tokenizers.Sequence(parts) if cut else whole
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|end|>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator([*probes()], trainer)
    content: dict[str, Any] = json.loads(made.to_str())
    return content


def test_a_conversion_is_proven_before_a_weight_is_written(tmp_path: Path) -> None:
    """Equal tokens go through; a vocabulary in which known words are taken whole does not."""
    content = byte_level()
    folder = folder_of(tmp_path / "m", content)
    convert_checked(folder, tmp_path / "m.gguf")
    assert open_model(tmp_path / "m.gguf").n_vocab == 400
    content["model"]["ignore_merges"] = True
    content["model"]["merges"] = content["model"]["merges"][:20]
    (folder / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(ModelFileError, match=r"llama.cpp would make other tokens .* texts tried"):
        convert_checked(folder, tmp_path / "other.gguf")
    assert not [path for path in tmp_path.iterdir() if "other" in path.name]


def test_words_are_cut_as_seed_cuts_them(tmp_path: Path) -> None:
    """Digits one by one, line ends never behind a sign: the engine's tokens equal the library's."""
    content = byte_level(SEED)
    convert_checked(folder_of(tmp_path / "m", content), tmp_path / "m.gguf")
    metadata = open_model(tmp_path / "m.gguf").metadata
    assert metadata.text("tokenizer.ggml.pre") == "seed-coder"


def test_a_model_that_the_engine_does_not_load_is_refused_before_a_weight_is_written(tmp_path: Path) -> None:
    tensors = llama_tensors()
    for layer in (0, 1):
        del tensors[f"model.layers.{layer}.post_attention_layernorm.weight"]
    content = byte_level()
    folder = folder_of(tmp_path / "m", content)
    rows = {"vocab_size": 264, "bos_token_id": 1, "eos_token_id": 2}
    write_folder(folder, CONFIG | rows, tensors)
    with pytest.raises(ModelFileError, match=r"m makes no model that llama.cpp loads.*ffn_norm"):
        convert_checked(folder, tmp_path / "m.gguf")
