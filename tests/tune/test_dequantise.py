"""Dequantising in torch against ggml's own, bit for bit."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sixgig.errors import SixgigError
from sixgig.finetune.dequantise import can_dequantise, dequantise
from sixgig.llamacpp.blocks import dequantise_rows, prepare, quantise_rows
from sixgig.modelfile.ggml_types import TYPE_BY_ID, TYPE_BY_NAME, GgmlType

LENGTH = 512
NO_WEIGHTS = {"Q8_1", "Q8_K", "I8", "I16", "I32", "I64", "F64"}
TYPES = [kind for kind in TYPE_BY_ID.values() if kind.name not in NO_WEIGHTS]
# ggml builds tables of many seconds before it quantises to these; random bits reach all of a block anyway.
SLOW = {"IQ1_S", "IQ1_M", "IQ2_XS", "IQ2_S"}
each_type = pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.name)


def random_bits(kind: GgmlType, *shape: int, seed: int = 0) -> np.ndarray:
    size = (*shape, LENGTH // kind.block_elements * kind.block_bytes)
    return np.random.default_rng(seed).integers(0, 256, size, np.uint8)


def by_ggml(kind: GgmlType, stored: np.ndarray) -> np.ndarray:
    out = np.full((len(stored), LENGTH), np.nan, np.float32)
    dequantise_rows(kind.id, stored, out)
    return out


def in_torch(kind: GgmlType, stored: np.ndarray) -> np.ndarray:
    return dequantise(torch.from_numpy(stored), kind.id, LENGTH).numpy()


def assert_same_bits(found: np.ndarray, expected: np.ndarray) -> None:
    """Where both are no number, which NaN it is depends on the processor."""
    assert found.shape == expected.shape and found.dtype == expected.dtype
    number = ~np.isnan(expected)
    assert number.any() and np.array_equal(number, ~np.isnan(found))
    assert np.array_equal(found.view(np.int32)[number], expected.view(np.int32)[number])


@each_type
@pytest.mark.parametrize("n_rows", [1, 3, 257])
def test_any_bits_are_read_as_by_ggml(kind: GgmlType, n_rows: int) -> None:
    stored = random_bits(kind, n_rows, seed=n_rows)
    assert_same_bits(in_torch(kind, stored), by_ggml(kind, stored))


@pytest.mark.parametrize(
    "kind", [kind for kind in TYPES if kind.name not in SLOW], ids=lambda kind: kind.name
)
def test_what_ggml_quantised_is_read_as_by_ggml(kind: GgmlType) -> None:
    random = np.random.default_rng(5)
    rows = np.concatenate([random.standard_normal((4, LENGTH)), random.standard_t(2, (4, LENGTH)) / 64])
    rows = rows.astype(np.float32)
    rows[0, :256] = 0
    stored = np.zeros_like(random_bits(kind, len(rows)))
    prepare(kind.id)
    quantise_rows(kind.id, rows, np.ones(LENGTH, np.float32), stored)
    expected = by_ggml(kind, stored)
    assert np.mean((expected - rows) ** 2) < 0.7 * np.mean(rows**2), "the blocks are of these values"
    assert_same_bits(in_torch(kind, stored), expected)


@each_type
def test_an_expert_of_a_stack_is_the_same_alone_and_among_others(kind: GgmlType) -> None:
    stack = torch.from_numpy(random_bits(kind, 3, 5))
    together = dequantise(stack.flatten(0, 1), kind.id, LENGTH).view(3, 5, LENGTH)
    assert_same_bits(dequantise(stack[1], kind.id, LENGTH).numpy(), together[1].numpy())


@each_type
@pytest.mark.parametrize("start", [1, 2])
def test_bytes_may_begin_anywhere_in_a_buffer(kind: GgmlType, start: int) -> None:
    stored = random_bits(kind, 2)
    buffer = torch.zeros(stored.size + start, dtype=torch.uint8)
    buffer[start:] = torch.from_numpy(stored).flatten()
    found = dequantise(buffer[start:].view(stored.shape), kind.id, LENGTH)
    assert_same_bits(found.numpy(), by_ggml(kind, stored))


@each_type
def test_the_result_is_written_where_the_caller_wants_it(kind: GgmlType) -> None:
    stored = random_bits(kind, 3)
    buffer = torch.full((5, LENGTH), 7.0)
    found = dequantise(torch.from_numpy(stored), kind.id, LENGTH, out=buffer[1:4])
    assert found.data_ptr() == buffer[1].data_ptr()
    assert_same_bits(found.numpy(), by_ggml(kind, stored))
    assert (buffer[[0, 4]] == 7).all()


class OneDevice(TorchDispatchMode):
    """Refuses operations on tensors that lie on different devices, as a GPU does."""

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        given = [each for each in tree_leaves((args, kwargs)) if isinstance(each, torch.Tensor)]
        assert len({each.device for each in given}) <= 1, operation
        return operation(*args, **kwargs or {})


@each_type
def test_everything_happens_on_the_device_of_the_bytes(kind: GgmlType) -> None:
    stored = torch.from_numpy(random_bits(kind, 3)).to("meta")
    with OneDevice():
        found = dequantise(stored, kind.id, LENGTH)
    assert (found.device.type, found.shape) == ("meta", (3, LENGTH))


@pytest.mark.parametrize(("type_id", "name"), [(9, "Q8_1"), (26, "I32"), (99, "99")])
def test_a_type_that_holds_no_weights_is_refused_by_name(type_id: int, name: str) -> None:
    assert not can_dequantise(type_id)
    with pytest.raises(SixgigError, match=rf"storage type .*{name}\b"):
        dequantise(torch.zeros(1, 4, dtype=torch.uint8), type_id, 1)


def test_every_type_of_weights_can_be_read() -> None:
    assert all(can_dequantise(kind.id) for kind in TYPES)
    assert not any(can_dequantise(TYPE_BY_NAME[name].id) for name in NO_WEIGHTS)
