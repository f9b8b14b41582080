"""The kernels of one nominal core: `python -m bench.nominal [--threads 2] [--rounds 3]`.

Prints the rows of sixgig/planning/nominal.py: each speed the median over rounds, divided by the threads.
Meant for an otherwise idle machine with AVX2.
"""

from __future__ import annotations

import argparse
import sys
from statistics import median

from sixgig.hardware import Kernels, KernelSpeed
from sixgig.inference.kernels import measure_kernels

FIELDS = ("decode", "prompt", "repacked_decode", "repacked_prompt")


def one_core(found: list[Kernels]) -> Kernels:
    """Medians, for one thread; a row costs one thread what it cost all, times their number."""
    threads = found[0].threads
    speeds = tuple(
        _median(same, threads) for same in zip(*(kernels.speeds for kernels in found), strict=True)
    )
    step_s, row_s = (median(getattr(kernels, name) for kernels in found) for name in ("step_s", "row_s"))
    return Kernels(found[0].engine, 1, step_s, row_s * threads, found[0].row_width, speeds)


def _median(same: tuple[KernelSpeed, ...], threads: int) -> KernelSpeed:
    values = (median(getattr(speed, field) for speed in same) / threads for field in FIELDS)
    return KernelSpeed(same[0].type, *values)


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.nominal", description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    core = one_core([measure_kernels(options.threads) for _ in range(options.rounds)])
    print(f"    step_s={core.step_s:.1e},\n    row_s={core.row_s:.1e},\n    row_width={core.row_width},")
    for speed in core.speeds:
        values = ", ".join(f"{getattr(speed, f) / 1e9:.2f}e9" for f in FIELDS)
        print(f'        KernelSpeed("{speed.type}", {values}),')
    return 0


if __name__ == "__main__":
    sys.exit(main())
