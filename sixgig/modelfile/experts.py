"""What paging relies on: every routed tensor is a stack of n_experts equal slices."""

from collections.abc import Iterable

from sixgig.errors import ModelFileError
from sixgig.families import Role
from sixgig.modelfile.tensor import Tensor

_CURE = "fetch or convert the file again"


def check_experts(tensors: Iterable[Tensor], n_experts: int) -> None:
    """ModelFileError unless every routed tensor has as many experts as are announced.

    A file may announce experts and have none: some dense models of mixed families do. Routers are the
    engine's matter.
    """
    for tensor in tensors:
        if tensor.role is not Role.ROUTED_EXPERT:
            continue
        if n_experts == 0:
            what = f"{tensor.name} holds experts but the model announces none"
            raise ModelFileError(what, "expert_count 0", _CURE)
        if len(tensor.shape) != 3 or tensor.shape[2] != n_experts:
            what = f"{tensor.name} is no stack of {n_experts} experts"
            raise ModelFileError(what, f"shape {tensor.shape}", _CURE)
