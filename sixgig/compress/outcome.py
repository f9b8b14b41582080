"""From a size to a file and what it cost: types searched, cuts tried, the better kept, all judged alike."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gguf import LlamaFileType

from sixgig.compress.choose import Recipe, header_bytes
from sixgig.compress.curve import Kind, LossPoint, curve_of
from sixgig.compress.measuring import Figures
from sixgig.compress.output import OutputFile
from sixgig.compress.plain import plain_file
from sixgig.compress.search import Candidate, best, search_cuts, search_types
from sixgig.compress.shrinker import METADATA, Shrinker, Variant, recipe_digest
from sixgig.compress.types import quantised_types
from sixgig.compress.workfolder import WorkFolder
from sixgig.errors import BudgetError, UsageError
from sixgig.evaluate import Ratio, paired_ratio
from sixgig.evaluate.intervals import WINDOWS_WANTED
from sixgig.units import format_bytes

_SPARE_BYTES = 64 << 20
_FILE_TYPES = {"Q2_K": "Q2_K", "Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M"}


@dataclass(frozen=True)
class MeasuredFile:
    """One file, judged on the held-out text. label: what is special about it among its kind, in words.
    bits_per_weight: of the file's own weights."""

    kind: Kind
    label: str
    size_bytes: int
    bits_per_weight: float
    figures: Figures

    def to_json(self) -> dict[str, Any]:
        """Plain values, without the kind."""
        figures = self.figures.to_json()
        n_windows = len(figures.pop("windows"))
        return {
            "label": self.label,
            "size_bytes": self.size_bytes,
            "bits_per_weight": self.bits_per_weight,
            **figures,
            "n_windows": n_windows,
        }

    def kld_ratio(self, other: MeasuredFile) -> Ratio | None:
        """The mean divergence over the other's, windows drawn in pairs; None where there are too few, or
        nothing to divide by."""
        one, two = self.figures.windows, other.figures.windows
        if len(one) < WINDOWS_WANTED or min(two) <= 0:
            return None
        return paired_ratio(one, two, range(len(one)))


@dataclass(frozen=True)
class Outcome:
    """output: the file made. plain: the plain file nearest below its size, None where none is that small.
    unpruned, pruned: the best of either kind on the text searched on, within the same size, one of them the
    output; pruned is None where nothing can be pruned. types: how many tensors have each."""

    output: MeasuredFile
    plain: MeasuredFile | None
    unpruned: MeasuredFile
    pruned: MeasuredFile | None
    types: Mapping[str, int]


def require_possible(shrinker: Shrinker, budget_bytes: int, out: Path) -> None:
    """UsageError or BudgetError for what cannot end well: a size out of reach, a full disk."""
    smallest, largest = shrinker.smallest_bytes(), shrinker.source.size_bytes
    if budget_bytes < smallest:
        raise BudgetError(
            f"the model cannot become as small as {format_bytes(budget_bytes)}",
            f"{format_bytes(smallest)} at least",
            f"try --size {-(-smallest // (1 << 20))}M",
        )
    if budget_bytes >= largest:
        raise UsageError(
            f"the model is that small already: {format_bytes(largest)}",
            f"{format_bytes(budget_bytes)} asked for",
            "ask for a smaller size",
        )
    needed = 2 * budget_bytes + _SPARE_BYTES + shrinker.reference_bytes
    free = shutil.disk_usage(out.parent).free
    if needed > free:
        raise BudgetError(
            f"no room on the disk of {out.parent}",
            f"{format_bytes(needed)} needed for the file, one to compare it with and the source's "
            f"predictions, {format_bytes(free)} free",
            "free some, or write to another disk",
        )


def shrink_to(shrinker: Shrinker, budget_bytes: int, out: OutputFile, prune: bool, rounds: int) -> Outcome:
    """Make `out`, at most `budget_bytes` large, and judge it beside its rivals."""
    whole = search_types(shrinker, budget_bytes, rounds)
    cut = best(search_cuts(shrinker, budget_bytes)) if prune else None
    winner = best(filter(None, [whole, cut])) or whole
    output = _made(shrinker, winner, out)
    outcome = Outcome(
        output=output,
        plain=_plain(shrinker, output.size_bytes),
        unpruned=output if whole == winner else _judged(shrinker, whole),
        pruned=None if cut is None else output if cut == winner else _judged(shrinker, cut),
        types=Counter(winner.recipe.types.values()),
    )
    _keep(shrinker.folder, outcome)
    return outcome


def measured_so_far(folder: WorkFolder) -> tuple[LossPoint, ...]:
    """All files of a source that were judged, in this run and before."""
    return curve_of(folder.load("results") or [])


def _keep(folder: WorkFolder, outcome: Outcome) -> None:
    """Add what was judged to what was before, each file once."""
    judged = filter(None, (outcome.plain, outcome.unpruned, outcome.pruned))
    rows = [*(folder.load("results") or []), *({"kind": file.kind, **file.to_json()} for file in judged)]
    folder.save(
        "results", list({(row["kind"], row["label"], row["size_bytes"]): row for row in rows}.values())
    )


def _made(shrinker: Shrinker, winner: Candidate, out: OutputFile) -> MeasuredFile:
    """Write the output, unless an earlier run did."""
    digest = recipe_digest(winner.variant, winner.recipe)
    if not out.holds(digest):
        metadata, label = _story(shrinker, winner), f"writing {out.path.name}"
        with out.writing(digest):
            shrinker.write(winner.variant, winner.recipe, out.path, label, metadata)
    figures = shrinker.judge.measure(out.path, f"judging {out.path.name}")
    return _measured(_kind(winner), winner.label, winner.variant, out.path, figures)


def _judged(shrinker: Shrinker, rival: Candidate) -> MeasuredFile:
    return _judge(shrinker, _kind(rival), rival.label, rival.variant, rival.recipe)


def _plain(shrinker: Shrinker, size_bytes: int) -> MeasuredFile | None:
    """The plain file nearest below a size; None where none is that small."""
    found = plain_file(shrinker.weights, size_bytes, header_bytes(shrinker.weights, METADATA))
    if found is None:
        return None
    return _judge(shrinker, Kind.PLAIN, found.label, shrinker.whole, found.recipe)


def _judge(shrinker: Shrinker, kind: Kind, label: str, variant: Variant, recipe: Recipe) -> MeasuredFile:
    """Of a file that is written for this and removed."""
    with shrinker.written(variant, recipe, label) as path:
        return _measured(kind, label, variant, path, shrinker.judge.measure(path, f"judging: {label}"))


def _measured(kind: Kind, label: str, variant: Variant, path: Path, figures: Figures) -> MeasuredFile:
    size_bytes, n_weights = path.stat().st_size, sum(info.n_elements for info in variant.weights.tensors)
    return MeasuredFile(kind, label, size_bytes, 8 * size_bytes / n_weights, figures)


def _kind(candidate: Candidate) -> Kind:
    return Kind.PRUNED if candidate.variant.cut else Kind.UNPRUNED


def _story(shrinker: Shrinker, candidate: Candidate) -> dict[str, object]:
    """How the file was made, in its metadata."""
    common = Counter(candidate.recipe.types.values()).most_common(1)[0][0]
    kind = getattr(LlamaFileType, "MOSTLY_" + _FILE_TYPES.get(common, common), None)
    return {
        "general.file_type": None if kind is None else int(kind),
        "sixgig.shrink.source": shrinker.source.parts[0].name,
        "sixgig.shrink.source_bytes": str(shrinker.source.size_bytes),
        "sixgig.shrink.source_quantised": ", ".join(quantised_types(shrinker.source)) or "no",
        "sixgig.shrink.structure": str(candidate.variant.cut or "whole"),
        "sixgig.shrink.calibration_tokens": shrinker.calibration.n_tokens,
        "sixgig.shrink.search_kld": candidate.figures.kld_mean,
        "sixgig.shrink.search_tokens": candidate.figures.n_tokens,
    }
