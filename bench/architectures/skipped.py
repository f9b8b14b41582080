"""Architectures that the engine's own generator skips, each on a tiny model of our own: a table.

    python -m bench.architectures.skipped [NAME...] [--json FILE]

The oracle is the pinned wheel alone on the path; equal means to the last bit. Each model is opened in
processes of its own, for some end theirs. Status 1 where something differs that should not.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from bench.architectures.description import Description, write
from bench.architectures.job import SHARES
from bench.architectures.skipped_models import Tiny, describe_tiny
from bench.architectures.skipped_settings import TINY, UNTESTED
from bench.architectures.trying import Outcome, outcome, try_derived, try_file

KINDS = ("Q8_0", "Q4_K")
SERVING = "bench.architectures.serving_job"
_TRIED = "a tiny file of ours"


@dataclass(frozen=True)
class SkippedRow:
    """One model. equal: logits, or embeddings, are the oracle's; served: so is what a served engine answers;
    held: bytes equal the dry load's; within: the peak is within the plan; paged: equal at every size of
    cache, with evictions, in KINDS. None: not to be had. why_not: what was said instead, by the engine alone
    and here. refused: as it is meant to be.
    """

    name: str
    evidence: str = _TRIED
    runs: bool = False
    equal: bool | None = None
    served: bool | None = None
    held: bool | None = None
    within: bool | None = None
    paged: bool | None = None
    why_not: str = ""
    refused: bool = False

    @property
    def holds(self) -> bool:
        """Whether nothing is otherwise than it should be."""
        facts = (self.equal, self.served, self.held, self.within, self.paged)
        return self.runs is not self.refused and False not in facts


def main(arguments: list[str] | None = None) -> int:
    """Print the table; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.architectures.skipped")
    parser.add_argument("names", nargs="*", metavar="NAME", help="models of the table; all by default")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    asked = parser.parse_args(arguments)
    if unknown := [name for name in asked.names if name not in TINY]:
        parser.error(f"there is no {unknown[0]!r} in the table; known: {'; '.join(TINY)}")
    rows = []
    for name in asked.names or TINY:
        rows.append(tried(name))
        print(f"{'ok  ' if rows[-1].holds else 'SEE '}{name} {rows[-1].why_not}", file=sys.stderr, flush=True)
    if not asked.names:
        rows += [
            SkippedRow(name, "none: untested", why_not=why, refused=True) for name, why in UNTESTED.items()
        ]
    print(markdown(rows))
    if asked.json is not None:
        asked.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    return 0 if all(row.holds for row in rows) else 1


def tried(name: str) -> SkippedRow:
    """The row of one model."""
    model = TINY[name]
    described = {kind: describe_tiny(model, kind) for kind in (KINDS if model.is_mixture else KINDS[:1])}
    with TemporaryDirectory(prefix="skipped-") as folder:
        paths = {
            kind: write(one, Path(folder) / f"{model.architecture}-{kind}.gguf")
            for kind, one in described.items()
        }
        row = (_embeddings if model.embeds else _logits)(name, model, paths, described)
    return replace(
        row, refused=bool(model.refused), why_not="; ".join(filter(None, (model.refused, row.why_not)))
    )


def _logits(name: str, model: Tiny, paths: dict[str, Path], described: dict[str, Description]) -> SkippedRow:
    files = [try_file(path) for path in paths.values()]
    why_not = next((row.reason for row in files if row.reason), "")
    if not all(row.runs for row in files):
        return SkippedRow(name, why_not=why_not)
    alone, ours = (
        outcome(f"{whose} text", next(iter(paths.values())), SERVING) for whose in ("stock", "served")
    )
    why_not = why_not or alone.failure or ours.failure
    paged = None
    if model.is_mixture:
        derived = [try_derived(name, kind, one) for kind, one in described.items()]
        paged = all(row.proven for row in derived)
        why_not = why_not or next((row.reason for row in derived if row.reason), "")
    return SkippedRow(
        name,
        runs=True,
        equal=all(row.bits for row in files),
        served=None if alone.failure else _tokens(alone, ours),
        held=all(row.predicted for row in files),
        within=all(row.within for row in files),
        paged=paged,
        why_not=why_not,
    )


def _embeddings(
    name: str, model: Tiny, paths: dict[str, Path], _described: dict[str, Description]
) -> SkippedRow:
    asked = [[outcome(work, path, SERVING) for work in ("stock", "served")] for path in paths.values()]
    if failures := [one.failure for pair in asked for one in pair if one.failure]:
        return SkippedRow(name, why_not=failures[0])
    facts = [served.facts for _stock, served in asked]
    paged = None
    if model.is_mixture:
        in_process = [outcome("paged", path, SERVING) for path in paths.values()]
        served_paged = (_same(stock, "plain", served, "paged") for stock, served in asked)
        paged = all(served_paged) and all(_paged_alike(one) for one in in_process)
    return SkippedRow(
        name,
        runs=True,
        equal=(equal := all(_same(stock, "repacked", served, "served") for stock, served in asked)),
        served=equal,
        held=all(one["dry"] == one["held"] for one in facts),
        within=all(one["peak_bytes"] <= one["predicted_bytes"] + one["margin_bytes"] for one in facts),
        paged=paged,
    )


def _tokens(alone: Outcome, ours: Outcome) -> bool:
    return not ours.failure and np.array_equal(alone.logits["tokens"], ours.logits["tokens"])


def _same(one: Outcome, its: str, other: Outcome, others: str) -> bool:
    """Equal to the bit, numbers, and another vector for each text."""
    a = one.logits[its]
    different = all((a[0] != row).any() for row in a[1:])
    return bool(different and np.isfinite(a).all() and np.array_equal(a, other.logits[others]))


def _paged_alike(one: Outcome) -> bool:
    return not one.failure and all(
        np.array_equal(one.logits[share], one.logits["unpaged"]) and one.facts[share]["evictions"] > 0
        for share in SHARES
    )


def markdown(rows: Iterable[SkippedRow]) -> str:
    """The table."""
    head = ("architecture", "evidence", "runs", "stock's bits", "served", "bytes", "peak", "paged", "why not")
    lines = [head, ("---",) * len(head)]
    for row in rows:
        facts = (_word(fact) for fact in (row.equal, row.served, row.held, row.within, row.paged))
        lines.append((row.name, row.evidence, "yes" if row.runs else "no", *facts, row.why_not))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _word(holds: bool | None) -> str:
    return "-" if holds is None else "yes" if holds else "NO"


if __name__ == "__main__":
    sys.exit(main())
