"""Texts that jobs read, and tokens: of a text, or drawn with repeats."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sixgig.datafile import not_prose, not_utf8
from sixgig.errors import UsageError
from sixgig.inference import Engine
from sixgig.jobs.reporter import SILENT, Reporter

REPEAT_SHARE, REPEAT_WINDOW, ZIPF = 0.5, 64, 1.0


def drawn_tokens(n_vocab: int, count: int, seed: int) -> list[int]:
    """`count` token ids, the same for the same seed: half repeat one of the last 64, half are new (Zipf).

    This is not text: a router sees other neighbours than in text, so hit rates differ from those of real
    use; how much depends on the model.
    """
    random = np.random.default_rng(seed)
    by_rank = random.permutation(n_vocab)
    shares = np.arange(1, n_vocab + 1, dtype=np.float64) ** -ZIPF
    fresh = by_rank[random.choice(n_vocab, size=count, p=shares / shares.sum())]
    ids = list[int]()
    for token in fresh.tolist():
        repeats = ids and random.random() < REPEAT_SHARE
        ids.append(ids[-1 - int(random.integers(min(REPEAT_WINDOW, len(ids))))] if repeats else token)
    return ids


def read_text(path: Path, reporter: Reporter = SILENT) -> str:
    """As llama.cpp's tools read it: line ends untouched, less one newline at the end. Raises UsageError when
    it cannot be read or holds no text at all; tells when it holds rows or tags.
    """
    try:
        raw = path.read_bytes()
        if told := not_prose(path, raw):
            reporter.warn(told)
        return raw.decode().removesuffix("\n")
    except UnicodeDecodeError as error:
        raise not_utf8(path, error.start, raw) from error
    except OSError as error:
        raise UsageError(f"cannot read {path}", str(error.strerror), "name a text file") from error


def text_tokens(engine: Engine, text: str, count: int) -> list[int]:
    """The first `count` tokens of `text`, begun as the model wants texts begun; names of special tokens in it
    are text, as for llama.cpp's tools that read texts. Raises UsageError when it is too short."""
    ids = engine.vocabulary.tokenize(text, add_special=True, parse_special=False)
    if len(ids) < count:
        numbers = f"{len(ids)} tokens, {count} needed"
        raise UsageError("the text is too short", numbers, "lower --prompt-tokens or --tokens")
    return ids[:count]
