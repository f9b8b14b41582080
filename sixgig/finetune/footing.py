"""Brings the process to the size it will keep, before memory is planned."""

from __future__ import annotations

import ctypes

import torch

from sixgig.finetune.choices import LEARNING_RATES
from sixgig.finetune.delta_net import CHUNK, gated_delta_rule
from sixgig.finetune.optimisers import make_optimiser
from sixgig.hardware.memory import give_back
from sixgig.planning.tuning import KEPT_BYTES

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's numbers for mallopt
# A mapping of its own costs a fault a page each time, and is given back whole. From where it pays: LOG.md.
OWN_MAPPING_BYTES = 4 << 20
_PROCESSOR = torch.device("cpu")


def find_footing(threads: int, device: torch.device = _PROCESSOR) -> None:
    """Imports what PyTorch brings in late, starts its threads, and makes the allocator give memory back.

    glibc would learn from large blocks to keep what is freed: here blocks from OWN_MAPPING_BYTES on always
    get a mapping of their own, which goes when they go. A GPU's driver and kernels take main memory too: they
    come with the first work on `device`.
    """
    torch.set_num_threads(threads)
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_MMAP_THRESHOLD, OWN_MAPPING_BYTES)
        libc.mallopt(_TRIM_THRESHOLD, KEPT_BYTES)
    for name in LEARNING_RATES:
        _train_a_little(name, device)
    give_back()


def _train_a_little(name: str, device: torch.device) -> None:
    """A step of everything that imports or starts something at its first use."""
    x = torch.ones(1, 1, 2 * CHUNK, 4, device=device, requires_grad=True)
    y = gated_delta_rule(x[0], x[0], x, x[..., 0], x[..., 0])
    mixed = torch.nn.functional.scaled_dot_product_attention(y, y, y, is_causal=True)
    torch.autograd.backward(mixed.sum())
    optimiser = make_optimiser(name, [parameter := torch.ones(4, 4, device=device, requires_grad=True)])
    torch.autograd.backward((parameter @ parameter.detach()).sum())
    optimiser.step()
