"""Memory that paging takes besides the experts, in bytes: what native/ allocates, said once for the plan."""

import numpy as np
from numpy.typing import NDArray

from sixgig.modelfile import ModelFile, Tensor

PAGED_BUFFER = "SIXGIG_PAGED"  # the engine's name for the buffer that routed experts are placed in
PAGE_BYTES = 4096
STREAM_BYTES = 4 << 20  # native/model_stream.cpp: READ_AHEAD_BYTES
UPLOAD_BYTES = 4 << 20  # the engine's four staging buffers of 1 MiB
HEAP_KEEPS_BYTES = 32 << 20  # what glibc may keep of a freed block (DEFAULT_MMAP_THRESHOLD_MAX)
GROUP_BYTES = 16 << 20  # native/expert_groups.cpp: SCRATCH_BYTES
KERNEL_FILE_BYTES = 2 << 20  # pages of the library that only computing touches, as measured


def piece_bytes(tensor: Tensor) -> int:
    """Largest memory of one expert of one tensor: whole pages."""
    return int(_pieces(tensor).max())


def resident_bytes(model: ModelFile) -> int:
    """Memory of all routed experts, each in whole pages; neighbours' shared pages count twice."""
    return int(sum(_pieces(tensor).sum() for tensor in model.routed_experts()))


def smallest_cache_bytes(model: ModelFile) -> int:
    """The least cache that works: one expert of one tensor at a time."""
    return max(piece_bytes(tensor) for tensor in model.routed_experts())


def whole_visit_bytes(model: ModelFile) -> int:
    """Such a cache never computes in groups: it holds a layer's experts and as many guessed ones, or all."""
    layers: dict[int | None, int] = {}
    for tensor in model.routed_experts():
        layers[tensor.layer] = layers.get(tensor.layer, 0) + int(_pieces(tensor).sum())
    return min(2 * max(layers.values(), default=0), sum(layers.values()))


def router_bytes(model: ModelFile) -> int:
    """Read-ahead: one byte per router weight, a scale and a bias per expert, for each expert layer."""
    layers = {tensor.layer for tensor in model.routed_experts()}
    return len(layers) * model.n_experts * (model.n_embd + 8)


def group_scratch_bytes(model: ModelFile, ubatch: int) -> int:
    """Rows copied together for experts computed in groups; one expert may need a whole ubatch of rows."""
    widest = max(tensor.shape[0] + tensor.shape[1] for tensor in model.routed_experts())
    return max(GROUP_BYTES, ubatch * widest * 4)


def kernel_scratch_bytes(model: ModelFile, ubatch: int) -> int:
    """The CPU backend's work buffer for its largest product: quantised input rows and, for experts, row maps.

    Counted twice: the engine's backend and the pager's each keep one.
    """
    rows = ubatch * max(model.n_experts_used, 1)
    widest = max((t.shape[0] for t in model.tensors if len(t.shape) > 1), default=0)
    maps = model.n_experts * rows * 8
    return 2 * (int(1.2 * ubatch * widest) + int(1.2 * rows * expert_width(model)) + maps)


def expert_width(model: ModelFile) -> int:
    """Channels inside an expert: the inputs of its last projection, at most; 0 without experts.

    Experts that neither read nor write the hidden state (a latent feed-forward part) count by their widest.
    """
    routed = model.routed_experts()
    last = [tensor.shape[0] for tensor in routed if tensor.shape[1] == model.n_embd]
    return min(last) if last else max((tensor.shape[0] for tensor in routed), default=0)


def _pieces(tensor: Tensor) -> NDArray[np.int64]:
    """Page-rounded bytes of each expert of a tensor."""
    size = tensor.size_bytes // tensor.shape[2]
    begins = tensor.offset + size * np.arange(tensor.shape[2], dtype=np.int64)
    return -(-(begins + size) // PAGE_BYTES) * PAGE_BYTES - begins // PAGE_BYTES * PAGE_BYTES
