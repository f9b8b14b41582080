"""Proof that a GGUF's tokenizer does what the folder's tokenizer.json does, before any weight is written.

Both are asked: the tokenizers library about the file, llama.cpp about the GGUF. Covers the texts of `probes`,
every token's own text, and every added token between words; not what no GGUF can say and conversion told.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sixgig.checkpoint.naming import can_strip
from sixgig.checkpoint.probes import probes
from sixgig.checkpoint.safetensors import damaged
from sixgig.checkpoint.special import Special
from sixgig.checkpoint.tokenizer_file import Beside, Prefix
from sixgig.checkpoint.vocabulary import Vocabulary
from sixgig.errors import ModelFileError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_MOST_TOKENS = 1 << 18  # of which the texts are tried one by one


class EngineTokenizer(Protocol):
    """The GGUF's tokenizer in llama.cpp."""

    def tokenize(self, text: str, add_special: bool = False, parse_special: bool = True) -> list[int]:
        """As inference.tokens.Vocabulary."""

    def is_end(self, token: int) -> bool:
        """Whether generation ends with it."""


OpenTokenizer = Callable[[Path], AbstractContextManager[EngineTokenizer]]


def prove(folder: Path, vocabulary: Vocabulary, special: Special, engine: EngineTokenizer) -> None:
    """ModelFileError naming the first text of which llama.cpp would make other tokens, or a stop token that
    it would pass over."""
    for number in special.stops:
        if not engine.is_end(number):
            text = vocabulary.tokens[number][:40]
            what = f"{folder.name}: llama.cpp would not stop at a token that ends an answer"
            raise ModelFileError(what, f"{text!r}, number {number}", "use a GGUF of the model")
    if vocabulary.beside is None:
        return
    path = folder / "tokenizer.json"
    library = _open(path)
    texts = [text for text in _texts(library, vocabulary) if _is_carried(text, vocabulary.beside)]
    wanted = _encoded(path, library, texts)
    _compare(path, texts, wanted, [engine.tokenize(text) for text in texts])
    if special.adds_bos is not None:
        before = [special.ids["bos"]] if special.adds_bos else []
        behind = [special.ids["eos"]] if special.adds_eos else []
        framed = [before + ids + behind for ids in wanted[:8]]
        _compare(path, texts, framed, [engine.tokenize(text, add_special=True) for text in texts[:8]])


def _open(path: Path) -> Tokenizer:
    from tokenizers import Tokenizer

    with _explained(path):
        library = Tokenizer.from_str(path.read_text("utf-8"))
        library.no_truncation()
        library.no_padding()
    return library


def _encoded(path: Path, library: Tokenizer, texts: list[str]) -> list[list[int]]:
    with _explained(path):
        return [one.ids for one in library.encode_batch(texts, add_special_tokens=False)]


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """The library has no class of its own for errors, and panics of its Rust are no Exception."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise damaged(path, "the tokenizers library cannot use it", str(error)[:120]) from error
        raise


def _texts(library: Tokenizer, vocabulary: Vocabulary) -> Iterator[str]:
    yield from probes()
    yield from _added(library, vocabulary)
    for number in range(min(library.get_vocab_size(), _MOST_TOKENS)):
        text = library.decode([number], skip_special_tokens=False)
        if text and "\ufffd" not in text:
            yield text


def _added(library: Tokenizer, vocabulary: Vocabulary) -> Iterator[str]:
    """Each added token, alone and between words."""
    beside = vocabulary.beside
    for token in library.get_added_tokens_decoder().values():
        yield token.content
        if beside is not None and beside.prefix is not Prefix.FIRST_WITHOUT:
            yield from (f"a{token.content}b", f"a {token.content}b\n{token.content}{token.content}")
            if not token.rstrip or can_strip(vocabulary):
                yield f"a{token.content} \n b"


def _is_carried(text: str, beside: Beside) -> bool:
    """Whether a text is none of those about which conversion told that they differ."""
    if beside.composes and not unicodedata.is_normalized("NFC", text):
        return False
    if beside.marks_apart and any(unicodedata.category(letter).startswith("M") for letter in text):
        return False
    return beside.prefix in (Prefix.NONE, Prefix.EACH) or not text.startswith((" ", "\u2581"))


def _compare(
    path: Path, texts: Sequence[str], wanted: Sequence[list[int]], found: Sequence[list[int]]
) -> None:
    differing = [number for number, ids in enumerate(found) if ids != wanted[number]]
    if differing:
        first = differing[0]
        theirs, ours = wanted[first], found[first]
        pairs = enumerate(zip(theirs, ours, strict=False))
        same = next((at for at, (one, other) in pairs if one != other), min(len(theirs), len(ours)))
        behind = f" from token {same + 1} on" if same else ""
        numbers = (
            f"{texts[first][:40]!r} is {_shown(theirs[same:])}, and would be {_shown(ours[same:])}{behind}; "
            f"{len(differing)} of {len(found)} texts tried differ"
        )
        what = f"{path.name}: llama.cpp would make other tokens of a text"
        raise ModelFileError(what, numbers, "use a GGUF of the model")


def _shown(ids: list[int]) -> str:
    return str(ids) if len(ids) <= 8 else f"[{', '.join(map(str, ids[:8]))}, ...]"
