"""How a model is tuned within a budget: what is held, what is read again each step, what stays.

The step visits half a layer at a time, so its memory is one visit's weights and activations, what entered
each visit, and the adapter; the rest of the budget keeps weights that are then read only once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import prod

from sixgig.families import Role, blocks
from sixgig.modelfile.counts import Counts
from sixgig.planning.anatomy import Anatomy, Layer
from sixgig.planning.budget import TUNING, Budgets, MemoryPlan, Needs, fit
from sixgig.planning.footprint import expert_width
from sixgig.planning.needs import ProcessBytes
from sixgig.planning.pieces import Piece, Pieces, pieces_of
from sixgig.planning.uses import Need, Tier, Use
from sixgig.units import format_bytes

STATE_BYTES = 20  # per trained weight: itself, its gradient, two moments, its best value so far
LOGITS_ELEMENTS, LEAST_ROWS = 4 << 20, 64  # finetune/head.py: of a chunk of logits
DEQUANTISING_BYTES = 8  # per element, at most: as stored, and 3.5 while it is unpacked on a GPU
# Of small blocks that were freed: finetune/footing.py; by what a visit takes, where that is less. A GPU's
# allocator keeps more. As measured: LOG.md.
KEPT_BYTES, KEPT_TIMES, DEVICE_KEPT_BYTES = 64 << 20, 1.5, 160 << 20
LATE_FILE_BYTES = 4 << 20  # pages of libraries that only training touches
# What the driver and PyTorch's kernels take of a GPU, and of main memory after planning; as measured: LOG.md.
DRIVER_BYTES, KERNELS_BYTES = 768 << 20, 448 << 20
_F32_BYTES = 4
# Values a token leaves in the graph of a visit: by width of all heads, by what a gate adds to them, by output
# of its matrices, by width of the stream. Measured: LOG.md.
HEADS_VALUES, GATE_VALUES, RECURRENT_VALUES, FEED_FORWARD_VALUES = 9.0, 3.0, 5.5, 3.0
STREAM_VALUES, MIXTURE_STREAM_VALUES = 2.0, 8.0
# finetune/experts.py: MOST_ROWS, HELD_ELEMENTS; at worst all tokens choose one expert.
EXPERT_ROWS, HELD_ELEMENTS = 2048, 8 << 20


@dataclass(frozen=True)
class Batch:
    """tokens: of a step at most; micro_tokens: of a micro-batch at most; n_weights: trained."""

    tokens: int
    micro_tokens: int
    n_weights: int


@dataclass(frozen=True)
class TuningPlan(MemoryPlan):
    """room_bytes: for reading ahead. stays: pieces kept after they were read once. n_on_disk: visits whose
    inputs go to disk. read_bytes: from disk in each step but the first.
    """

    room_bytes: int
    stays: frozenset[Piece]
    n_on_disk: int
    read_bytes: int
    stream_bytes: int

    def with_peak(self, taken_bytes: int) -> TuningPlan:
        """With what was taken at once before, where it is more than will be."""
        more = taken_bytes - self.predicted_peak_bytes
        return replace(self, needs=(*self.needs, Need(Use.READING_DATA, more))) if more > 0 else self

    def explain(self) -> str:
        """A line of summary, then one per use."""
        head = (
            f"{format_bytes(self.predicted_peak_bytes)} predicted peak, "
            f"{format_bytes(self.margin_bytes)} margin, {format_bytes(self.ram_budget_bytes)} budget; "
            f"{format_bytes(self.read_bytes)} read in each step"
        )
        places = ((Tier.RAM, ""), (Tier.VRAM, "  of the GPU"))
        lines = [
            f"  {need.use.label:<24} {format_bytes(need.size_bytes):>12}{where}"
            for tier, where in places
            for need in self.at(tier)
        ]
        return "\n".join([head, *lines])


def plan_tuning(
    model: Anatomy,
    batch: Batch,
    process: ProcessBytes,
    ram_bytes: int,
    vram_bytes: int | None = None,
    spread_bytes: int = 0,
) -> TuningPlan:
    """The plan that reads least; Refusal with the smallest budget that works, ModelFileError for a family
    whose blocks nobody declares.

    vram_bytes: of the GPU that computes, None where the processor does. spread_bytes: as Needs has it.
    """
    pieces = pieces_of(model)
    n_visits, stream = len(pieces.visits), _F32_BYTES * batch.tokens * model.model.n_embd
    least, everything = _least_room(pieces), _all(pieces)
    fixed = (
        Need(Use.PROCESS, process.anonymous_bytes),
        Need(Use.PROGRAM_FILES, process.file_bytes + LATE_FILE_BYTES, "file"),
        *_working(model, pieces, batch, vram_bytes is not None),
    )
    needs = Needs((*fixed, Need(Use.WORKING_WEIGHTS, least)), spread_bytes=spread_bytes)
    fitted = fit([needs], Budgets(ram_bytes, vram_bytes or 0), TUNING)
    spare = fitted.budgets.room(Tier.RAM) - fitted.predicted_peak_bytes
    in_memory = min(n_visits, spare // stream)
    spare -= in_memory * stream
    more = min(spare, max(0, _pleasant_room(pieces) - least))
    if _held(everything) <= spare + least:
        least = more = 0
        stays = frozenset(everything)
    else:
        stays = _spread(everything, spare - more)
    needs_chosen = (
        *fixed,
        Need(Use.VISIT_INPUTS, in_memory * stream),
        Need(Use.WORKING_WEIGHTS, min(least + more, _held(set(everything) - stays))),
        Need(Use.STAYING_WEIGHTS, _held(stays)),
    )
    read = sum(piece.size_bytes for piece in pieces.step() if piece not in stays)
    return TuningPlan(
        fitted.mode, fitted.budgets, needs_chosen, least + more, stays, n_visits - in_memory, read, stream
    )


def adapter_weights(model: Anatomy, rank: int) -> int:
    """Weights of low-rank adapters on attention and on dense and shared feed-forward matrices."""
    tuned = (Role.ATTENTION, Role.LINEAR_ATTENTION, Role.SHARED_EXPERT, Role.FEED_FORWARD)
    found = (t for layer in model.layers for t in layer.dense if t.role in tuned and len(t.shape) == 2)
    return sum(rank * (tensor.shape[0] + tensor.shape[1]) for tensor in found)


def _working(model: Anatomy, pieces: Pieces, batch: Batch, on_device: bool) -> tuple[Need, ...]:
    """What no choice makes smaller: it lies where the arithmetic is done."""
    vectors = _F32_BYTES * sum(prod(tensor.shape) for tensor in pieces.vectors)
    visit = _most_visit_bytes(model, batch)
    kept = DEVICE_KEPT_BYTES if on_device else min(KEPT_BYTES, int(KEPT_TIMES * visit))
    sizes = {
        Use.TRAINED_WEIGHTS: STATE_BYTES * batch.n_weights,
        Use.VECTORS: vectors,
        Use.MATRIX: _F32_BYTES * pieces.largest_matrix,
        Use.STREAM: 2 * _F32_BYTES * batch.tokens * model.model.n_embd,
        Use.ALLOCATOR: kept,
        Use.ACTIVATIONS: max(visit, head_bytes(model, batch, on_device)),
    }
    if not on_device:
        return tuple(Need(use, size) for use, size in sizes.items())
    sizes = {
        Use.GPU_PROGRAM: DRIVER_BYTES,
        **sizes,
        Use.DEQUANTISING: DEQUANTISING_BYTES * pieces.largest_matrix,
    }
    there = (Need(use, size, tier=Tier.VRAM) for use, size in sizes.items())
    return Need(Use.GPU_LIBRARIES, KERNELS_BYTES), *there


def head_bytes(model: Anatomy, batch: Batch, on_device: bool = False) -> int:
    """What the loss holds besides the stream, of any vocabulary: hidden states, the two parts of their
    gradient, a chunk of logits; on a GPU also what each is narrowed to, or from.
    """
    logits, streams = max(LOGITS_ELEMENTS, LEAST_ROWS * batch.tokens), 5 if on_device else 3
    logits *= 2 if _caps_logits(model) else 1  # their slopes beside them
    return _F32_BYTES * (streams * batch.tokens * model.model.n_embd + (2 if on_device else 1) * logits)


def _caps_logits(model: Anatomy) -> bool:
    architecture = model.model.architecture
    counts = Counts(model.model.metadata, architecture)
    return blocks(architecture).capped_logits and bool(counts.number("final_logit_softcapping", default=0))


def _least_room(pieces: Pieces) -> int:
    """What must be in memory at once."""
    return max(*(visit.least_bytes for visit in pieces.visits), *(p.held_bytes for p in pieces.head))


def _pleasant_room(pieces: Pieces) -> int:
    """The visit at work and the next one: then reading need never wait for computing."""
    sizes = [visit.held_bytes for visit in pieces.visits] + [sum(p.held_bytes for p in pieces.head)]
    return max(first + second for first, second in pairwise(sizes))


def _all(pieces: Pieces) -> Sequence[Piece]:
    return [*(piece for visit in pieces.visits for piece in visit.pieces if piece.slices), *pieces.head]


def _held(pieces: Iterable[Piece]) -> int:
    return sum(piece.held_bytes for piece in pieces)


def _spread(pieces: Sequence[Piece], room_bytes: int) -> frozenset[Piece]:
    """As many as fit, evenly spread: then reading and computing take turns all along the step."""
    chosen, left = set[Piece](), room_bytes
    for number in _scattered(len(pieces)):
        if pieces[number].held_bytes <= left:
            chosen.add(pieces[number])
            left -= pieces[number].held_bytes
    return frozenset(chosen)


def _scattered(count: int) -> Iterator[int]:
    """0 to count - 1, every beginning of it evenly spread: numbers with their bits reversed."""
    bits = max(1, (count - 1).bit_length())
    for number in range(1 << bits):
        place = int(f"{number:0{bits}b}"[::-1], 2)
        if place < count:
            yield place


def _most_visit_bytes(model: Anatomy, batch: Batch) -> int:
    return max(max(visit_bytes(model, layer, batch)) for layer in model.layers)


def visit_bytes(model: Anatomy, layer: Layer, batch: Batch) -> tuple[int, int]:
    """Activations and gradients of a layer's two visits: of what mixes tokens, of the feed-forward part."""
    return _F32_BYTES * int(_mixing(model, layer, batch)), _F32_BYTES * int(_feeding(model, layer, batch))


def _mixing(model: Anatomy, layer: Layer, batch: Batch) -> float:
    """Attention or Gated DeltaNet, of one micro-batch."""
    outputs = [t.shape[1] for t in layer.dense if len(t.shape) == 2 and _mixes(t.role)]
    shape, stream = model.model.attention, _stream_values(model)
    if layer.recurrent:
        return batch.micro_tokens * (RECURRENT_VALUES * sum(outputs) + stream)
    heads = shape.n_heads[layer.number] * shape.key_length
    gate = heads if blocks(model.model.architecture).gated_attention else 0
    return batch.micro_tokens * (HEADS_VALUES * heads + GATE_VALUES * gate + stream)


def _feeding(model: Anatomy, layer: Layer, batch: Batch) -> float:
    """The feed-forward part: of one micro-batch, but of the whole batch where experts are routed."""
    outputs = sum(t.shape[1] for t in layer.dense if len(t.shape) == 2 and not _mixes(t.role))
    values = FEED_FORWARD_VALUES * outputs
    if not layer.routed:
        return batch.micro_tokens * (values + _stream_values(model))
    values += MIXTURE_STREAM_VALUES * model.model.n_embd
    expert = FEED_FORWARD_VALUES * (2 * expert_width(model.model) + model.model.n_embd)
    held = sum(min(prod(stack.shape[:2]), HELD_ELEMENTS) for stack in layer.routed)
    return batch.tokens * values + min(batch.tokens, EXPERT_ROWS) * expert + held


def _stream_values(model: Anatomy) -> float:
    """A norm behind the part holds what one before it does."""
    n_norms = 1 if blocks(model.model.architecture).norms_after is None else 2
    return n_norms * STREAM_VALUES * model.model.n_embd


def _mixes(role: Role) -> bool:
    return role in (Role.ATTENTION, Role.LINEAR_ATTENTION)
