"""Makes the mixture and tells what it is: `python -m bench.mixture OUT.gguf`.

SmolLM2's feed-forward is copied into experts (at first the logits are the dense model's), then routers and
experts are trained a little. The same arguments, threads and text give the same file. On stdout one document
of JSON, on stderr how it goes. Held-out perplexity, routing and paging are all of the same held-out text.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from time import monotonic
from typing import Any

from bench.fixtures import DEFAULT, FIXTURES, fetch
from bench.mixture import figures
from bench.mixture.routers import first_routers
from bench.mixture.text import read_text
from bench.mixture.train import Training, split, train
from bench.mixture.upcycle import upcycle
from sixgig.compress.merge import merge
from sixgig.errors import SixgigError
from sixgig.hardware import process_memory
from sixgig.llamacpp import let_threads_sleep
from sixgig.modelfile import ModelFile, open_model
from sixgig.units import parse_size

FITTED = 512  # tokens that the first routers are fitted to


def say(line: str) -> None:
    """How it goes."""
    print(line, file=sys.stderr, flush=True)


def make(given: argparse.Namespace) -> dict[str, Any]:
    """The mixture, and what it is."""
    began_s = monotonic()
    dense = open_model(given.dense or fetch(FIXTURES[DEFAULT], say))
    text = read_text(dense, given.text)
    tokens = [token for piece in text.learnt for token in piece][:FITTED]
    routers = first_routers(dense, tokens, given.experts, given.seed, given.threads)
    training = Training(given.steps, given.rate, given.rank, given.seed, given.threads, parse_size(given.ram))
    with tempfile.TemporaryDirectory(dir=given.out.parent) as folder:
        start = open_model(upcycle(dense, routers, given.used, Path(folder, "start.gguf")))
        found = {"text_sha256": text.sha256, "start": _start(dense, start, text, given)}
        lora, progress = train(start, text, training, say)
        experts, routers = split(lora, routers, start)
        routed = open_model(upcycle(dense, routers, given.used, Path(folder, "routed.gguf")))
        types = merge(routed, experts, given.out, given.threads, name="experts of bench.mixture")
    found["training"] = {
        "losses": progress.losses,
        "held_out": progress.held_out,
        "seconds": progress.seconds,
        "tokens": progress.tokens,
        "types": sorted({kind.name for kind in types.values()}),
    }
    mixture = open_model(given.out)
    found["trained"] = _told(mixture, text, given) | {"size_bytes": mixture.size_bytes}
    found["paging"] = figures.paging(mixture, text, given.tokens, given.threads, parse_size(given.ram))
    return found | {"seconds": monotonic() - began_s, "peak_bytes": process_memory().peak_bytes}


def _start(dense: ModelFile, start: ModelFile, text: Any, given: argparse.Namespace) -> dict[str, Any]:
    tokens = text.held_out_tokens[: figures.COMPARED]
    both = (figures.logits_of(model, tokens, given.threads) for model in (dense, start))
    found = _told(start, text, given)
    found["dense"] = figures.perplexity(dense, text, given.windows, given.threads)
    return found | {"logits_against_dense": figures.apart(*both)}


def _told(model: ModelFile, text: Any, given: argparse.Namespace) -> dict[str, Any]:
    score = figures.perplexity(model, text, given.windows, given.threads)
    say(f"{model.name}: held-out perplexity {score['perplexity']:.3f}")
    return score | {"routing": figures.routing(model, text, given.tokens, given.threads)}


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.mixture",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("out", type=Path, help="where the mixture goes")
    parser.add_argument("--dense", type=Path, help="a dense llama GGUF; SmolLM2-135M-Instruct without it")
    parser.add_argument("--text", type=Path, help="a text to learn; the Python manual's topics without it")
    parser.add_argument("--experts", type=int, default=8)
    parser.add_argument("--used", type=int, default=2, help="experts of a token")
    parser.add_argument("--steps", type=int, default=24, help="of 1,024 tokens each")
    parser.add_argument("--rate", type=float, default=1e-3, help="the learning rate's peak")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--ram", default="6G", help="for training and for running, each")
    parser.add_argument("--windows", type=int, default=12, help="of 512 tokens of held-out text, scored")
    parser.add_argument("--tokens", type=int, default=384, help="of held-out text that are routed and paged")
    given = parser.parse_args(arguments)
    let_threads_sleep()
    try:
        print(json.dumps(make(given)))
    except (SixgigError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
