"""How fast a model runs, with the speed that memory and disk allow beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sixgig.hardware import Bandwidth, usable_cores
from sixgig.inference import Engine
from sixgig.inference.request import PagingOptions
from sixgig.inference.sampling import MAX_SEED
from sixgig.jobs.door import door
from sixgig.jobs.lessons import Pace, learn
from sixgig.jobs.measuring import Phase, PhaseLimit, measure_disk, measure_memory, measure_phases
from sixgig.jobs.opening import Opening, RunStats, find_model, require_resources
from sixgig.jobs.reporter import Request
from sixgig.jobs.texts import drawn_tokens, read_text, text_tokens
from sixgig.planning import MemoryPlan
from sixgig.typed import at_least

TOKENS_WANTED = 32


@dataclass(frozen=True, kw_only=True)
class BenchRequest(Request):
    """model: a GGUF file or hf:OWNER/REPO[:QUANT|:FILE]; None is the demo in the package.
    ram: bytes for the whole process, by default what is free, less a margin.
    vram: use a GPU, with this much of its memory; by default none.
    prompt_tokens: read together, in parts of `ubatch`, by default 512.
    tokens: decoded after them, one by one.
    text: the file whose tokens are fed; by default random ones, half of them repeated, drawn by `seed`.
    paging: how experts are paged. threads: that compute, by default the performance cores that others leave
    free.
    reporter: who hears of progress and may cancel.

    Raises UsageError for what cannot be.
    """

    model: str | Path | None = field(default=None, kw_only=False)
    ram: int | None = None
    vram: int | None = None
    prompt_tokens: int = 512
    tokens: int = 64
    text: str | Path | None = None
    seed: int = 0
    paging: PagingOptions | None = None
    threads: int | None = None
    ubatch: int | None = None

    def __post_init__(self) -> None:
        """Refuse before anything is opened."""
        super().__post_init__()
        at_least(0, "--seed", self.seed, MAX_SEED)
        at_least(1, "--prompt-tokens", self.prompt_tokens)
        at_least(1, "--tokens", self.tokens)
        require_resources(self.ram, self.vram, self.threads, self.ubatch)

    @property
    def count(self) -> int:
        """Tokens fed in all."""
        return self.prompt_tokens + self.tokens


@dataclass(frozen=True)
class BenchResult:
    """prefill, decode: what was measured of the prompt and of decoding; their limits: what the bandwidths
    allow. memory, disk: these, the faster of before and after; disk is None where nothing was paged.

    tokens_from: the text's path, or the seed. notices: where figures are less than they seem.
    """

    prefill: Phase
    decode: Phase
    prefill_limit: PhaseLimit
    decode_limit: PhaseLimit
    memory: Bandwidth
    disk: Bandwidth | None
    tokens_from: str
    notices: tuple[str, ...]
    stats: RunStats = field(repr=False)


def _bench(request: BenchRequest) -> BenchResult:
    """Measure speed, and the speed that memory and disk allow.

    The limit is the time that this machine's bandwidths need for the weights that had to move. Every run
    feeds the same tokens, so that runs can be compared. From any thread, as score(), while nothing else
    works. What was measured is remembered for plan(). stats.counters are those of decoding.

    Raises UsageError, ModelFileError, BudgetError, ReadError, EngineError, Cancelled.
    """
    reporter, disks = request.listener, list[Bandwidth]()
    model = find_model(request.model, reporter)
    opening = Opening(
        model, request.ram, request.vram or 0, request.count, request.threads, request.ubatch, request.paging
    )
    text = None if request.text is None else read_text(Path(request.text), reporter)

    def measured_memory() -> Bandwidth:
        return measure_memory(opening.thread_count or usable_cores().performance, opening.budget_bytes)

    def on_plan(plan: MemoryPlan) -> None:
        if plan.mode == "paged":
            disks.append(measure_disk(model))

    # Bandwidths before and after, and the faster ones count: others share the machine. Memory's while no
    # model is loaded, so that its arrays are never held together with it.
    memories = [measured_memory()]
    with opening.open(reporter, on_plan) as opened:
        tokens = _tokens(request, opened.engine, text)
        with reporter.progress("measuring", begins=True) as progress:
            prefill, decode = measure_phases(opened.engine, tokens, request.prompt_tokens, progress)
        if disks:
            disks.append(measure_disk(model))
    memories.append(measured_memory())
    joules = decode.joules_per_token
    learn(opened, Pace(prefill.n_tokens, prefill.seconds, decode.n_tokens, decode.seconds, joules))
    memory, disk = _fastest(memories), _fastest(disks) if disks else None
    return BenchResult(
        prefill,
        decode,
        PhaseLimit.of(model, prefill, memory, disk),
        PhaseLimit.of(model, decode, memory, disk),
        memory,
        disk,
        f"seed {request.seed}" if text is None else str(request.text),
        tuple(_notices(request, decode)),
        opened.stats,
    )


bench = door(BenchRequest, _bench)


def _tokens(request: BenchRequest, engine: Engine, text: str | None) -> list[int]:
    if text is None:
        begin, _ = engine.vocabulary.frame  # llama-bench too begins with BOS where the model wants one
        return [*begin, *drawn_tokens(engine.vocabulary.size, request.count, request.seed)][: request.count]
    return text_tokens(engine, text, request.count)


def _notices(request: BenchRequest, decode: Phase) -> Iterator[str]:
    if request.text is None and decode.counters is not None:
        yield "hits are of random tokens, half of them repeated: measure those of text with --text"
    if decode.n_tokens < TOKENS_WANTED:
        wanted = f"{TOKENS_WANTED} are wanted for a speed to trust: --tokens"
        yield f"warning: decoding was timed on {decode.n_tokens} tokens, {wanted}"


def _fastest(measured: list[Bandwidth]) -> Bandwidth:
    return max(measured, key=lambda bandwidth: bandwidth.bytes_per_s)
