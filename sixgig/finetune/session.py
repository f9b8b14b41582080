"""Puts a run together: the model cut into pieces, a reader with its room, a stepper, a trainer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sixgig.errors import ModelFileError, UsageError
from sixgig.finetune.adapter import Adapter, Target
from sixgig.finetune.boundaries import Boundaries
from sixgig.finetune.net import Net
from sixgig.finetune.reader import Reader
from sixgig.finetune.state import State
from sixgig.finetune.step import Stepper
from sixgig.finetune.stored import Dequantiser, StreamedWeights
from sixgig.finetune.train import Corpus, Recipe, Trainer
from sixgig.planning import anatomy
from sixgig.planning.pieces import Pieces, pieces_of
from sixgig.planning.tuning import DRIVER_BYTES, TuningPlan
from sixgig.units import format_bytes

LEAST_VRAM_BYTES = 1 << 30
_FAST_HALVES = (8, 0)  # CUDA capability from which bfloat16 products are faster than float32 ones


@dataclass(frozen=True)
class Setup:
    """What is trained, and on what. vram_bytes: of the GPU; None computes on the processor with `threads`.

    check: as Stepper's.
    """

    targets: tuple[Target, ...]
    rank: int
    alpha: float
    seed: int
    threads: int
    vram_bytes: int | None = None
    check: Callable[[], object] = lambda: None


@contextmanager
def open_stepper(
    net: Net, adapter: Adapter, plan: TuningPlan, setup: Setup, folder: Path
) -> Iterator[tuple[Stepper, Reader]]:
    """While the block runs. folder: where activations go that do not fit."""
    device = device_of(setup.vram_bytes)
    torch.set_num_threads(setup.threads)
    pieces = pieces_of(anatomy(net.model))
    require_covered(net, pieces)
    dtype = product_type(device)
    dequantiser = Dequantiser(pieces.largest_matrix, device, dtype, setup.threads)
    with (
        Reader(net.model, plan.room_bytes, plan.stays) as reader,
        Boundaries(len(pieces.visits), plan.n_on_disk, plan.stream_bytes, folder, device) as kept,
    ):
        weights = StreamedWeights(net.model, pieces, reader, dequantiser, device)
        yield Stepper(net, pieces, reader, weights, adapter, kept, device, setup.check), reader


@contextmanager
def open_trainer(
    net: Net,
    plan: TuningPlan,
    setup: Setup,
    recipe: Recipe,
    corpus: Corpus,
    path: Path,
    job: dict[str, Any],
    state: State | None = None,
) -> Iterator[tuple[Trainer, Adapter, Reader]]:
    """A run whose state goes to `path`, ready to begin, or to go on from `state`."""
    device = str(device_of(setup.vram_bytes))
    adapter = Adapter(setup.targets, setup.rank, setup.alpha, setup.seed, device)
    with open_stepper(net, adapter, plan, setup, path.parent) as (stepper, reader):
        yield Trainer(stepper, adapter, recipe, corpus, path, job, state), adapter, reader


def device_of(vram_bytes: int | None) -> torch.device:
    """The processor, or the GPU with its memory capped; UsageError where there is none, or too little."""
    if vram_bytes is None:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        numbers = f"PyTorch {torch.__version__} sees no CUDA device"
        raise UsageError("there is no GPU to tune on", numbers, "leave --vram out, or install a CUDA build")
    if vram_bytes < LEAST_VRAM_BYTES:
        numbers = f"{format_bytes(vram_bytes)}, of which the driver takes {format_bytes(DRIVER_BYTES)}"
        raise UsageError("--vram is too little to tune with", numbers, "give at least 1G, or leave it out")
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, (vram_bytes - DRIVER_BYTES) / total))
    return torch.device("cuda")


def product_type(device: torch.device) -> torch.dtype:
    """What products are computed in: bfloat16 on GPUs that are made for it, else float32."""
    if device.type == "cuda" and torch.cuda.get_device_capability() >= _FAST_HALVES:
        return torch.bfloat16
    return torch.float32


def require_covered(net: Net, pieces: Pieces) -> None:
    """ModelFileError unless each block finds what it reads in its visit: both come from the declaration."""
    vectors = {tensor.name for tensor in pieces.vectors}
    for block, visit in zip(net.blocks, pieces.visits, strict=True):
        there = {part.tensor.name for piece in visit.pieces for part in piece.slices} | vectors
        if missing := {*block.dense, *block.routed} - there:
            what = f"{sorted(missing)[0]} is not where its family declares it"
            raise ModelFileError(what, f"layer {block.layer}", "convert the model again")
