"""Merges over characters with single bytes for the rest: LLaMA's tokenizer.json without its tokenizer.model.

llama.cpp's SentencePiece tokenizer joins whatever makes a token, the best score first, and asks for no list
of pairs. It does what merges do where every pair that makes a token is a merge, and all merges that make one
token stand together: then a token's score is the place of its merges. Other lists go, where no space is put
before the text, to its BPE over plain characters, which takes merges as they are.
"""

import re
from pathlib import Path
from typing import Any

from sixgig.checkpoint.safetensors import damaged
from sixgig.errors import ModelFileError

N_BYTES = 256
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
PLAIN_CUTTING = "sarvam-moe"  # llama.cpp's name: no words, spaces as U+2581, bytes as <0x00>
Pairs = list[tuple[str, str]]


def is_byte(token: str) -> bool:
    """Whether a token is one of the 256 for single bytes."""
    return _BYTE.fullmatch(token) is not None


def read_pairs(path: Path, model: dict[str, Any], vocab: dict[str, int]) -> Pairs:
    """The merges in order, each of known tokens that make a known one; ModelFileError otherwise."""
    pairs = _pairs(path, model)
    for left, right in pairs:
        if not {left, right, left + right} <= vocab.keys():
            raise damaged(
                path, "a merge is of tokens that are not there", f"{left[:20]!r} and {right[:20]!r}"
            )
    missing = N_BYTES - sum(map(is_byte, vocab))
    if missing:
        raise ModelFileError(f"{path.name} has no token for some bytes", f"{missing} of 256", "use a GGUF")
    return pairs


def scores_of(pairs: Pairs, vocab: dict[str, int]) -> dict[str, float] | str:
    """A score for each token that merges make, the earliest 0, or why there are none."""
    scores: dict[str, float] = {}
    last = ""
    for left, right in pairs:
        made = left + right
        if made != last and made in scores:
            return f"the merges that make {made[:20]!r} do not stand together"
        scores.setdefault(made, float(-len(scores)))
        last = made
    known = set(pairs)
    for token in vocab:
        for place in range(1, len(token) if not is_byte(token) else 0):
            pair = token[:place], token[place:]
            if pair not in known and pair[0] in vocab and pair[1] in vocab:
                return f"{pair[0][:20]!r} and {pair[1][:20]!r} make a token, but are no merge"
    return scores


def cuts_lines(pairs: Pairs) -> bool:
    """Whether no merge joins a line end with something else, which llama.cpp would not see."""
    return not any("\n" in left + right and (left + right).strip("\n") for left, right in pairs)


def read_merges(path: Path, model: dict[str, Any]) -> list[str]:
    """The merges as GGUF has them, with one space between the two."""
    pairs = _pairs(path, model)
    if spaced := next((pair for pair in pairs if " " in pair[0] + pair[1]), None):
        raise damaged(path, "a merge has a space in it, which no token of it can have", str(spaced)[:60])
    return [f"{left} {right}" for left, right in pairs]


def _pairs(path: Path, model: dict[str, Any]) -> Pairs:
    merges = model.get("merges", [])
    if not isinstance(merges, list):
        raise damaged(path, "its merges are no list")
    return [_pair(path, merge) for merge in merges]


def _pair(path: Path, merge: Any) -> tuple[str, str]:
    parts = merge.split(" ") if isinstance(merge, str) else merge
    if not isinstance(parts, list) or len(parts) != 2 or not all(isinstance(part, str) for part in parts):
        raise damaged(path, "a merge is no pair of tokens", str(merge)[:60])
    return parts[0], parts[1]
