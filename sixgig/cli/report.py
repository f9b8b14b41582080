"""What a run says when it is over: lines for people, one document for programs."""

from __future__ import annotations

import codecs
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sixgig import __version__
from sixgig.cli.terminal import as_text
from sixgig.hardware import Peak
from sixgig.pager.pager import Counters
from sixgig.planning import MemoryPlan
from sixgig.units import format_bytes

if TYPE_CHECKING:
    from sixgig.cli.session import Session
    from sixgig.inference import Generation
    from sixgig.jobs.opening import RunStats
    from sixgig.jobs.work import ModelStats, Work

GB = 1e9


def closing_lines(stats: ModelStats) -> list[str]:
    """Speeds and mode, then memory against the budget."""
    speeds = f"{_speeds(stats.work)}; " if stats.work.n_texts else "nothing was asked; "
    return [speeds + mode_words(stats.plan, stats.counters), _peak_words(stats.plan, stats.peak)]


def broken_words(plan: MemoryPlan, peak: Peak) -> list[str]:
    """A line where the budget was not kept, else none."""
    over = peak.total_bytes - plan.ram_budget_bytes
    if over <= 0:
        return []
    return [f"The budget was passed by {format_bytes(over)}: this is a bug in sixgig, please report it."]


def cut_words(answer: Generation, context: int) -> list[str]:
    """A line where an answer was cut, else none."""
    if answer.finish == "length":
        return [f"the answer was cut after {len(answer.token_ids)} tokens: --max-tokens allows no more"]
    if answer.finish == "context":
        return [f"the answer was cut: the context of {context} tokens is full; raise --context"]
    return []


def mode_words(plan: MemoryPlan, counters: Counters | None) -> str:
    """Which mode ran, and what paging did."""
    if counters is None:
        return "unpaged, as stock llama.cpp"
    return (
        f"paged: {100 * counters.hit_rate:.1f}% hits, {counters.bytes_read / GB:.2f} GB read "
        f"({100 * plan.expert_cache_bytes / max(plan.routed_bytes, 1):.0f}% of the experts fit)"
    )


def memory_words(plan: MemoryPlan, peak: Peak) -> str:
    """Peak against prediction and budget; plain when the contract was broken."""
    return "\n".join([_peak_words(plan, peak), *broken_words(plan, peak)])


def _peak_words(plan: MemoryPlan, peak: Peak) -> str:
    return (
        f"peak memory {format_bytes(peak.total_bytes)} "
        f"({format_bytes(peak.owned_bytes)} owned, {format_bytes(peak.file_bytes)} program files), "
        f"predicted {format_bytes(plan.predicted_peak_bytes)}, budget {format_bytes(plan.ram_budget_bytes)}"
    )


def _speeds(work: Work) -> str:
    return (
        f"{work.tokens} tokens at {work.decode_tokens_per_s:.1f} tokens/s, "
        f"{work.prompt_tokens} of prompt at {work.prompt_tokens_per_s:.1f} tokens/s"
    )


def run_document(stats: ModelStats, session: Session) -> dict[str, Any]:
    """`sixgig run --json`: of the one answer. hit_rate and counters are null when nothing was paged."""
    answer, seed, found = session.answer, session.dialogue.seed, session.dialogue.sampling
    return {
        "text": answer.text,
        "reasoning": answer.reasoning,
        "token_ids": answer.token_ids,
        "finish": answer.finish,
        "prompt_tokens": answer.prompt_tokens,
        "prefill_tokens_per_s": answer.prefill_tokens_per_s,
        "prefill_s": answer.prefill_s,
        "decode_tokens_per_s": answer.decode_tokens_per_s,
        "decode_s": answer.decode_s,
        "load_s": stats.load_s,
        "seed": seed,
        "temperature": found.options.temperature,
        "sampling": {**asdict(found.options), "seed": seed},
        "sampling_from_file": found.taken,
        **paging_facts(stats),
        **facts(stats),
    }


def paging_facts(stats: RunStats) -> dict[str, Any]:
    """What the pager did; hit_rate and counters are null when nothing was paged."""
    return {
        "hit_rate": stats.hit_rate,
        "bytes_read": stats.bytes_read,
        "counters": stats.counters.to_json() if stats.counters else None,
    }


def facts(stats: RunStats) -> dict[str, Any]:
    """What documents of all verbs share: version, model, settings, plan and memory."""
    plan, peak, model, options = stats.plan, stats.peak, stats.model, stats.options
    return {
        "version": __version__,
        "model": {
            "name": model.name,
            "architecture": model.architecture,
            "paths": [str(path) for path in model.parts],
            "size_bytes": model.size_bytes,
        },
        "mode": plan.mode,
        "context": options.context,
        "threads": options.thread_count,
        "ubatch": options.ubatch,
        "peak_memory_bytes": peak.total_bytes,
        "peak_anonymous_bytes": peak.owned_bytes,
        "peak_file_bytes": peak.file_bytes,
        "predicted_peak_memory_bytes": plan.predicted_peak_bytes,
        "ram_budget_bytes": plan.ram_budget_bytes,
        "within_budget": peak.total_bytes <= plan.ram_budget_bytes,
        "plan": plan.to_json(),
    }


def write_json(document: Mapping[str, Any]) -> None:
    """The document on stdout, indented; the only thing there.

    UTF-8, or ASCII where stdout has another encoding or a name is no Unicode: every JSON reader takes both.
    """
    text = as_text(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))
    if not _passes(text):
        text = json.dumps(json.loads(text), indent=2, allow_nan=False)
    print(text, flush=True)


def _passes(text: str) -> bool:
    """Whether stdout writes it as UTF-8."""
    try:
        return codecs.lookup(sys.stdout.encoding or "utf-8").name == "utf-8" and bool(text.encode())
    except (LookupError, UnicodeEncodeError):
        return False
