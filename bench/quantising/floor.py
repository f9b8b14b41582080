"""The floor that rounding activations sets: what quantised products lose with weights that lose nothing.

    python -m bench.quantising.floor MODEL TEXT FOLDER [--windows N]

For each type MODEL is written in it, and again in F32 with the very same values. Both files hold equal
weights; ggml multiplies the first with inputs rounded to 8 bits. The divergence between them is what no
choice of types can go below while it uses such types everywhere.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from sixgig.compress.measuring import Yardstick
from sixgig.compress.plain import plain_types
from sixgig.compress.shrinker import CONTEXT
from sixgig.compress.types import can_be_quantised
from sixgig.compress.write import Job, write_model
from sixgig.evaluate import cut
from sixgig.jobs.shrink_engines import BudgetedEngines
from sixgig.jobs.texts import read_text
from sixgig.modelfile import TYPE_BY_NAME, open_model
from sixgig.weights.stored import StoredWeights

TYPES = ("Q8_0", "Q6_K", "Q5_K", "Q4_K")


def write_pair(model: Path, kind: str, folder: Path, threads: int) -> tuple[Path, Path]:
    """The model in one type, and the values it then has in F32."""
    source, small, wide = (
        StoredWeights(open_model(model)),
        folder / f"{kind}.gguf",
        folder / f"{kind}-F32.gguf",
    )
    types = plain_types(source, kind)
    write_model(Job(source, types, lambda name: None, {}), small, threads)
    rounded = StoredWeights(open_model(small))
    types = {
        info.name: TYPE_BY_NAME["F32"] if can_be_quantised(info) else info.type for info in rounded.tensors
    }
    write_model(Job(rounded, types, lambda name: None, {}), wide, threads)
    return small, wide


def floor(model: Path, text: str, kind: str, folder: Path, limit: int | None) -> float:
    """Nats a token."""
    engines = BudgetedEngines()
    small, wide = write_pair(model, kind, folder, engines.threads)
    source = open_model(wide)
    with engines.open(source, CONTEXT) as opened:
        windows = cut(opened.tokenize(text), CONTEXT, opened.bos, limit)
    base = folder / f"{kind}.logits"
    yardstick = Yardstick(engines, source, windows, base)
    yardstick.prepare(kind)
    found = yardstick.measure(small, kind).kld_mean
    for path in (small, wide, base):
        path.unlink()
    return found


def main() -> None:
    """A line for each type."""
    parser = argparse.ArgumentParser(description="Measure what rounding activations costs.")
    parser.add_argument("model", type=Path, help="a GGUF model in BF16")
    parser.add_argument("text", type=Path, help="any text")
    parser.add_argument("folder", type=Path, help="an existing folder for the files")
    parser.add_argument("--windows", type=int, default=40, help="at most this many windows")
    given = parser.parse_args()
    for kind in TYPES:
        loss = floor(given.model, read_text(given.text), kind, given.folder, given.windows)
        print(f"{kind:5} {loss:.6f} nats a token", flush=True)


if __name__ == "__main__":
    main()
