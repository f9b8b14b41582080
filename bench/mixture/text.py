"""What the mixture learns: the Python manual's topics, which come with Python itself, or a file's text."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from sixgig.errors import UsageError
from sixgig.finetune.rendering import Document
from sixgig.inference.tokenizer import open_tokenizer
from sixgig.modelfile import ModelFile

CONTEXT = 512  # tokens of a document
HELD_OUT_SHARE = 10  # the last tenth


@dataclass(frozen=True)
class Text:
    """Pieces of CONTEXT tokens each, in their order. sha256: of the whole text, as UTF-8."""

    learnt: tuple[tuple[int, ...], ...]
    held_out: tuple[tuple[int, ...], ...]
    sha256: str

    @property
    def held_out_tokens(self) -> list[int]:
        """One stream."""
        return [token for piece in self.held_out for token in piece]


def manual() -> str:
    """The topics that `help()` shows, sorted: 460 kB of technical English and code; PSF licence."""
    from pydoc_data.topics import topics

    return "\n\n".join(topics[name].strip() for name in sorted(topics))


def read_text(model: ModelFile, path: Path | None) -> Text:
    """The text cut into pieces, the last of them held out; UsageError where it is too short."""
    words = manual() if path is None else path.read_text("utf-8")
    with open_tokenizer(model) as tokenizer:
        tokens = tokenizer.vocabulary.tokenize(words, parse_special=False)
    count = len(tokens) // CONTEXT
    n_held_out = count // HELD_OUT_SHARE
    if not n_held_out:
        numbers = f"{len(tokens)} tokens, {CONTEXT * HELD_OUT_SHARE} needed"
        raise UsageError("the text is too short", numbers, "name a longer --text")
    pieces = tuple(tuple(tokens[at * CONTEXT : (at + 1) * CONTEXT]) for at in range(count))
    return Text(pieces[:-n_held_out], pieces[-n_held_out:], sha256(words.encode()).hexdigest())


def document(piece: tuple[int, ...]) -> Document:
    """All but the first token are learnt."""
    learn = np.ones(len(piece), np.bool_)
    learn[0] = False
    tokens = np.array(piece, np.int32)
    return Document(tokens, learn, sha256(tokens.tobytes()).hexdigest())
