"""The headers that tests/architectures keeps: `python -m bench.architectures.record --files FOLDER`.

Facts of the generator's headers, grown; what was generated is not kept.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench.architectures.description import describe
from bench.architectures.expand import expand, with_prediction
from bench.architectures.text import to_json

FOLDER = Path(__file__).resolve().parents[2] / "tests" / "architectures"
# Each for what it alone has; most have scales, many a selection bias in groups and a leading dense layer.
CHOSEN = {
    "arctic": "Q4_K",  # a dense part beside the experts, with a norm of their own
    "cohere2moe": "Q8_0",  # fused gate and up, sliding windows
    "deepseek2": "Q8_0",  # latent attention, fused gate and up, a layer that predicts
    "deepseek4": "Q4_K",  # a hash layer, hyper-connections
    "glm4moe": "Q4_K",  # a layer that predicts
    "gpt-oss": "Q4_K",  # biased experts and router, sinks
    "grovemoe": "Q8_0",  # smaller experts shared by several
    "hy_v3": "Q4_K",  # fused gate and up, a selection bias without an ending
    "k2-horizon": "Q8_0",  # experts of values inside attention
    "kimi-k3": "Q4_K",  # experts in a latent space
    "kimi-linear": "Q8_0",  # recurrent layers and latent attention
    "lfm2moe": "Q4_K",  # short convolutions
    "llama4": "Q8_0",  # every other layer, weighted before the experts
    "minimax-01": "Q8_0",  # linear attention whose scratch grows with the square of a prompt
    "qwen35moe": "Q4_K",  # recurrent layers, a gated shared expert
    "smallthinker": "Q8_0",  # a router that reads what attention reads
}


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.architectures.record", description=__doc__)
    parser.add_argument("--files", type=Path, required=True, help="a folder with the generator's files")
    options = parser.parse_args(arguments)
    for name, kind in CHOSEN.items():
        grown = expand(describe(options.files / f"{name}-moe.gguf"), kind)
        if name in ("deepseek2", "glm4moe"):
            grown = with_prediction(grown) or grown
        (FOLDER / f"{name}.json").write_text(to_json(grown))
    return 0


if __name__ == "__main__":
    sys.exit(main())
