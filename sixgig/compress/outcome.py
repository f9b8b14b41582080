"""From a size to a file and what it cost: types searched, cuts tried, the better kept, all judged alike."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from gguf import LlamaFileType

from sixgig.compress.choose import Recipe, header_bytes
from sixgig.compress.measuring import Figures
from sixgig.compress.plain import plain_file
from sixgig.compress.search import search_types
from sixgig.compress.shrinker import METADATA, Candidate, Shrinker, digest
from sixgig.compress.types import quantised_types
from sixgig.compress.workfolder import WorkFolder
from sixgig.errors import BudgetError, UsageError
from sixgig.evaluate import Ratio, paired_ratio
from sixgig.evaluate.intervals import WINDOWS_WANTED
from sixgig.modelfile.content import ContentFile, files_digest
from sixgig.pruning.proposals import Proposal, proposals
from sixgig.units import format_bytes
from sixgig.weights.cut import CutWeights, cut_importance
from sixgig.weights.stored import Importance, Weights

_SPARE_BYTES = 64 << 20
_FILE_TYPES = {"Q2_K": "Q2_K", "Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M"}


@dataclass(frozen=True)
class Row:
    """One file, judged on the held-out text. bits_per_weight: of the file's own weights."""

    label: str
    size_bytes: int
    bits_per_weight: float
    figures: Figures

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        figures = asdict(self.figures)
        n_windows = len(figures.pop("windows"))
        return {
            "label": self.label,
            "size_bytes": self.size_bytes,
            "bits_per_weight": self.bits_per_weight,
            **figures,
            "n_windows": n_windows,
        }

    def kld_ratio(self, other: Row) -> Ratio | None:
        """The mean divergence over the other's, windows drawn in pairs; None where there are too few, or
        nothing to divide by."""
        one, two = self.figures.windows, other.figures.windows
        if len(one) < WINDOWS_WANTED or min(two) <= 0:
            return None
        return paired_ratio(one, two, range(len(one)))


@dataclass(frozen=True)
class Outcome:
    """output: the file made. plain: the plain file nearest below its size. unpruned, pruned: the best of
    either kind on the text searched on, within the same size, one of them the output; pruned is None where
    nothing can be pruned."""

    output: Row
    plain: Row | None
    unpruned: Row
    pruned: Row | None
    types: Mapping[str, int]


@dataclass(frozen=True)
class Option:
    """A candidate with the weights it is of."""

    candidate: Candidate
    weights: Weights
    importance: Importance


def require_possible(shrinker: Shrinker, budget_bytes: int, out: Path) -> None:
    """UsageError or BudgetError for what cannot end well: a size out of reach, a full disk."""
    smallest, largest = shrinker.smallest_bytes(shrinker.weights), shrinker.source.size_bytes
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


def shrink_to(
    shrinker: Shrinker, budget_bytes: int, out: Path, prune: bool, rounds: int, say: Callable[[str], object]
) -> Outcome:
    """Make `out`, at most `budget_bytes` large, and judge it beside its rivals."""
    options = [
        Option(search_types(shrinker, budget_bytes, rounds, say), shrinker.weights, shrinker.importance)
    ]
    if prune:
        options += pruned_options(shrinker, budget_bytes, say)
    ranked = sorted(options, key=lambda option: option.candidate.figures.kld_mean)
    winner, unpruned = ranked[0], options[0]
    pruned = min(options[1:], key=lambda option: option.candidate.figures.kld_mean, default=None)
    made = _final(shrinker, winner, out)
    rivals = {id(winner): made}
    outcome = Outcome(
        output=made,
        plain=_plain(shrinker, out.stat().st_size),
        unpruned=rivals.get(id(unpruned)) or _judged(shrinker, unpruned),
        pruned=None if pruned is None else rivals.get(id(pruned)) or _judged(shrinker, pruned),
        types=Counter(winner.candidate.recipe.types.values()),
    )
    shrinker.folder.save("results", _with(shrinker.folder.load("results") or [], outcome))
    return outcome


def _with(results: list[dict[str, Any]], outcome: Outcome) -> list[dict[str, Any]]:
    """What was measured of this source before and now, each file once: rows with their `kind`."""
    rows = {(row["kind"], row["label"], row["size_bytes"]): row for row in results}
    for kind in ("plain", "unpruned", "pruned"):
        row: Row | None = getattr(outcome, kind)
        if row is not None:
            rows[kind, row.label, row.size_bytes] = {"kind": kind, **row.to_json()}
    return list(rows.values())


def pruned_options(shrinker: Shrinker, budget_bytes: int, say: Callable[[str], object]) -> list[Option]:
    """Each proposal with the best types for the same bytes; what does not fit or load is left out."""
    folder, found = shrinker.folder.path("foldings"), []
    folder.mkdir(exist_ok=True)
    for proposal in proposals(shrinker.weights, shrinker.calibration, folder):
        try:
            found.append(_option(shrinker, proposal, budget_bytes))
        except (BudgetError, UsageError) as error:
            say(f"{proposal.label}: left out: {error}")
        else:
            say(f"{proposal.label}: {found[-1].candidate.figures.kld_words}")
    return found


def _option(shrinker: Shrinker, proposal: Proposal, budget_bytes: int) -> Option:
    with shrinker.phase(f"cutting: {proposal.label}"):
        cut = proposal.make()
    weights, importance = CutWeights(shrinker.weights, cut), cut_importance(shrinker.importance, cut)
    whole = {
        name: distortion
        for name, distortion in shrinker.distortions.items()
        if name not in cut.tensors and name not in cut.replaced
    }
    name = "distortions-" + "-".join(proposal.label.split())
    distortions = shrinker.distortions_of(weights, importance, name, whole)
    recipe = shrinker.recipe(weights, distortions, budget_bytes)
    return Option(shrinker.try_out(proposal.label, recipe, weights, importance), weights, importance)


def require_new(out: Path, work: WorkFolder) -> None:
    """UsageError where `out` exists, unless this very job wrote it, and nobody anything there since."""
    note = work.load(_note(out))
    if out.exists() and note != "begun" and not _is_noted(out, note):
        raise UsageError(f"{out} exists", cure="remove it, or name another file with -o")


def _note(out: Path) -> str:
    """Under which what was written to `out` is noted."""
    return f"written-{out.name[:80]}-{sha256(str(out.resolve()).encode()).hexdigest()[:16]}"


def _is_noted(out: Path, note: Any) -> bool:
    """Whether `out` is the file that the note tells of, as it was written."""
    return isinstance(note, dict) and out.is_file() and note.get("file") == _file_digest(out)


def _file_digest(path: Path) -> str:
    return files_digest([ContentFile(path)])


def _final(shrinker: Shrinker, winner: Option, out: Path) -> Row:
    """Write the output, unless an earlier run did."""
    candidate, key = winner.candidate, _note(out)
    wanted, note = digest(candidate.label, candidate.recipe), shrinker.folder.load(key)
    if not _is_noted(out, note) or note["recipe"] != wanted:
        shrinker.folder.save(key, "begun")  # from here on a file of that name is this job's
        metadata = {**METADATA, **_story(shrinker, candidate)}
        shrinker.write(
            candidate.recipe, out, f"writing {out.name}", winner.weights, winner.importance, metadata
        )
        shrinker.folder.save(key, {"recipe": wanted, "file": _file_digest(out)})
    figures = shrinker.judge.measure(out, f"judging {out.name}")
    return _row(candidate.label, out.stat().st_size, winner.weights, figures)


def _judged(shrinker: Shrinker, option: Option) -> Row:
    recipe = option.candidate.recipe
    return _judge(shrinker, option.candidate.label, recipe, option.weights, option.importance)


def _judge(shrinker: Shrinker, label: str, recipe: Recipe, weights: Weights, importance: Importance) -> Row:
    """Of a file that is written for this and removed."""
    path = shrinker.folder.path("rival.gguf")
    shrinker.write(recipe, path, f"writing: {label}", weights, importance)
    figures, size = shrinker.judge.measure(path, f"judging: {label}"), path.stat().st_size
    path.unlink()
    return _row(label, size, weights, figures)


def _row(label: str, size: int, weights: Weights, figures: Figures) -> Row:
    return Row(label, size, 8 * size / sum(info.n_elements for info in weights.tensors), figures)


def _plain(shrinker: Shrinker, size: int) -> Row | None:
    """The plain file nearest below a size; None where none is that small."""
    found = plain_file(shrinker.weights, size, header_bytes(shrinker.weights, METADATA))
    if found is None:
        return None
    return _judge(shrinker, found.label, found.recipe, shrinker.weights, shrinker.importance)


def _story(shrinker: Shrinker, candidate: Candidate) -> dict[str, object]:
    """How the file was made, in its metadata."""
    common = Counter(candidate.recipe.types.values()).most_common(1)[0][0]
    kind = getattr(LlamaFileType, "MOSTLY_" + _FILE_TYPES.get(common, common), None)
    return {
        "general.file_type": None if kind is None else int(kind),
        "sixgig.shrink.source": shrinker.source.parts[0].name,
        "sixgig.shrink.source_bytes": str(shrinker.source.size_bytes),
        "sixgig.shrink.source_quantised": ", ".join(quantised_types(shrinker.source)) or "no",
        "sixgig.shrink.structure": candidate.label if candidate.label else "whole",
        "sixgig.shrink.calibration_tokens": shrinker.calibration.n_tokens,
        "sixgig.shrink.search_kld": candidate.figures.kld_mean,
        "sixgig.shrink.search_tokens": candidate.figures.n_tokens,
    }
