"""Token streams with locality: Zipf within a topic, topics that last a while, and repeats of recent tokens.

`python -m bench.tokens MODEL OUT --count 512` writes one token id per line. The dials' defaults, on the
generator's presets, give hit rates like published routers' (see `bench.verify_routing`).
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.synthetic.vocabulary import FIRST_TOKEN
from sixgig.errors import SixgigError, UsageError
from sixgig.modelfile import open_model

TOPICS_KEY = "synthetic.topics"


@dataclass(frozen=True)
class Stream:
    """topic_tokens: mean length of a topic. repeat_share: part of all tokens that are drawn evenly from
    the last `repeat_window`. zipf: exponent of the ranks within a topic."""

    n_vocab: int
    topics: int
    topic_tokens: float = 24.0
    repeat_share: float = 0.5
    repeat_window: int = 16
    zipf: float = 1.0

    def draw(self, count: int, seed: int) -> list[int]:
        """`count` token ids; the same for the same seed."""
        rng = np.random.default_rng(seed)
        per_topic = (self.n_vocab - FIRST_TOKEN) // self.topics
        weights = np.arange(1, per_topic + 1, dtype=np.float64) ** -self.zipf
        weights /= weights.sum()
        topic, ids = int(rng.integers(self.topics)), list[int]()
        for _ in range(count):
            if rng.random() < 1 / self.topic_tokens:
                topic = int(rng.integers(self.topics))
            if ids and rng.random() < self.repeat_share:
                ids.append(ids[-1 - int(rng.integers(min(self.repeat_window, len(ids))))])
            else:
                ids.append(FIRST_TOKEN + topic + self.topics * int(rng.choice(per_topic, p=weights)))
        return ids


def stream_for(model_path: Path) -> Stream:
    """The stream with the topics a synthetic model was made with; any other model counts as one topic."""
    model = open_model(model_path)
    return Stream(model.n_vocab, model.metadata.integer(TOPICS_KEY) or 1)


def read_tokens(path: Path) -> list[int]:
    """Token ids of a file, one per line. Raises UsageError."""
    try:
        return [int(line) for line in path.read_text().split()]
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read tokens from {path}", str(error), "one token id per line") from error


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.tokens", description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=512)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    try:
        ids = stream_for(options.model).draw(options.count, options.seed)
    except SixgigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    options.out.write_text("".join(f"{token}\n" for token in ids))
    return 0


if __name__ == "__main__":
    sys.exit(main())
