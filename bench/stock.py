"""One run of stock llama.cpp on a token file: `python -m bench.stock MODEL TOKENS [options]`.

Prints one line of JSON. Our backend is not loaded.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from math import inf
from pathlib import Path

from bench.forced import run_forced
from bench.plain import LOAD_MODES, PlainContext, Settings
from bench.tokens import read_tokens
from sixgig.errors import SixgigError


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    options = _parser().parse_args(arguments)
    settings = Settings(
        options.load_mode, options.extra_buffers == "on", options.threads, options.ubatch, options.context
    )
    try:
        print(json.dumps(_measure(options, settings)))
    except SixgigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _measure(options: argparse.Namespace, settings: Settings) -> dict[str, object]:
    tokens, started = read_tokens(options.tokens), time.perf_counter()
    with PlainContext(options.model, settings) as runner:
        load_seconds = time.perf_counter() - started
        figures = run_forced(runner, tokens, options.prompt, options.decode_seconds)
    return figures.as_json() | {"engine": "stock", "load_seconds": load_seconds, "settings": vars(settings)}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.stock", description=__doc__)
    parser.add_argument("--load-mode", choices=LOAD_MODES, default="mmap")
    parser.add_argument("--extra-buffers", choices=("on", "off"), default="off")
    add_run_options(parser)
    return parser


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Options that every engine's runner shares."""
    parser.add_argument("model", type=Path)
    parser.add_argument("tokens", type=Path)
    parser.add_argument("--prompt", type=int, default=64, help="tokens of the file that are the prompt")
    parser.add_argument("--decode-seconds", type=float, default=inf, help="stop decoding after this long")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--ubatch", type=int, default=512)
    parser.add_argument("--context", type=int, default=2048)


if __name__ == "__main__":
    sys.exit(main())
