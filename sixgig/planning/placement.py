"""Where a model's parts go: which layers to a GPU, whose experts stay in main memory or on disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sixgig.hardware import Gpu
from sixgig.planning.anatomy import Anatomy, Layer


@dataclass(frozen=True)
class Placement:
    """gpu None: everything in main memory. The last n_layers run on the GPU, and with all of them the head.

    n_expert_layers: of these the last ones whose routed experts are there too. expert_cache_bytes: the
    engine's own cache, on the GPU, of experts that live in main memory (llama.cpp's moe_cache_size).
    """

    gpu: Gpu | None = None
    n_layers: int = 0
    n_expert_layers: int = 0
    expert_cache_bytes: int = 0

    def moved_layers(self, model: Anatomy) -> tuple[Layer, ...]:
        """The layers whose dense weights and cache are on the GPU."""
        return model.layers[len(model.layers) - self.n_layers :]

    def moved_experts(self, model: Anatomy) -> tuple[Layer, ...]:
        """The layers whose routed experts are on the GPU."""
        return model.layers[len(model.layers) - self.n_expert_layers :]

    def device_routed_bytes(self, model: Anatomy) -> int:
        """Bytes of routed experts on the GPU, its cache not counted."""
        return sum(layer.routed_bytes for layer in self.moved_experts(model))

    def host_routed_bytes(self, model: Anatomy) -> int:
        """Bytes of routed experts that main memory and disk hold."""
        return model.routed_bytes - self.device_routed_bytes(model)

    def head_bytes(self, model: Anatomy) -> int:
        """Bytes of the head where it is on the GPU; a tied embedding is copied there, and stays."""
        if not self.gpu or self.n_layers < len(model.layers):
            return 0
        return sum(tensor.size_bytes for tensor in model.head)

    def who(self, model: Anatomy) -> str:
        """What goes through the weights, in words; an embedding's rows, looked up, do not count."""
        if self.gpu is None:
            return "the processor goes"
        whole = self.n_layers == len(model.layers) and not self.host_routed_bytes(model)
        return "the GPU goes" if whole else "the processor and the GPU go"

    def explain(self, model: Anatomy) -> str:
        """In words."""
        if self.gpu is None:
            return "all on the CPU"
        layers = f"{self.n_layers} of {len(model.layers)} layers on {self.gpu.name}"
        if not model.routed_bytes:
            return layers
        if self.expert_cache_bytes:
            return f"{layers}, and a cache of experts there"
        moved = self.n_expert_layers
        experts = f"the experts of {moved} too" if moved else "experts elsewhere"
        return f"{layers}, {experts}"


def placements(model: Anatomy, gpu: Gpu) -> Iterator[Placement]:
    """Ways to use the GPU, ever more of it: dense layers first, then the experts of ever more layers."""
    n = len(model.layers)
    for n_layers in range(1, n + 1):
        yield Placement(gpu, n_layers)
    for n_experts in range(1, n + 1 if model.routed_bytes else 1):
        yield Placement(gpu, n, n_experts)
