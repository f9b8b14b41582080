"""The comparison as a table: medians with their range, ratios, and the physical limit beside them."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from bench.peers import OURS
from sixgig.units import format_bytes, format_rate

Runs = Sequence[dict[str, Any]]


def show(result: dict[str, Any]) -> str:
    """The whole report as text."""
    runs = {name: [run for run in each if "error" not in run] for name, each in result["runs"].items()}
    done: dict[str, Runs] = {name: each for name, each in runs.items() if each}
    task = result["task"]
    lines = [
        f"{result['model']}: {format_bytes(result['model_bytes'])}, "
        f"budget {format_bytes(task['ram_bytes'])}, cgroup limit {format_bytes(task['limit_bytes'])}",
        f"plain reads of this file: {_rates(result['disk_bandwidth_bytes_per_s'])}",
        _columns("", "decode tokens/s", "prompt tokens/s", "anonymous", "file", "tokens"),
    ]
    lines += [_row(name, each) for name, each in done.items()]
    lines += [f"{name:14s}not run: {reason}" for name, reason in result["failed"].items()]
    lines += _ratios(done)
    lines += [line for name in OURS if name in done for line in _paging(name, done[name], result)]
    return "\n".join(lines)


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median and range: "1.20 (1.10-1.31)"."""
    return f"{median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def _row(name: str, runs: Runs) -> str:
    decode = spread([run["decode_tokens_per_s"] for run in runs], 3)
    prefill = spread([run["prefill_tokens_per_s"] for run in runs], 1)
    anonymous, file = (
        format_bytes(max(run[f"cgroup_peak_{kind}_bytes"] for run in runs)) for kind in ("anonymous", "file")
    )
    tokens = min(len(run["token_seconds"]) for run in runs)
    return _columns(name, decode, prefill, anonymous, file, str(tokens))


def _columns(name: str, decode: str, prefill: str, anonymous: str, file: str, tokens: str) -> str:
    return f"{name:14s}{decode:>24s}{prefill:>26s}{anonymous:>12s}{file:>12s}{tokens:>8s}"


def _ratios(done: dict[str, Runs]) -> list[str]:
    """Ours over each stock setting, round by round; then over the best one's median."""
    stock = {name: runs for name, runs in done.items() if name not in OURS}
    if "ours" not in done or not stock:
        return []
    lines = []
    for figure, title in (("decode_tokens_per_s", "decode"), ("prefill_tokens_per_s", "prompt")):
        for name, runs in stock.items():
            pairs = zip(done["ours"], runs, strict=False)
            lines.append(f"{title}: ours / {name} = {spread([a[figure] / b[figure] for a, b in pairs])}")
        best = max(median(run[figure] for run in runs) for runs in stock.values())
        lines.append(f"{title}: ours / best stock = {median(r[figure] for r in done['ours']) / best:.2f}")
    lines += [f"logits against {name}: {agreement(done['ours'], runs)}" for name, runs in stock.items()]
    return lines


def agreement(ours: Runs, theirs: Runs) -> str:
    """How far the logits of the first runs are bit-equal."""
    pairs = list(zip(ours[0]["logits_digests"], theirs[0]["logits_digests"], strict=False))
    same = sum(a == b for a, b in pairs)
    return f"{same} of {len(pairs)} positions bit-equal"


def _paging(name: str, runs: Runs, result: dict[str, Any]) -> list[str]:
    """Hit rate, bytes and the physical limit of our runs, where the pager counted."""
    lines = []
    predicted = [run["predicted_peak_memory_bytes"] for run in runs if run["predicted_peak_memory_bytes"]]
    if predicted:
        actual = max(run["cgroup_peak_bytes"] for run in runs)
        lines.append(f"{name}: peak {format_bytes(actual)}, predicted {format_bytes(max(predicted))}")
    counted = [run for run in runs if run["decode_counters"].get("bytes_read")]
    if counted:
        lines += _limit(name, counted, median(result["disk_bandwidth_bytes_per_s"]))
    return lines


def _limit(name: str, runs: Runs, disk_bytes_per_s: float) -> list[str]:
    """The floor of one token: computing, plus its misses at the disk's plain speed."""
    counters = [run["decode_counters"] for run in runs]
    tokens = [len(run["token_seconds"]) for run in runs]
    hits = [c["hits"] / max(1, c["hits"] + c["misses"]) for c in counters]
    read = median(c["bytes_read"] / n for c, n in zip(counters, tokens, strict=True))
    compute = median(c.get("compute_s", 0.0) / n for c, n in zip(counters, tokens, strict=True))
    actual = median(1 / run["decode_tokens_per_s"] for run in runs)
    floor = compute + read / disk_bytes_per_s
    reading = [c["bytes_read"] / c["read_s"] for c in counters if c.get("read_s")]
    return [
        f"{name}: hit rate {spread(hits)}, {format_bytes(read)} a token, {_rates(reading)} while reading",
        f"{name}: {actual:.3f} s per token = {actual / floor:.2f} x the floor of {floor:.3f} s "
        f"(computing {compute:.3f} s, then misses at the disk's plain speed)",
    ]


def _rates(values: Sequence[float]) -> str:
    if not values:
        return "not measured"
    return f"{format_rate(median(values))} ({format_rate(min(values))} to {format_rate(max(values))})"
