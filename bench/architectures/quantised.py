"""Every architecture quantised as `sixgig shrink` does: `python -m bench.architectures.quantised`.

The generator's files and our tiny ones of what it skips (--part) are written in a plain type by
compress.write, then opened and evaluated by the library alone and here (paged, where there are experts), each
in a process of its own. Rows that are no whole blocks of the type get the next larger that fits. Each source
is also calibrated, scored against itself and disturbed, as shrinking does before it chooses types.
Markdown on stdout, rows with --json; about an hour on two cores.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from bench.architectures.description import write
from bench.architectures.generator import generate, parser
from bench.architectures.skipped_models import describe_tiny
from bench.architectures.skipped_settings import TINY
from bench.architectures.trying import Outcome, outcome
from sixgig.compress.choose import header_bytes, stored_bytes
from sixgig.compress.plain import plain_types
from sixgig.compress.write import Job, write_model
from sixgig.errors import SixgigError
from sixgig.modelfile import open_model
from sixgig.weights.stored import StoredWeights

KINDS = ("Q8_0", "Q4_K")
LOGITS, EMBEDS = "bench.architectures.job", "bench.architectures.serving_job"
CALIBRATED = "bench.architectures.calibration_job"
ORACLE = {LOGITS: "stock", EMBEDS: "plain"}  # what the library alone gives, by the job that asks it
METADATA: dict[str, object] = {"general.quantization_version": 2}


@dataclass(frozen=True)
class Source:
    """A file to quantise, in plain numbers. job: what evaluates it."""

    name: str
    path: Path
    job: str = LOGITS


@dataclass(frozen=True)
class CalibratedRow:
    """One file calibrated, scored and disturbed. unreached: matrices that no text reaches, without layers."""

    name: str
    perplexity: float = 0.0
    unreached: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class QuantisedRow:
    """One file in one type. share: of its weights that changed their type; in_kind: to this very one.
    sized: as predicted. bits: logits here and paged are stock's, and numbers. cosine: of the source's logits
    and these; random models amplify rounding, some even that of BF16. reason: what is not as it should be."""

    name: str
    kind: str
    share: float = 0.0
    in_kind: float = 0.0
    sized: bool = False
    bits: bool = False
    cosine: float = 0.0
    reason: str = ""


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status: 1 with an exception."""
    words = parser("python -m bench.architectures.quantised", __doc__, ("generated", "skipped"))
    options = words.parse_args(arguments)
    rows, calibrated = list[QuantisedRow](), list[CalibratedRow]()
    with TemporaryDirectory(prefix="architectures-") as folder:
        try:
            for source in _sources(options, Path(folder)):
                if options.only and source.name not in options.only:
                    continue
                whole = outcome("stock", source.path, source.job)
                rows += [_told(try_quantised(source, whole, kind)) for kind in KINDS]
                if source.job == LOGITS:
                    calibrated.append(_told(try_calibrated(source)))
        except SixgigError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    print(f"{show(rows)}\n\n{show_calibrated(calibrated)}")
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in (*rows, *calibrated)], indent=1) + "\n")
    return int(any(row.reason for row in (*rows, *calibrated)))


def _told(row: Any) -> Any:
    """A row, said on stderr as it comes."""
    print(f"{'SEE' if row.reason else 'ok '} {row}", file=sys.stderr, flush=True)
    return row


def _sources(options: argparse.Namespace, folder: Path) -> Iterator[Source]:
    """Files of the generator, then ours, one at a time."""
    if options.part != "skipped":
        for path in generate(options.files or folder, options.generator):
            yield Source(path.stem, path)
    if options.part != "generated":
        for number, (name, model) in enumerate(TINY.items()):
            if not model.refused:
                path = write(describe_tiny(model, "F32"), folder / f"{number}.gguf")
                yield Source(name, path, EMBEDS if model.embeds else LOGITS)
                path.unlink()


def try_quantised(source: Source, whole: Outcome, kind: str) -> QuantisedRow:
    """One file in one plain type. whole: what the library alone gives for the file as it is."""
    weights = StoredWeights(open_model(source.path))
    types = plain_types(weights, kind)
    with TemporaryDirectory(prefix="architectures-") as folder:
        made = Path(folder) / "quantised.gguf"
        write_model(Job(weights, types, lambda name: None, METADATA), made, threads=2)
        predicted = sum(stored_bytes(info, types[info.name]) for info in weights.tensors)
        sized = made.stat().st_size == header_bytes(weights, METADATA) + predicted
        stock = outcome("stock", made, source.job)
        work = "served" if source.job == EMBEDS else "paged" if weights.model.routed_bytes else "unpaged"
        here = outcome(work, made, source.job)
    n = sum(info.n_elements for info in weights.tensors)
    share = sum(i.n_elements for i in weights.tensors if types[i.name] != i.type) / n
    in_kind = sum(i.n_elements for i in weights.tensors if types[i.name].name == kind) / n
    failed = {"stock": stock.failure, "here": here.failure, "the source": whole.failure}
    if told := "; ".join(f"{who}: {failure}" for who, failure in failed.items() if failure):
        return QuantisedRow(source.name, kind, share, in_kind, sized, reason=told)
    different = [
        name
        for name, found in here.logits.items()
        if not np.array_equal(found, stock.logits["repacked" if name == "served" else ORACLE[source.job]])
    ]
    cosine = _cosine(*(one.logits[ORACLE[source.job]] for one in (whole, stock)))
    reasons = [
        "" if sized else f"{made.stat().st_size} bytes, {predicted} predicted",
        f"differs from stock: {', '.join(different)}" if different else "",
        "" if cosine else "logits that are no numbers",
    ]
    reason = "; ".join(filter(None, reasons))
    bits = bool(cosine) and not different
    return QuantisedRow(source.name, kind, share, in_kind, sized, bits, cosine, reason)


def try_calibrated(source: Source) -> CalibratedRow:
    """One file as `shrink` and `score` look at it."""
    found = outcome("calibrated", source.path, CALIBRATED)
    if found.failure:
        return CalibratedRow(source.name, reason=found.failure)
    facts = found.facts
    reasons = [
        "" if abs(facts["itself"]) < 1e-4 else f"diverges from itself by {facts['itself']} nats",
        "" if facts["disturbed"] else "noise in its products does not reach the end",
        "" if facts["within"] else "the moments take more than was said",
    ]
    told = "; ".join(filter(None, reasons))
    return CalibratedRow(source.name, facts["perplexity"], tuple(facts["unreached"]), told)


def show_calibrated(rows: Sequence[CalibratedRow]) -> str:
    """How many, what the text does not reach, and every exception."""
    good = sum(not row.reason for row in rows)
    lines = [f"Calibrated, scored and disturbed: {good} of {len(rows)}."]
    lines += [
        f"- {row.name} has matrices that no text reaches: {', '.join(row.unreached)}"
        for row in rows
        if row.unreached
    ]
    return "\n".join([*lines, *(f"- {row.name}: {row.reason}" for row in rows if row.reason)])


def show(rows: Sequence[QuantisedRow]) -> str:
    """Counts by type, what is stored in it, and every exception."""
    lines = ["| in | loads, decodes, same bits here | sized as predicted | files |", "|---|---|---|---|"]
    for kind in dict.fromkeys(row.kind for row in rows):
        some = [row for row in rows if row.kind == kind]
        counts = f"{sum(row.bits for row in some)} | {sum(row.sized for row in some)}"
        lines.append(f"| {kind} | {counts} | {len(some)} |")
    lines += [f"- {row.name} {row.kind}: {row.reason}" for row in rows if row.reason]
    return "\n".join(lines)


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    """0 where either holds what is no number."""
    found = float((a * b).sum() / np.sqrt(np.square(a).sum() * np.square(b).sum()))
    return found if np.isfinite(found) else 0.0


if __name__ == "__main__":
    sys.exit(main())
