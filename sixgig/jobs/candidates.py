"""Files on offer, each with its plan or why there is none, and which one to recommend. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import prod

from sixgig.errors import BudgetError, ModelFileError, SixgigError
from sixgig.hardware import Absent
from sixgig.modelfile import ModelFile, Offer
from sixgig.planning import Plan, Refusal, WorkPlan

LARGEST_LOSS = 0.3  # nats per token: a file known to lose more is not recommended where another runs
FAST_ENOUGH = 0.5  # of the fastest acceptable one: among those the one that loses least is recommended
READING_PACE = 5.0  # tokens per second: about as fast as people read
SAME_MODEL = 0.05  # files whose numbers of weights differ by less are quantisations of one model


@dataclass(frozen=True)
class Candidate:
    """A file that fits, and how it would be used. None where something is not known.

    explanation: how it would be used, and why a speed is not known.
    mode: "unpaged" or "paged"; of other work than running, that task. ram_bytes: the most held in main
    memory, beside which margin_bytes stay free. disk_bytes: routed experts that no memory holds; of other
    work, what is read. work_s: of a tuning step, or of shrinking. expected_kld: loss in nats per token, as
    published for the file's storage types. confirmed: the engine itself gave the bytes; else they are
    estimated from the header. alternatives: other ways to use the machine with this file, fastest first.
    """

    name: str
    quantisation: str
    size_bytes: int
    n_weights: int
    expected_kld: float | None
    mode: str
    ram_bytes: int
    margin_bytes: int
    disk_bytes: int
    explanation: str
    offer: Offer = field(repr=False)
    model: ModelFile = field(repr=False)
    plan: Plan | WorkPlan = field(repr=False)
    vram_bytes: int = 0
    decode_tokens_per_s: float | None = None
    prompt_tokens_per_s: float | None = None
    time_to_first_token_s: float | None = None
    work_s: float | None = None
    confirmed: bool = False
    alternatives: tuple[Candidate, ...] = field(default=(), repr=False)

    @classmethod
    def of(
        cls, offer: Offer, model: ModelFile, plan: Plan | WorkPlan, expected_kld: float | None
    ) -> Candidate:
        """The file with this plan."""
        planned = partial(
            cls,
            name=offer.name,
            quantisation=offer.quantisation,
            size_bytes=model.size_bytes,
            n_weights=sum(prod(tensor.shape) for tensor in model.tensors),
            expected_kld=expected_kld,
            explanation=plan.why(),
            offer=offer,
            model=model,
            plan=plan,
        )
        if isinstance(plan, WorkPlan):
            seconds = None if isinstance(plan.seconds, Absent) else plan.seconds
            kind, margin = plan.task.kind, plan.margin_bytes
            ram, disk = plan.predicted_peak_bytes, plan.read_bytes
            return planned(mode=kind, ram_bytes=ram, margin_bytes=margin, disk_bytes=disk, work_s=seconds)
        made = planned(
            mode=plan.memory.mode,
            ram_bytes=plan.memory.predicted_peak_bytes,
            margin_bytes=plan.memory.margin_bytes,
            vram_bytes=plan.memory.vram_bytes,
            disk_bytes=plan.memory.disk_bytes,
            confirmed=plan.confirmed,
        )
        if isinstance(plan.speed, Absent):
            return made
        return replace(
            made,
            decode_tokens_per_s=plan.speed.decode_tokens_per_s,
            prompt_tokens_per_s=plan.speed.prompt_tokens_per_s,
            time_to_first_token_s=plan.speed.time_to_first_token_s,
        )


@dataclass(frozen=True)
class Refused:
    """A file without a plan. model: None where its header cannot be read."""

    offer: Offer = field(repr=False)
    model: ModelFile | None = field(repr=False)
    error: SixgigError

    @property
    def size_bytes(self) -> int | None:
        """Of all its files; None where that is not known."""
        return self.model.size_bytes if self.model else self.offer.size_bytes


def recommended(candidates: Sequence[Candidate]) -> Candidate:
    """Of the largest model that is fast to read along: among files fast enough beside its fastest the one
    that loses least; files of no known loss by size. There is at least one.
    """
    same = _largest_model(candidates)
    good = [c for c in same if c.expected_kld is None or c.expected_kld <= LARGEST_LOSS] or same
    fastest = max(map(_pace, good))
    return min((c for c in good if _pace(c) >= FAST_ENOUGH * fastest), key=_loss)


def refusal(refused: Sequence[Refused]) -> SixgigError:
    """Of files that all have no plan: the error of the one that needs least, else of the first."""
    too_large = [one for one in refused if isinstance(one.error, BudgetError) and one.model]
    if not too_large:
        return refused[0].error if refused else ModelFileError("there is nothing to plan")
    smallest = min(too_large, key=lambda one: one.size_bytes or 0)
    error = smallest.error
    if len(refused) == 1:
        return error
    what = f"{error.what}, even as {smallest.offer.quantisation}"
    if isinstance(error, Refusal):
        known = error.tier, error.uses, error.context
        return Refusal(error.smallest_bytes, what, error.numbers, error.cure, *known)
    return BudgetError(what, error.numbers, error.cure)


def _largest_model(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The files of one model: that with the most weights of those at READING_PACE, else the fastest one's."""
    paced = [c for c in candidates if _pace(c) >= READING_PACE]
    leader = max(paced, key=lambda c: c.n_weights) if paced else max(candidates, key=_pace)
    return [c for c in candidates if abs(c.n_weights / leader.n_weights - 1) < SAME_MODEL]


def _pace(candidate: Candidate) -> float:
    return candidate.decode_tokens_per_s or 0.0


def _loss(candidate: Candidate) -> tuple[float, int]:
    kld = 1e-3 if candidate.expected_kld is None else candidate.expected_kld
    return kld, -candidate.size_bytes
