"""`python -m bench.synthetic OUT --preset 600m [--experts 64 ...]`: write a synthetic model."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import fields, replace
from pathlib import Path

from bench.synthetic.shape import ARCHITECTURES, PRESETS, Dynamics, Shape
from bench.synthetic.writer import write_model

_NUMBERS = {
    "layers": "n_layers", "hidden": "n_embd", "experts": "n_experts", "top-k": "n_experts_used",
    "expert-width": "expert_width", "vocabulary": "n_vocab", "head-dim": "head_dim", "heads": "n_heads",
    "kv-heads": "n_kv_heads", "alignment": "alignment", "seed": "seed",
}  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    options = _parser().parse_args(arguments)
    shape = _shape(options)
    started = time.monotonic()
    try:
        size_bytes = write_model(shape, options.out, _show)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    seconds = time.monotonic() - started
    print(f"\r{options.out}: {size_bytes} bytes in {seconds:.1f} s", file=sys.stderr)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.synthetic", description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--preset", choices=PRESETS, default="600m")
    parser.add_argument("--architecture", choices=ARCHITECTURES)
    for option, field in _NUMBERS.items():
        parser.add_argument(f"--{option}", dest=field, type=int)
    parser.add_argument("--expert-type", dest="expert_type")
    parser.add_argument("--dense-type", dest="dense_type")
    for dial in fields(Dynamics):
        kind = int if dial.name == "topics" else float
        parser.add_argument(f"--{dial.name.replace('_', '-')}", dest=dial.name, type=kind)
    return parser


def _shape(options: argparse.Namespace) -> Shape:
    """The preset with every option given on the command line put over it."""
    given = {name: value for name, value in vars(options).items() if value is not None}
    preset = PRESETS[options.preset]
    dials = {f.name: given[f.name] for f in fields(Dynamics) if f.name in given}
    sizes = {f.name: given[f.name] for f in fields(Shape) if f.name in given}
    return replace(preset, **sizes, dynamics=replace(preset.dynamics, **dials))


def _show(done_bytes: int, total_bytes: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{100 * done_bytes // total_bytes:3d}%", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
