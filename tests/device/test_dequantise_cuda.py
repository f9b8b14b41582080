"""Dequantising on a GPU gives the bits it gives on the CPU, which tests/tune compares with ggml's."""

import pytest
import torch

from sixgig.finetune.dequantise import can_dequantise, dequantise
from sixgig.modelfile.ggml_types import TYPE_BY_ID, GgmlType

pytestmark = [
    pytest.mark.device,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no CUDA device here"),
]
TYPES = [kind for kind in TYPE_BY_ID.values() if can_dequantise(kind.id)]
LENGTH, PEAK_BYTES_PER_ELEMENT = 512, 3.5


def random_bits(kind: GgmlType, n_rows: int) -> torch.Tensor:
    size = (n_rows, LENGTH // kind.block_elements * kind.block_bytes)
    return torch.randint(0, 256, size, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.name)
@pytest.mark.parametrize("n_rows", [1, 3, 4097])
def test_cuda_gives_the_bits_of_the_cpu(kind: GgmlType, n_rows: int) -> None:
    stored = random_bits(kind, n_rows)
    expected = dequantise(stored, kind.id, LENGTH)
    found = dequantise(stored.cuda(), kind.id, LENGTH).cpu()
    number = ~expected.isnan()  # which NaN it is depends on the processor
    assert number.any() and torch.equal(number, ~found.isnan())
    assert torch.equal(found.view(torch.int32)[number], expected.view(torch.int32)[number])


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.name)
def test_memory_beside_the_result_is_as_promised(kind: GgmlType) -> None:
    stored = random_bits(kind, 8192).cuda()
    out = torch.empty(8192, LENGTH, device="cuda")
    dequantise(stored[:1], kind.id, LENGTH, out=out[:1])  # the tables
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    dequantise(stored, kind.id, LENGTH, out=out)
    spent = torch.cuda.max_memory_allocated() - before
    assert spent <= PEAK_BYTES_PER_ELEMENT * out.numel() + (1 << 20)
