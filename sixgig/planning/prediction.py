"""Tokens per second, from a machine's rates and a placement."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from sixgig.hardware import Absent, Gpu, Machine
from sixgig.planning.anatomy import Anatomy, Layer
from sixgig.planning.budget import Mode
from sixgig.planning.hits import HitCurve
from sixgig.planning.learning import Lesson
from sixgig.planning.limit import distinct_experts
from sixgig.planning.placement import Placement
from sixgig.planning.rates import Rates, cpu_rates, gpu_rates
from sixgig.planning.speed import (
    READ_AHEAD_EXCESS,
    experts_decode_s,
    experts_prompt_s,
    head_decode_s,
    layer_decode_s,
    layer_prompt_s,
    together_s,
)
from sixgig.planning.task import Task

HOP_S = 60e-6  # per layer whose experts are computed elsewhere than the rest: two copies and their waiting


@dataclass(frozen=True)
class Speed:
    """decode_s: per token after the prompt; prompt_s: of the whole prompt, model loaded, no expert in memory.

    Both are uncorrected; the rates apply the lesson. hit_rate: of experts in main memory, None when unpaged.
    cycle_bytes: of all experts one token uses outside the GPU; disk_bytes_per_s: None when nothing is paged.
    joules_per_token: as metered in earlier runs of the model here.
    """

    decode_s: float
    prompt_s: float
    prompt_tokens: int
    hit_rate: float | None
    disk_bytes_per_token: float
    disk_s_per_token: float
    cycle_bytes: float
    disk_bytes_per_s: float | None
    lesson: Lesson
    nominal: bool
    joules_per_token: float | Absent

    @property
    def decode_tokens_per_s(self) -> float:
        """The rate after the prompt."""
        return 1.0 / (self.decode_s * self.lesson.decode_factor)

    @property
    def time_to_first_token_s(self) -> float:
        """The prompt, and the token after it."""
        return self.prompt_s * self.lesson.prompt_factor + self.decode_s * self.lesson.decode_factor

    @property
    def prompt_tokens_per_s(self) -> float:
        """The rate of the prompt."""
        return self.prompt_tokens / (self.prompt_s * self.lesson.prompt_factor)

    def disk_limit(self, hit_rate: float) -> float | None:
        """Tokens per second if the disk were all there is: every miss read, nothing else counted."""
        if self.disk_bytes_per_s is None or not self.cycle_bytes:
            return None
        return self.disk_bytes_per_s / (self.cycle_bytes * (1.0 - hit_rate))


@dataclass(frozen=True)
class Times:
    """Seconds by layer: all but the routed experts' products, and those."""

    dense: tuple[float, ...]
    experts: tuple[float, ...]


class Timetable:
    """What one processor takes, worked out once for all placements."""

    def __init__(self, model: Anatomy, rates: Rates, task: Task) -> None:
        self._model, self._rates, self._task = model, rates, task

    @cached_property
    def decode(self) -> Times:
        """One token after the prompt."""
        model, rates, position = self._model, self._rates, self._task.prompt
        return Times(
            tuple(layer_decode_s(model, layer, rates, self._task, position) for layer in model.layers),
            tuple(experts_decode_s(model, layer, rates) for layer in model.layers),
        )

    @cached_property
    def prompt(self) -> Times:
        """The whole prompt."""
        return Times(
            tuple(self._prompt_dense(layer) for layer in self._model.layers),
            tuple(self._prompt_experts(layer) for layer in self._model.layers),
        )

    @cached_property
    def head(self) -> float:
        """The last product, once."""
        return head_decode_s(self._model, self._rates)

    def _prompt_dense(self, layer: Layer) -> float:
        model, rates, task = self._model, self._rates, self._task
        return sum(layer_prompt_s(model, layer, rates, task, n, start + n / 2) for start, n in ubatches(task))

    def _prompt_experts(self, layer: Layer) -> float:
        return sum(experts_prompt_s(self._model, layer, self._rates, n) for _, n in ubatches(self._task))


def ubatches(task: Task) -> list[tuple[int, int]]:
    """(first position, tokens) of each evaluation of the prompt."""
    starts = range(0, task.prompt, task.batch)
    return [(start, min(task.batch, task.prompt - start)) for start in starts]


class Predictor:
    """Predicts any placement of one model on one machine."""

    def __init__(self, machine: Machine, model: Anatomy, task: Task, hits: HitCurve) -> None:
        self._machine, self._model, self._task, self._hits = machine, model, task, hits
        self._tables: dict[str, Timetable | Absent] = {}

    def speed(self, placement: Placement, mode: Mode, cache_share: float, lesson: Lesson) -> Speed | Absent:
        """cache_share: of the experts in main memory and on disk, what the cache holds (1 when unpaged)."""
        host = self._table("repacked" if mode == "unpaged" else "plain", None)
        device = self._table("gpu", placement.gpu) if placement.gpu else host
        disk = self._disk_bytes_per_s() if mode == "paged" else None
        if isinstance(host, Absent):
            return host
        if isinstance(device, Absent):
            return device
        if isinstance(disk, Absent):
            return disk
        return self._speed(placement, host, device, disk, cache_share, lesson)

    def _speed(
        self,
        placement: Placement,
        host: Timetable,
        device: Timetable,
        disk_bytes_per_s: float | None,
        cache_share: float,
        lesson: Lesson,
    ) -> Speed:
        """disk_bytes_per_s None: nothing is paged."""
        paged, read_ahead = disk_bytes_per_s is not None, self._task.read_ahead
        hit_rate = self._hits.at(cache_share) if paged else 1.0
        cycle = self._host_share(placement) * self._model.cycle_bytes
        missed = cycle * (1.0 - hit_rate)
        disk_s = missed * (READ_AHEAD_EXCESS if read_ahead else 1.0) / (disk_bytes_per_s or 1.0)
        prompt_disk_s = (
            self._prompt_bytes(placement, cache_share) / disk_bytes_per_s if disk_bytes_per_s else 0.0
        )
        all_layers = placement.n_layers == len(self._model.layers)
        head = device.head if all_layers else host.head
        decode = self._total(placement, host.decode, device.decode, 1) + head
        prompt = self._total(placement, host.prompt, device.prompt, self._task.prompt)
        return Speed(
            decode_s=together_s(decode, disk_s, read_ahead),
            prompt_s=together_s(prompt, prompt_disk_s, read_ahead=True),
            prompt_tokens=self._task.prompt,
            hit_rate=hit_rate if paged else None,
            disk_bytes_per_token=missed,
            disk_s_per_token=disk_s,
            cycle_bytes=cycle,
            disk_bytes_per_s=disk_bytes_per_s,
            lesson=lesson,
            nominal=isinstance(self._machine.kernels, Absent),
            joules_per_token=self._joules(lesson),
        )

    def _joules(self, lesson: Lesson) -> float | Absent:
        if lesson.joules_per_token is not None:
            return lesson.joules_per_token
        if any(not isinstance(meter.reads, Absent) for meter in self._machine.meters):
            return Absent("no run of this model has been metered here yet")
        return Absent("no energy counter of this machine can be read")

    def _table(self, kind: str, gpu: Gpu | None) -> Timetable | Absent:
        if kind not in self._tables:
            rates = gpu_rates(gpu) if gpu else cpu_rates(self._machine, repacked=kind == "repacked")
            table = rates if isinstance(rates, Absent) else Timetable(self._model, rates, self._task)
            self._tables[kind] = table
        return self._tables[kind]

    def _disk_bytes_per_s(self) -> float | Absent:
        """The disk's rate at the size of one expert's part in one tensor."""
        disk = self._machine.disk
        if isinstance(disk, Absent):
            return Absent(f"the disk: {disk.reason}")
        return disk.bytes_per_s(self._model.cycle_bytes / max(self._model.n_pieces, 1))

    def _total(self, placement: Placement, host: Times, device: Times, n_tokens: int) -> float:
        """All layers where they are placed, and their experts where those are."""
        first = len(self._model.layers) - placement.n_layers
        first_expert = len(self._model.layers) - placement.n_expert_layers
        dense = sum(host.dense[:first]) + sum(device.dense[first:])
        experts = sum(device.experts[first_expert:]) + sum(host.experts[:first_expert])
        if placement.expert_cache_bytes:
            experts = self._through_cache(placement, device, n_tokens)
        hops = sum(bool(layer.routed) for layer in self._model.layers[first:first_expert])
        return dense + experts + HOP_S * hops

    def _through_cache(self, placement: Placement, device: Times, n_tokens: int) -> float:
        """All experts on the GPU, those that its cache lacks moved over its link first."""
        link = placement.gpu.link_bytes_per_s if placement.gpu else 0.0
        if isinstance(link, Absent) or not link:
            return math.inf
        hit = self._hits.at(placement.expert_cache_bytes / self._model.routed_bytes)
        moved = min(n_tokens * self._model.cycle_bytes * (1.0 - hit), self._model.routed_bytes)
        return sum(device.experts) + moved / link

    def _host_share(self, placement: Placement) -> float:
        """Of the experts, those that main memory and disk hold."""
        return placement.host_routed_bytes(self._model) / max(self._model.routed_bytes, 1)

    def _prompt_bytes(self, placement: Placement, cache_share: float) -> float:
        """What a prompt reads: its first ubatch finds nothing in the cache, the others what that holds."""
        n_experts, used = self._model.model.n_experts, self._model.model.n_experts_used
        shares = [distinct_experts(n_experts, used, n) / n_experts for _, n in ubatches(self._task)]
        missed = shares[0] + sum(share * (1.0 - cache_share) for share in shares[1:])
        return placement.host_routed_bytes(self._model) * missed
