"""A planner's placement in the engine's words."""

from dataclasses import replace

from sixgig.errors import BudgetError
from sixgig.inference.dry_load import device_bytes
from sixgig.inference.measure import Measured
from sixgig.inference.options import EngineOptions
from sixgig.modelfile import ModelFile
from sixgig.plan import GPU_CONTEXT_BYTES, Placement, anatomy
from sixgig.units import format_bytes


def placed(options: EngineOptions, model: ModelFile, placement: Placement) -> EngineOptions:
    """The options that put a model where the placement says. llama.cpp counts the head as one more layer."""
    if placement.gpu is None:
        return options
    layers = anatomy(model).layers
    n_host_experts = len(layers) - placement.n_expert_layers
    kept = tuple(tensor.name for layer in layers[:n_host_experts] for tensor in layer.routed)
    whole = placement.n_layers == len(layers)
    return replace(options, gpu_layers=placement.n_layers + whole, host_tensors=kept)


def require_room(measured: Measured, vram_bytes: int) -> None:
    """BudgetError where the engine itself would take more of a GPU's memory than allowed."""
    needed = device_bytes(measured)
    if needed and needed + GPU_CONTEXT_BYTES > vram_bytes:
        numbers = f"{format_bytes(needed + GPU_CONTEXT_BYTES)} needed, {format_bytes(vram_bytes)} allowed"
        raise BudgetError(
            "the GPU's part does not fit its budget", numbers, "raise --vram, or lower --context"
        )
