"""One file tried against the library alone, each in a process of its own; what came of it as a row."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.architectures.description import Description, describe, write
from bench.architectures.job import SHARES
from sixgig.families import family

ROOT = Path(__file__).resolve().parents[2]
LONGEST_S = 180.0
_TELLING = re.compile(r"GGML_ASSERT|GGML_ABORT|what\(\):|^error: ")
_PLACE = re.compile(r"^(?:.*/)?([\w.-]+\.\w+:\d+: )")


@dataclass(frozen=True)
class Outcome:
    """What a process said and computed, or why it did not."""

    facts: Mapping[str, Any]
    logits: Mapping[str, NDArray[np.float32]]
    failure: str = ""


@dataclass(frozen=True)
class FileRow:
    """One of the generator's files. `header`: its context's bytes by the header alone: "equal", or what not.

    declared: its family has a file of its own, so that they should be equal. A failure in one process is said
    by who failed; `bits` and the rest are False then.
    """

    name: str
    declared: bool
    runs: bool
    bits: bool
    predicted: bool
    header: str
    within: bool
    peak_bytes: int
    predicted_bytes: int
    reason: str = ""


@dataclass(frozen=True)
class DerivedRow:
    """A mixture made of one's header, at three sizes of cache.

    absent: experts were evicted and read again, and never more resident than the cache may hold, which is not
    all; varied: every layer used more experts than one token uses; within: the peak within the plan.
    """

    name: str
    kind: str
    bits: bool
    absent: bool
    varied: bool
    within: bool
    size_bytes: int
    evictions: tuple[int, ...]
    fewest_distinct: int
    notes: tuple[str, ...] = ()
    reason: str = ""

    @property
    def proven(self) -> bool:
        """Whether this row says all that it should."""
        return self.bits and self.absent and self.varied and self.within


def try_file(path: Path) -> FileRow:
    """The file as it is, unpaged."""
    stock, ours = outcome("stock", path), outcome("unpaged", path)
    if ours.failure:
        declared = family(describe(path).architecture).declared
        return FileRow(path.stem, declared, *(False,) * 3, "", False, 0, 0, _both(stock, ours))
    bits = not stock.failure and _equal(stock.logits["stock"], ours.logits["unpaged"])
    facts = ours.facts
    within = _within(facts)
    header = _header_says(facts)
    predicted = facts["dry"] == facts["opened"] == facts["held"]
    reasons = [
        stock.failure and f"stock: {stock.failure}",
        "" if bits or stock.failure else f"differs from stock: {_difference(stock, ours)}",
        "" if predicted else _unforeseen(facts),
        header if facts["declared"] and header != "equal" else "",
        "" if within else f"peak {facts['peak_bytes']}, predicted {facts['predicted_bytes']}",
    ]
    return FileRow(
        path.stem,
        facts["declared"],
        True,
        bits,
        predicted,
        header,
        within,
        facts["peak_bytes"],
        facts["predicted_bytes"],
        "; ".join(reason for reason in reasons if reason),
    )


def try_derived(name: str, kind: str, description: Description) -> DerivedRow:
    """The described mixture, written, paged at every share, and gone again."""
    with TemporaryDirectory(prefix="architectures-") as folder:
        path = write(description, Path(folder) / f"{name}-{kind.replace(' ', '-')}.gguf")
        size_bytes = path.stat().st_size
        stock, ours = outcome("stock", path), outcome("paged", path)
    if stock.failure or ours.failure:
        reason = _both(stock, ours)
        return DerivedRow(name, kind, *(False,) * 4, size_bytes, (), 0, description.notes, reason)
    expected = stock.logits["stock"]
    different = [size for size, found in ours.logits.items() if not _equal(expected, found)]
    sizes = [ours.facts[share] for share in SHARES]
    absent = all(
        one["evictions"] > 0
        and one["bytes_read"] > 0
        and one["cache_bytes"] < ours.facts["routed_bytes"]
        and one["peak_resident_bytes"] <= one["cache_bytes"]
        for one in sizes
    )
    within = all(_within(one) for one in sizes)
    fewest = min((min(one["distinct"].values(), default=0) for one in sizes), default=0)
    used = int(np.max(description.get("expert_used_count")))
    reasons = [
        f"differs from stock: {', '.join(different)}" if different else "",
        "" if fewest else "the engine's graph never uses the experts of this file",
        "" if absent or not fewest else f"nothing was read again: {[one['evictions'] for one in sizes]}",
        "" if fewest > used or not fewest else f"{fewest} experts were used in all",
        "" if within else f"peaks {[(one['peak_bytes'], one['predicted_bytes']) for one in sizes]}",
    ]
    return DerivedRow(
        name,
        kind,
        not different,
        absent,
        fewest > used,
        within,
        size_bytes,
        tuple(one["evictions"] for one in sizes),
        fewest,
        description.notes,
        "; ".join(reason for reason in reasons if reason),
    )


def outcome(work: str, path: Path, job: str = "bench.architectures.job") -> Outcome:
    """The job's `work` on a file."""
    with TemporaryDirectory(prefix="architectures-") as folder:
        logits = Path(folder) / "logits.npz"
        order = json.dumps({"work": work, "path": str(path), "logits": str(logits)})
        try:
            done = subprocess.run(
                [sys.executable, "-m", job],
                input=order,
                capture_output=True,
                text=True,
                errors="replace",
                cwd=ROOT,
                env=os.environ | {"GGML_NO_BACKTRACE": "1", "OMP_WAIT_POLICY": "passive"},
                timeout=LONGEST_S,
            )
        except subprocess.TimeoutExpired:
            return Outcome({}, {}, f"not done after {LONGEST_S:.0f} s")
        if done.returncode:
            return Outcome({}, {}, _last_words(done.returncode, done.stderr))
        with np.load(logits) as stored:
            return Outcome(json.loads(done.stdout), {name: stored[name] for name in stored.files})


def _within(facts: Mapping[str, Any]) -> bool:
    return bool(facts["peak_bytes"] <= facts["predicted_bytes"] + facts["margin_bytes"])


def _last_words(status: int, said: str) -> str:
    """The assertion that failed, what was thrown or our own error; else how it ended."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    told = [line for line in lines if _TELLING.search(line)]
    if told:
        return _PLACE.sub(r"\1", told[-1]).removeprefix("error: ")[:300]
    ended = signal.Signals(-status).name if status < 0 else f"status {status}"
    return f"{ended}: {lines[-1][:200]}" if lines else ended


def _both(stock: Outcome, ours: Outcome) -> str:
    told = {"stock": stock.failure, "here": ours.failure}
    return "; ".join(f"{who}: {failure}" for who, failure in told.items() if failure)


def _unforeseen(facts: Mapping[str, Any]) -> str:
    """Which bytes of which buffer were others than the dry load's."""
    told = []
    for dry, *later in zip(facts["dry"], facts["opened"], facts["held"], strict=True):
        for kind, foreseen in dry.items():
            opened, held = (one[kind] for one in later)
            if not foreseen == opened == held:
                told.append(
                    f"{dry['buffer']} {kind}: dry load {foreseen}, opened {opened}, in the end {held}"
                )
    return "; ".join(told)


def _header_says(facts: Mapping[str, Any]) -> str:
    header = facts["header"]
    if isinstance(header, str):
        return header
    dry = facts["dry_context_bytes"]
    return "equal" if header == dry else f"context of {header} bytes by the header, {dry} by the engine"


def _equal(a: NDArray[np.float32], b: NDArray[np.float32]) -> bool:
    """To the bit, and numbers that say something."""
    return bool(np.isfinite(a).all() and a.std() > 0 and np.array_equal(a, b))


def _difference(stock: Outcome, ours: Outcome) -> str:
    a, b = stock.logits["stock"], ours.logits["unpaged"]
    if not np.isfinite(a).all():
        return "stock's own logits are no numbers"
    return f"{np.abs(a - b).max()} at most" if a.std() > 0 else "stock's own logits are all equal"
