"""What a tokenizer.json does to a text beside its merges: carried into the GGUF, or refused by name.

Source: the tokenizers library for what each part means, llama.cpp's llama-vocab.cpp for what it has.
"""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, NoReturn

from sixgig.checkpoint.safetensors import damaged
from sixgig.errors import ModelFileError

SPACE = "\u2581"  # as which SentencePiece writes a space
_CURE = "use a GGUF of the model, or a tokenizer without it"
_DECODERS_OF_PIECES = {"Replace", "ByteFallback", "Fuse", "Strip", "Metaspace"}


class Prefix(Enum):
    """The space that is put before a text."""

    NONE = "none"
    EACH = "before every piece of text between special tokens"
    EACH_WITHOUT = "the same, but where one is there already"
    FIRST_WITHOUT = "before the whole text, where none is there already"


@dataclass(frozen=True)
class Beside:
    """`composes`: text is brought into Unicode's form C first. `marks_apart`: llama.cpp ends words at
    combining marks, the file does not. `prefix` and `splits` (each space begins a word): of pieces only.
    `by_bytes`: a byte-level BPE."""

    composes: bool = False
    prefix: Prefix = Prefix.NONE
    splits: bool = False
    marks_apart: bool = False
    by_bytes: bool = False


def byte_level(path: Path, content: dict[str, Any]) -> Beside:
    """Of a byte-level BPE; ModelFileError naming what llama.cpp does not do."""
    _check_model(path, content)
    normalizers = _flat(content.get("normalizer"), "normalizers")
    if others := [one for one in normalizers if one.get("type") != "NFC"]:
        refuse(path, "normalizer", others[0], "text would reach the model unchanged")
    for one in _flat(content.get("pre_tokenizer"), "pretokenizers"):
        kind = one.get("type")
        if kind == "ByteLevel" and one.get("add_prefix_space", True):
            refuse(path, "pre_tokenizer.add_prefix_space", True, "no space would be put before the text")
        if kind == "Split" and not _keeps_all(one):
            refuse(path, "pre_tokenizer", one, "words would be cut otherwise")
    _check_decoder(path, content, {"ByteLevel"})
    return Beside(composes=bool(normalizers), by_bytes=True)


def pieces(path: Path, content: dict[str, Any]) -> Beside:
    """Of a BPE over characters with spaces written as U+2581; ModelFileError as of byte_level."""
    _check_model(path, content)
    prefix, splits, escapes, composes = Prefix.NONE, False, False, False
    for one in _flat(content.get("normalizer"), "normalizers"):
        kind = one.get("type")
        if kind == "Prepend" and one.get("prepend") == SPACE:
            prefix = Prefix.EACH
        elif kind == "Replace" and one.get("pattern") == {"String": " "} and one.get("content") == SPACE:
            escapes = True
        elif kind == "NFC":
            composes = True
        else:
            refuse(path, "normalizer", one, "text would reach the model unchanged")
    for one in _flat(content.get("pre_tokenizer"), "pretokenizers"):
        if escapes and one.get("type") == "Split" and one.get("pattern") == {"String": " "}:
            continue  # of which none is left
        if one.get("type") != "Metaspace" or one.get("replacement") != SPACE:
            refuse(path, "pre_tokenizer", one, "words would be cut otherwise")
        scheme = str(one.get("prepend_scheme", "always" if one.get("add_prefix_space", True) else "never"))
        schemes = {"always": Prefix.EACH_WITHOUT, "first": Prefix.FIRST_WITHOUT, "never": prefix}
        if scheme not in schemes or prefix is not Prefix.NONE:
            refuse(path, "pre_tokenizer.prepend_scheme", scheme, "other spaces would be put before the text")
        prefix, splits, escapes = schemes[scheme], bool(one.get("split", True)), True
    if not escapes:
        refuse(path, "normalizer", content.get("normalizer"), "spaces would be written as U+2581")
    _check_decoder(path, content, _DECODERS_OF_PIECES)
    return Beside(composes, prefix, splits)


def frame(content: dict[str, Any]) -> tuple[list[str], list[str]]:
    """The special tokens that its post_processor puts before and behind a text."""
    before, behind = list[str](), list[str]()
    for one in _flat(content.get("post_processor"), "processors"):
        if one.get("type") in ("RobertaProcessing", "BertProcessing"):
            ends = (one.get("cls"), one.get("sep"))
            found = [str(end[0]) if isinstance(end, list) and end else "" for end in ends]
            before, behind = [found[0], *before], [*behind, found[1]]
        single = one.get("single")
        single = single if one.get("type") == "TemplateProcessing" and isinstance(single, list) else []
        for item in single:
            special = item.get("SpecialToken") if isinstance(item, dict) else None
            if isinstance(special, dict):
                _side(single, item, before, behind).append(str(special.get("id")))
    return before, behind


def _side(single: list[Any], item: Any, before: list[str], behind: list[str]) -> list[str]:
    texts = [number for number, one in enumerate(single) if isinstance(one, dict) and "Sequence" in one]
    return before if texts and single.index(item) < texts[0] else behind


def check_added(path: Path, entry: dict[str, Any]) -> None:
    """ModelFileError for an added token that takes up space before it or matches whole words only."""
    for flag in ("lstrip", "single_word"):
        if entry.get(flag):
            numbers = (
                f"{flag} of {str(entry.get('content'))[:40]!r} is true; llama.cpp finds such tokens anywhere"
            )
            raise ModelFileError(f"{path.name}: an added token cannot be carried over", numbers, _CURE)


def stripping(added: list[Any]) -> frozenset[str]:
    """Those added tokens that take up the space behind them."""
    return frozenset(str(entry["content"]) for entry in added if entry.get("rstrip"))


def _check_model(path: Path, content: dict[str, Any]) -> None:
    model = content.get("model")
    for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if isinstance(model, dict) and model.get(name):
            refuse(path, f"model.{name}", model[name], "words would be put together otherwise")


def _check_decoder(path: Path, content: dict[str, Any], known: set[str]) -> None:
    """Without one, tokens are put together with spaces between them."""
    steps = _flat(content.get("decoder"), "decoders")
    others = [one for one in steps if one.get("type") not in known]
    if others or not steps:
        refuse(path, "decoder", others[0] if others else None, "answers would be spelled otherwise")


def _keeps_all(split: dict[str, Any]) -> bool:
    """Whether matches become words and nothing is lost, as llama.cpp does."""
    return (split.get("behavior"), bool(split.get("invert"))) in (("Isolated", False), ("Removed", True))


def _flat(part: Any, inner: str) -> list[dict[str, Any]]:
    """The steps of a part of the file, Sequences opened."""
    if part is None:
        return []
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        raise damaged(Path("tokenizer.json"), f"its {inner} are no objects with a type", str(part)[:60])
    if part.get("type") != "Sequence":
        return [part]
    steps = part.get(inner)
    if not isinstance(steps, list):
        raise damaged(Path("tokenizer.json"), f"its {inner} are no list", str(steps)[:60])
    return [step for one in steps for step in _flat(one, inner)]


def refuse(path: Path, field: str, value: Any, effect: str) -> NoReturn:
    """ModelFileError that a file asks for what llama.cpp does not do, with the effect that it would have."""
    numbers = f"{field} is {str(value)[:80]}; {effect}"
    raise ModelFileError(f"{path.name} asks for what llama.cpp does not do", numbers, _CURE)
