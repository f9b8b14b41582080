"""What memory is used for, where it lies, and when it is held."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

Kind = Literal["anon", "file"]
Phase = Literal["always", "loading", "running"]


class Tier(Enum):
    """Where bytes lie, the fastest first. The value is how a budget of it is asked for; a disk has none."""

    VRAM = "--vram"
    RAM = "--ram"
    DISK = ""


class Use(Enum):
    """What bytes are for. The value is its label, in documents and tables."""

    PROCESS = "process"
    PROGRAM_FILES = "program files"
    DRIVER = "driver"
    WEIGHTS = "weights"
    DENSE_WEIGHTS = "dense weights"
    ROUTED_EXPERTS = "routed experts"
    EXPERT_CACHE = "expert cache"
    KV_CACHE = "KV cache"
    COMPUTE_BUFFERS = "compute buffers"
    KERNEL_SCRATCH = "kernel scratch"
    LOADER = "loader"
    READ_AHEAD = "read-ahead"
    EXPERT_GROUPS = "expert groups"
    ADAPTER = "adapter"
    ADAPTER_LOADER = "adapter loader"
    LOGITS = "logits"
    OUTPUTS = "outputs"
    CHECKPOINT = "context checkpoint"
    CHECKPOINTS = "context checkpoints"
    SERVER = "server"
    # Of tuning
    GPU_LIBRARIES = "kernels of the GPU"
    GPU_PROGRAM = "driver and kernels"
    TRAINED_WEIGHTS = "adapter and optimizer"
    VECTORS = "small weights"
    MATRIX = "matrix in float32"
    DEQUANTISING = "dequantising"
    STREAM = "stream and its gradient"
    ALLOCATOR = "kept by the allocator"
    ACTIVATIONS = "activations at work"
    VISIT_INPUTS = "inputs of the layers"
    WORKING_WEIGHTS = "weights at work"
    STAYING_WEIGHTS = "weights that stay"
    READING_DATA = "reading DATA"
    # Of shrinking
    LEAST_CACHE = "expert cache, at least"
    SLAB = "slab and its result"

    @property
    def label(self) -> str:
        """As documents and tables call it."""
        return str(self.value)


@dataclass(frozen=True)
class Need:
    """One use of memory. kind: owned pages or pages of a mapped file. phase: when it is held."""

    use: Use
    size_bytes: int
    kind: Kind = "anon"
    phase: Phase = "always"
    tier: Tier = Tier.RAM

    def to_json(self) -> dict[str, Any]:
        """Plain values; the document says elsewhere where it lies."""
        return {"name": self.use.label, "size_bytes": self.size_bytes, "kind": self.kind, "phase": self.phase}


def peak_bytes(needs: Iterable[Need], tier: Tier, *phases: Phase) -> int:
    """Most bytes held in a tier at once in any of the phases, by default all."""
    here = [need for need in needs if need.tier is tier]
    return max(
        sum(need.size_bytes for need in here if need.phase in ("always", phase))
        for phase in phases or ("loading", "running")
    )
