"""The demo model run twice on one text: with a quarter of its experts in memory, and with all of them."""

from __future__ import annotations

from dataclasses import dataclass

from sixgig.inference import Generation, Sampler, SamplingOptions, abort_on_interrupt, generate
from sixgig.inference.request import PagingOptions
from sixgig.jobs.door import door
from sixgig.jobs.opening import Opening, RunStats, find_model
from sixgig.jobs.reporter import Request
from sixgig.modelfile import ModelFile
from sixgig.planning import Use, footprint

PROMPT = "PEP: 9999\nTitle: "
N_TOKENS, CONTEXT = 96, 512
_CONTEXT_USES = Use.KV_CACHE, Use.COMPUTE_BUFFERS, Use.KERNEL_SCRATCH, Use.READ_AHEAD


@dataclass(frozen=True)
class DemoMemory:
    """Bytes by use, which add up to the measured peak but for on_disk_bytes: experts not in memory.

    As planned; of the experts as it came. The program is what the peak holds besides.
    """

    experts_bytes: int
    other_weights_bytes: int
    context_bytes: int
    paging_bytes: int
    program_bytes: int
    on_disk_bytes: int


@dataclass(frozen=True)
class DemoRun:
    """One of the two runs, over."""

    stats: RunStats
    answer: Generation

    @property
    def memory(self) -> DemoMemory:
        """Where its bytes were."""
        model, plan, counters = self.stats.model, self.stats.plan, self.stats.counters
        total = model.routed_bytes
        resident = min(counters.peak_resident_bytes, total) if counters else total
        context, paging = plan.held_bytes(*_CONTEXT_USES), plan.held_bytes(Use.EXPERT_GROUPS)
        held = (resident, model.dense_bytes, context, paging)
        program = max(0, self.stats.peak_memory_bytes - sum(held))
        return DemoMemory(*held, program, total - resident)


@dataclass(frozen=True)
class DemoResult:
    """Both runs. same: every token agrees. n_equal: tokens that agree, from the first on."""

    paged: DemoRun
    whole: DemoRun

    @property
    def same(self) -> bool:
        """See above."""
        return self.paged.answer.token_ids == self.whole.answer.token_ids

    @property
    def n_equal(self) -> int:
        """See above."""
        pairs = zip(self.paged.answer.token_ids, self.whole.answer.token_ids, strict=False)
        return next((i for i, (left, right) in enumerate(pairs) if left != right), N_TOKENS)


@dataclass(frozen=True)
class DemoRequest(Request):
    """Nothing but who hears of it."""


def _demo(request: DemoRequest) -> DemoResult:
    """Run the demo model paged and whole. Raises BudgetError where there is no memory even for that."""
    model = find_model(None)
    quarter = PagingOptions(always=True, cache_bytes=footprint.resident_bytes(model) // 4)
    # Paged first, so that its memory owes nothing to the other.
    paged = _run(model, quarter, "with a quarter of its experts in memory", request)
    return DemoResult(paged, _run(model, PagingOptions(), "with all of them", request))


def _run(model: ModelFile, paging: PagingOptions, words: str, request: DemoRequest) -> DemoRun:
    request.listener.say(f"running the demo model {words} ...")
    with Opening(model, context=CONTEXT, paging=paging, extra_buffers=False).open() as opened:
        engine = opened.engine
        sampler = Sampler(engine, SamplingOptions(temperature=0))
        pieces = generate(engine, engine.vocabulary.prompt(PROMPT), N_TOKENS, sampler, ignore_end=True)
        with abort_on_interrupt(engine):
            for _ in pieces:
                request.listener.check()
    return DemoRun(opened.stats, pieces.result)


demo = door(DemoRequest, _demo)
