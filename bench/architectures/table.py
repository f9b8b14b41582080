"""Rows as a table to be read: counts first, then every exception by name with its reason."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median

from bench.architectures.trying import DerivedRow, FileRow

MIB = 1 << 20


def show_files(rows: Sequence[FileRow]) -> str:
    """The generator's files."""
    ran = [row for row in rows if row.runs]
    counts = [
        ("runs here", len(ran), len(rows)),
        ("logits equal to stock's to the bit", sum(row.bits for row in rows), len(rows)),
        ("bytes held equal to the dry load's", sum(row.predicted for row in ran), len(ran)),
        ("peak within the plan", sum(row.within for row in ran), len(ran)),
    ]
    some = [row for row in ran if row.declared]
    title = "of declared families: context's bytes by the header alone equal to the engine's"
    counts.append((title, sum(row.header == "equal" for row in some), len(some)))
    lines = ["| of the generator's files | files | of |", "|---|---|---|"]
    lines += [f"| {what} | {count} | {of} |" for what, count, of in counts]
    if peaks := [(row.peak_bytes - row.predicted_bytes) / MIB for row in ran]:
        lines += ["", f"Peak less prediction: median {median(peaks):+.1f} MiB, most {max(peaks):+.1f} MiB."]
    return "\n".join([*lines, *_exceptions((row.name, row.reason) for row in rows)])


def show_derived(rows: Sequence[DerivedRow]) -> str:
    """Mixtures made of their headers, one count for each kind of file."""
    heads = ("equal to the bit", "experts absent", "routing varied", "peak within the plan", "all four", "of")
    lines = [f"| derived files | {' | '.join(heads)} |", "|---" * 7 + "|"]
    told = ("bits", "absent", "varied", "within", "proven")
    for kind in dict.fromkeys(row.kind for row in rows):
        some = [row for row in rows if row.kind == kind]
        counts = [sum(getattr(row, what) for row in some) for what in told]
        lines.append(f"| {kind} | {' | '.join(map(str, counts))} | {len(some)} |")
    lines += _exceptions((f"{row.name} {row.kind}", row.reason) for row in rows)
    fallen: dict[str, list[str]] = {}
    for row in rows:
        for note in row.notes:
            fallen.setdefault(note, []).append(row.name)
    notes = [f"- {note}: {', '.join(dict.fromkeys(names))}" for note, names in fallen.items()]
    return "\n".join([*lines, *(["", "Stored otherwise than asked:", *notes] if notes else [])])


def _exceptions(told: Iterable[tuple[str, str]]) -> list[str]:
    lines = [f"- {name}: {reason}" for name, reason in told if reason]
    return ["", "Exceptions:", *lines] if lines else ["", "No exceptions."]
