"""What paging relies on: every routed tensor is a stack of n_experts equal slices, chosen by a router."""

from collections.abc import Sequence

from sixgig.errors import ModelFileError
from sixgig.families import Family, Role
from sixgig.modelfile.hyperparameters import Hyperparameters
from sixgig.modelfile.tensor import Tensor

_CURE = "fetch or convert the file again"


def check_experts(tensors: Sequence[Tensor], family: Family, numbers: Hyperparameters) -> None:
    """ModelFileError unless the routed tensors and routers agree with the number of experts."""
    routed = [tensor for tensor in tensors if tensor.role is Role.ROUTED_EXPERT]
    if numbers.n_experts and not routed:
        cure = "files from before 2024 keep experts apart: convert the model again"
        raise ModelFileError("no tensor holds the experts", f"{numbers.n_experts} announced", cure)
    for tensor in routed:
        _check_stack(tensor, numbers.n_experts)
    _check_routers(tensors, family, {tensor.layer for tensor in routed if tensor.layer is not None}, numbers)


def _check_stack(tensor: Tensor, n_experts: int) -> None:
    if n_experts == 0:
        raise ModelFileError(
            f"{tensor.name} holds experts but the model announces none", "expert_count 0", _CURE
        )
    if len(tensor.shape) != 3 or tensor.shape[2] != n_experts:
        raise ModelFileError(
            f"{tensor.name} is no stack of {n_experts} experts", f"shape {tensor.shape}", _CURE
        )


def _check_routers(
    tensors: Sequence[Tensor], family: Family, layers: set[int], numbers: Hyperparameters
) -> None:
    """Each layer with experts has a router of shape (n_embd, n_experts)."""
    shapes = {tensor.name: tensor.shape for tensor in tensors if tensor.role is Role.ROUTER}
    for layer in sorted(layers):
        name = family.router.weight.format(layer=layer)
        if shapes.get(name) != (numbers.n_embd, numbers.n_experts):
            found = f"shape {shapes.get(name, 'missing')}, expected {(numbers.n_embd, numbers.n_experts)}"
            raise ModelFileError(f"{name} is no router for its experts", found, _CURE)
