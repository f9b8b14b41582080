"""What quantising cost the demo model: perplexity of both files and the divergence between them.

    python -m bench.demo_quality pep-moe-31m-BF16.gguf sixgig/demo/pep-moe-31m.gguf TEXT [--windows N]

Windows of 512 tokens, no overlap, each scored from its second token; both models see the same tokens.
Stock engine, extra buffer types off.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sixgig.inference import Engine, EngineOptions

WINDOW = 512
Floats = NDArray[np.float32]


def log_probabilities(engine: Engine, window: list[int]) -> Floats:
    """Log-softmax after each token but the last, float32 [len(window) - 1, vocabulary]."""
    engine.clear()
    logits = engine.all_logits(window)[:-1]
    logits -= logits.max(axis=1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return logits


def scores(reference: Floats, ours: Floats, targets: list[int]) -> Floats:
    """Per token [4, n]: loss of the reference, loss of ours, KL divergence in nats, same first choice."""
    rows = np.arange(len(targets))
    divergence = (np.exp(reference) * (reference - ours)).sum(axis=1)
    same = reference.argmax(axis=1) == ours.argmax(axis=1)
    return np.stack([-reference[rows, targets], -ours[rows, targets], divergence, same])


def windows(engine: Engine, text: str, limit: int | None) -> Iterator[list[int]]:
    """The text's tokens, a window at a time."""
    tokens = engine.vocabulary.tokenize(text)
    for start in range(0, len(tokens) - WINDOW + 1, WINDOW)[:limit]:
        yield tokens[start : start + WINDOW]


def compare(source: Path, made: Path, text: str, limit: int | None) -> Floats:
    """Scores [4, n] over all windows."""
    options = EngineOptions(context=WINDOW, ubatch=WINDOW, extra_buffers=False, all_logits=True)
    with Engine(source, options) as reference, Engine(made, options) as ours:
        found = [
            scores(log_probabilities(reference, window), log_probabilities(ours, window), window[1:])
            for window in windows(ours, text, limit)
        ]
    return np.concatenate(found, axis=1)


def main() -> None:
    """Compare and print one row."""
    parser = argparse.ArgumentParser(description="Measure the demo model against its source.")
    parser.add_argument("source", type=Path, help="the trained model as GGUF in BF16")
    parser.add_argument("made", type=Path, help="the demo model")
    parser.add_argument("text", type=Path, help="text the model has not seen")
    parser.add_argument("--windows", type=int, help="at most this many windows")
    given = parser.parse_args()
    found = compare(given.source, given.made, given.text.read_text(), given.windows)
    reference, ours, divergence, same = found.mean(axis=1)
    print(f"tokens {found.shape[1]}  perplexity {np.exp(reference):.3f} -> {np.exp(ours):.3f}")
    print(f"KLD mean {divergence:.4f}  99% {np.quantile(found[2], 0.99):.3f}  same first choice {same:.1%}")


if __name__ == "__main__":
    main()
