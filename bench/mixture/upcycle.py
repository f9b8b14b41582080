"""A dense llama file as a mixture whose experts are copies of its feed-forward: the same logits at first.

Source: sparse upcycling, Komatsuzaki et al. 2022 (arXiv 2212.05055). The gates of the experts that are used
add up to 1 (Mixtral), so equal experts give what the one feed-forward gave, up to rounding; where two gates
are 1/2 each, to the bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sixgig.atomic import sync
from sixgig.errors import UsageError
from sixgig.families import Role
from sixgig.modelfile import TYPE_BY_NAME, ModelFile, Tensor, read_tensor
from sixgig.modelfile.writer import NewTensor, lay_out

Routers = Sequence[NDArray[np.float32]]
"""A layer each, [n_experts, n_embd]."""


def upcycle(dense: ModelFile, routers: Routers, n_used: int, out: Path) -> Path:
    """Writes the mixture to `out`, whole or not at all; each expert's bytes are the dense file's.

    UsageError for a model that is no dense llama, or routers of another shape.
    """
    n_experts = len(routers[0])
    _require_dense(dense, routers)
    changes = {"llama.expert_count": n_experts, "llama.expert_used_count": n_used}
    changes |= {"general.name": f"{dense.name} x{n_experts}"}
    parts = [part for tensor in dense.tensors for part in _parts(dense, tensor, routers)]
    layout = lay_out(dense.metadata, changes, [new for new, _ in parts])
    beside = out.with_name(f"{out.name}.part")
    with beside.open("wb") as file:
        file.write(layout.header)
        for (new, content), offset in zip(parts, layout.offsets, strict=True):
            file.seek(offset)
            raw = content if isinstance(content, np.ndarray) else read_tensor(dense, content)
            for _ in range(new.size_bytes // raw.nbytes):
                file.write(raw.data)
        file.truncate(layout.size_bytes)
    sync(beside)
    beside.replace(out)
    return out


def _parts(
    dense: ModelFile, tensor: Tensor, routers: Routers
) -> Iterator[tuple[NewTensor, Tensor | NDArray[np.float32]]]:
    """What stands in the mixture for a tensor of the dense model, and where its bytes come from."""
    if tensor.role is not Role.FEED_FORWARD:
        yield NewTensor(tensor.name, tensor.shape, tensor.type), tensor
        return
    assert tensor.layer is not None
    router = routers[tensor.layer]
    stem = tensor.name.removesuffix(".weight")
    if stem.endswith("ffn_gate"):
        name = dense.family.router.weight.format(layer=tensor.layer)
        yield NewTensor(name, router.shape[::-1], TYPE_BY_NAME["F32"]), np.ascontiguousarray(router)
    yield NewTensor(f"{stem}_exps.weight", (*tensor.shape, len(router)), tensor.type), tensor


def _require_dense(dense: ModelFile, routers: Routers) -> None:
    if dense.architecture != "llama" or dense.n_experts:
        numbers = f"{dense.architecture} with {dense.n_experts} experts"
        raise UsageError(f"{dense.name} cannot be copied into experts", numbers, "use a dense llama")
    shapes = {router.shape for router in routers}
    if len(routers) != dense.n_layers or shapes != {(len(routers[0]), dense.n_embd)}:
        numbers = f"{len(routers)} of {shapes}, {dense.n_layers} of (experts, {dense.n_embd}) wanted"
        raise UsageError("the routers do not fit the model", numbers)
