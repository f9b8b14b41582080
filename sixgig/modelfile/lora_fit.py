"""Whether an adapter fits a model: what llama.cpp would ignore, misread or die of is refused here.

llama.cpp (build 11549) checks that a tensor exists and its first two dimensions. It does not check the number
of experts, passes over norms and over weights that its graph multiplies without adapters, and reads the
factors of an embedding in a layout of their own.
"""

from __future__ import annotations

from pathlib import Path

from sixgig.errors import ModelFileError
from sixgig.families import Role
from sixgig.modelfile.lora import Lora, LoraFile, Shape, find_lora, merged_adapters
from sixgig.modelfile.model import ModelFile
from sixgig.modelfile.tensor import Tensor

_CURE = "use an adapter that was made for this model"
_ADAPTABLE = {
    Role.ATTENTION, Role.LINEAR_ATTENTION, Role.FEED_FORWARD, Role.SHARED_EXPERT, Role.ROUTED_EXPERT,
    Role.ROUTER, Role.HEAD,
}  # fmt: skip


def open_lora(path: Path, model: ModelFile) -> LoraFile:
    """The adapter in a file, fit for the model and sound to its last value; ModelFileError otherwise."""
    file = find_lora(path)
    check_lora(file, model)
    file.require_finite()
    require_unmerged(file, model)
    return file


def require_unmerged(file: LoraFile, model: ModelFile) -> None:
    """ModelFileError where this very adapter has been merged into the model: it would count twice.

    What other programs have merged leaves no trace, and cannot be told.
    """
    merged = dict(merged_adapters(model.metadata))
    if merged and (name := merged.get(file.digest)) is not None:
        what = f"{file.path.name} is merged into {model.name} already"
        cure = "use the model without the adapter, or the adapter with the model it was made for"
        raise ModelFileError(what, f"as {name[:80]!r}", cure)


def check_lora(lora: Lora | LoraFile, model: ModelFile) -> None:
    """ModelFileError unless every pair will be applied, as it is meant, to a weight of the model."""
    if lora.architecture != model.architecture:
        numbers = f"made for {lora.architecture[:40]!r}, the model is {model.architecture!r}"
        raise ModelFileError("the adapter is for another architecture", numbers, _CURE)
    tensors = {tensor.name: tensor for tensor in model.tensors}
    for name, shapes in lora.shapes.items():
        if name not in tensors:
            raise ModelFileError("the adapter is for another model", f"this one has no {name[:80]}", _CURE)
        _check_place(tensors[name], model)
        _check_shapes(tensors[name], *shapes)


def _check_place(tensor: Tensor, model: ModelFile) -> None:
    """The engine multiplies with the tensor, and would add an adapter's product."""
    roles = _ADAPTABLE - model.family.unadapted
    n_layers = model.n_layers - model.hyperparameters.n_prediction_layers
    if tensor.role not in roles or (tensor.layer or 0) >= n_layers:
        numbers = f"{tensor.name} ({tensor.role.value.replace('_', ' ')}) of {model.architecture}"
        raise ModelFileError("the adapter changes what the engine does not adapt", numbers, _CURE)
    if len(tensor.shape) != (3 if tensor.role is Role.ROUTED_EXPERT else 2):
        numbers = f"{tensor.name} has the shape {tensor.shape}"
        raise ModelFileError("the adapter changes what is no matrix", numbers, _CURE)
    if tensor.type.name == "NVFP4":
        raise ModelFileError(f"the engine cannot adapt {tensor.name}", "it is stored as NVFP4", _CURE)


def _check_shapes(tensor: Tensor, a: Shape, b: Shape) -> None:
    n_in, n_out, *stack = tensor.shape
    if (a[0], b[1]) != (n_in, n_out) or [*a[2:]] != stack or [*b[2:]] != stack or a[1] != b[0]:
        numbers = f"A {a} and B {b} for {tensor.name} {tensor.shape}"
        raise ModelFileError("the adapter has other shapes than the model", numbers, _CURE)
