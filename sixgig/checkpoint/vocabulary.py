"""A checkpoint's tokenizer as GGUF keeps it: tokens with their kinds, and how text is cut."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sixgig.checkpoint import byte_fallback
from sixgig.checkpoint.byte_fallback import PLAIN_CUTTING, is_byte, read_merges, read_pairs, scores_of
from sixgig.checkpoint.pretokenizers import MARKS_APART, name_of, steps
from sixgig.checkpoint.safetensors import damaged, read_json
from sixgig.checkpoint.sentencepiece import Piece, read_pieces
from sixgig.checkpoint.tokenizer_file import SPACE, Beside, Prefix, byte_level, check_added, pieces, stripping
from sixgig.errors import ModelFileError
from sixgig.families.terms.transforms import require

MAX_TOKENS = 2**22
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = 1, 2, 3, 4, 5, 6  # llama.cpp's token types
_UNMERGED = {"llama-bpe": "smaug-bpe"}  # the same words, of which known ones are not taken whole
_ADDED_SCORE = -1000.0
_LONGEST_NUMBER = 9
_MODEL_CURE = "put the model's tokenizer.model into the folder, or use a GGUF of the model"
_CURE = "put the model's tokenizer.json into the folder"


@dataclass(frozen=True)
class Vocabulary:
    """`model` is llama.cpp's kind of tokenizer, `cutting` its name for the way text is cut into words.

    `scores` and `prefixed` (a space is put before the text) are there for SentencePiece only. `beside`: what
    the tokenizer does further; None where no tokenizer.json says so. `stripping`: added tokens that take up
    the space behind them.
    """

    model: str
    cutting: str
    tokens: list[str]
    kinds: list[int]
    scores: list[float] = field(default_factory=list)
    prefixed: bool | None = None
    merges: list[str] = field(default_factory=list)
    beside: Beside | None = None
    stripping: frozenset[str] = frozenset()

    def special(self) -> set[str]:
        """The tokens that are none of the text's words to llama.cpp."""
        kinds = zip(self.tokens, self.kinds, strict=True)
        return {token for token, kind in kinds if kind in (_CONTROL, _USER_DEFINED, _UNKNOWN)}

    def taken_whole(self) -> set[str]:
        """Texts that are one token wherever they stand, as added tokens are; U+2581 as a space."""
        kinds = zip(self.tokens, self.kinds, strict=True)
        return {token.replace(SPACE, " ") for token, kind in kinds if kind in (_CONTROL, _USER_DEFINED)}


def read_vocabulary(folder: Path, n_tokens: int, names: dict[str, str]) -> Vocabulary:
    """The tokenizer of a folder, filled up to the embedding's `n_tokens`.

    Byte-level BPE from tokenizer.json, else SentencePiece from tokenizer.model, else BPE over characters from
    tokenizer.json. `names` replaces the name of a way of cutting where an architecture has its own.
    ModelFileError where there is no tokenizer, it is damaged, or does what llama.cpp does not.
    """
    path, model_path = folder / "tokenizer.json", folder / "tokenizer.model"
    require(n_tokens <= MAX_TOKENS, "the vocabulary is too large", f"{n_tokens} tokens, at most {MAX_TOKENS}")
    content = read_json(path) if path.is_file() else {}
    model = content.get("model")
    by_bytes = (
        isinstance(model, dict) and model.get("type", "BPE") == "BPE" and not model.get("byte_fallback")
    )
    by_characters = isinstance(model, dict) and model.get("type", "BPE") == "BPE" and not by_bytes
    if not by_bytes and model_path.is_file():
        beside = pieces(path, content) if by_characters else None
        return _by_pieces(folder, read_pieces(model_path), n_tokens, beside)
    if not content:
        raise ModelFileError(f"{folder.name} has no tokenizer", "no tokenizer.json in it", _CURE)
    if isinstance(model, dict) and by_characters:
        return _by_characters(path, content, model, n_tokens)
    if not isinstance(model, dict) or not by_bytes:
        cure = _MODEL_CURE
        raise ModelFileError(f"{path.name} is no BPE", _kind(model), cure)
    return _by_bytes(path, content, model.get("vocab"), n_tokens, names)


def _by_bytes(
    path: Path, content: dict[str, Any], vocab: Any, n_tokens: int, names: dict[str, str]
) -> Vocabulary:
    """Byte-level BPE."""
    if not isinstance(vocab, dict) or not vocab:
        raise damaged(path, "it has no vocabulary")
    beside = byte_level(path, content)
    cuts = steps(content.get("pre_tokenizer"))
    found = name_of(cuts)
    if found is None:
        what = f"{path.name} cuts text in a way we do not know"
        raise ModelFileError(what, str(cuts)[:120], "use a GGUF of the model")
    tokens, kinds = _tokens(path, vocab, content.get("added_tokens", []), n_tokens)
    cutting = names.get(found, found)
    if not content["model"].get("ignore_merges"):
        cutting = _UNMERGED.get(cutting, cutting)
    beside = replace(beside, marks_apart=cutting in MARKS_APART)
    merges = read_merges(path, content["model"])
    strips = stripping(content.get("added_tokens", []))
    return Vocabulary("gpt2", cutting, tokens, kinds, merges=merges, beside=beside, stripping=strips)


def _by_characters(path: Path, content: dict[str, Any], model: dict[str, Any], n_tokens: int) -> Vocabulary:
    """BPE over characters: as SentencePiece with scores, or where they do not say it all, by its merges."""
    vocab = model.get("vocab")
    if not isinstance(vocab, dict) or not vocab:
        raise damaged(path, "it has no vocabulary")
    beside = pieces(path, content)
    added = content.get("added_tokens")
    tokens, kinds = _tokens(path, vocab, added, n_tokens)
    strips = stripping(added or [])
    for number, token in enumerate(tokens):
        if is_byte(token):
            kinds[number] = _BYTE
        elif token == model.get("unk_token"):
            kinds[number] = _UNKNOWN
    pairs = read_pairs(path, model, vocab)
    names = {entry["content"] for entry in added or []}
    scores = scores_of(pairs, {token: number for token, number in vocab.items() if token not in names})
    prefixed = beside.prefix is not Prefix.NONE
    splits = beside.splits and any(SPACE in (left + right)[1:] for left, right in pairs)
    if isinstance(scores, dict) and not splits:
        numbers = [
            scores.get(token, _ADDED_SCORE if kind != _NORMAL else 0.0)
            for token, kind in zip(tokens, kinds, strict=True)
        ]
        return Vocabulary("llama", "default", tokens, kinds, numbers, prefixed, [], beside, strips)
    if prefixed or splits or not byte_fallback.cuts_lines(pairs):
        why = scores if isinstance(scores, str) else "each space begins a word"
        what = f"{path.name} joins text in a way that llama.cpp does not"
        raise ModelFileError(what, why, _MODEL_CURE)
    merges = read_merges(path, model)
    return Vocabulary("gpt2", PLAIN_CUTTING, tokens, kinds, merges=merges, beside=beside, stripping=strips)


def _by_pieces(folder: Path, pieces: list[Piece], n_tokens: int, beside: Beside | None) -> Vocabulary:
    """SentencePiece, with the tokens that were added to it later."""
    path = folder / "tokenizer.model"
    require(len(pieces) <= n_tokens, f"{path.name} is too large", f"{len(pieces)} pieces, {n_tokens} tokens")
    unused = [Piece(f"[PAD{number}]", -10000.0, _UNUSED) for number in range(len(pieces), n_tokens)]
    listed = [*(replace(piece, kind=_kept_kind(piece.kind)) for piece in pieces), *unused]
    for number, token in _added_later(folder, n_tokens):
        listed[number] = token
    columns = [one.text for one in listed], [one.kind for one in listed], [one.score for one in listed]
    prefixed = _prefixed(folder) if beside is None else beside.prefix is not Prefix.NONE
    return Vocabulary("llama", "default", *columns, prefixed, beside=beside, stripping=_stripping(folder))


def _kept_kind(kind: int) -> int:
    """Pieces of the user's own are ordinary to llama.cpp."""
    return _NORMAL if kind == _USER_DEFINED else kind


def _added_later(folder: Path, n_tokens: int) -> Iterator[tuple[int, Piece]]:
    """From added_tokens.json and from tokenizer_config.json, which knows more."""
    older, newer = folder / "added_tokens.json", folder / "tokenizer_config.json"
    for text, number in (read_json(older) if older.is_file() else {}).items():
        yield _checked(older, text, number, n_tokens), Piece(text, _ADDED_SCORE, _USER_DEFINED)
    decoder = (read_json(newer) if newer.is_file() else {}).get("added_tokens_decoder", {})
    for number, entry in (decoder if isinstance(decoder, dict) else {}).items():
        content = entry.get("content") if isinstance(entry, dict) else None
        if not isinstance(content, str) or not number.isdecimal() or len(number) > _LONGEST_NUMBER:
            raise damaged(newer, "an added token has no text or no number", str(number)[:20])
        check_added(newer, entry)
        control = bool(entry.get("special")) or looks_special(content)
        kind = _CONTROL if control else _USER_DEFINED
        piece = Piece(content if control else content.replace("\u2581", " "), _ADDED_SCORE, kind)
        yield _checked(newer, content, int(number), n_tokens), piece


def _stripping(folder: Path) -> frozenset[str]:
    """Of added_tokens_decoder, which is what SentencePiece's tokenizers go by."""
    path = folder / "tokenizer_config.json"
    decoder = (read_json(path) if path.is_file() else {}).get("added_tokens_decoder")
    return stripping([*decoder.values()] if isinstance(decoder, dict) else [])


def _prefixed(folder: Path) -> bool | None:
    """Whether a space is put before the text, where tokenizer_config.json says so."""
    path = folder / "tokenizer_config.json"
    said = (read_json(path) if path.is_file() else {}).get("add_prefix_space")
    return said if isinstance(said, bool) else None


def _kind(model: Any) -> str:
    return f"its model is {str(model.get('type'))[:40] if isinstance(model, dict) else 'missing'}"


def _tokens(path: Path, vocab: dict[str, Any], added: Any, n_tokens: int) -> tuple[list[str], list[int]]:
    """Tokens by number and their kinds; numbers nobody uses are filled up."""
    tokens = [f"[PAD{number}]" for number in range(n_tokens)]
    kinds = [_UNUSED] * n_tokens
    for text, number in vocab.items():
        index = _checked(path, text, number, n_tokens)
        tokens[index], kinds[index] = text, _NORMAL
    if added is not None and not isinstance(added, list):
        raise damaged(path, "its added_tokens are no list", str(added)[:60])
    for entry in added or []:
        token = entry.get("content") if isinstance(entry, dict) else None
        if not isinstance(token, str):
            raise damaged(path, "an added token has no text")
        check_added(path, entry)
        index = _checked(path, token, entry.get("id"), n_tokens)
        control = bool(entry.get("special")) or looks_special(token)
        tokens[index] = token if control else token.replace("\u2581", " ")
        kinds[index] = _CONTROL if control else _USER_DEFINED
    return tokens, kinds


def looks_special(token: str) -> bool:
    """Whether a token steers the model although nobody marked it so, by llama.cpp's rule."""
    return (
        token in ("<pad>", "<mask>", "<2mass>", "[@BOS@]")
        or (token.startswith(("<|", "<\uff5c")) and token.endswith(("|>", "\uff5c>")))
        or (token.startswith("<unused") and token.endswith(">"))
    )


def _checked(path: Path, token: str, number: Any, n_tokens: int) -> int:
    if type(number) is not int or not 0 <= number < n_tokens:
        raise damaged(path, f"{token[:40]!r} has no usable number", f"{str(number)[:20]}, {n_tokens} tokens")
    return number
