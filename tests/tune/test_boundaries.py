"""What enters each block comes back as it was, from memory or from disk."""

import os
from pathlib import Path

import pytest
import torch

from sixgig.finetune.boundaries import Boundaries


@pytest.mark.parametrize("n_on_disk", [0, 2, 5])
def test_inputs_come_back_bit_for_bit(tmp_path: Path, n_on_disk: int) -> None:
    inputs = [torch.randn(7, 33) for _ in range(5)]
    with Boundaries(5, n_on_disk, 4 * 7 * 33, tmp_path, torch.device("cpu")) as kept:
        for number, x in enumerate(inputs):
            kept.keep(number, x)
        for number in reversed(range(5)):
            assert torch.equal(kept.take(number), inputs[number])


def test_nothing_is_left_in_the_folder(tmp_path: Path) -> None:
    with Boundaries(1, 1, 64, tmp_path, torch.device("cpu")) as kept:
        kept.keep(0, torch.randn(4, 4))
        assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("n_on_disk", [0, 2])
def test_a_later_step_may_have_fewer_tokens(tmp_path: Path, n_on_disk: int) -> None:
    with Boundaries(2, n_on_disk, 4 * 9 * 8, tmp_path, torch.device("cpu")) as kept:
        for n_tokens in (9, 4):
            inputs = [torch.randn(n_tokens, 8) for _ in range(2)]
            for number, x in enumerate(inputs):
                kept.keep(number, x)
            assert all(torch.equal(kept.take(number), inputs[number]) for number in (1, 0))


def test_every_step_uses_the_same_memory(tmp_path: Path) -> None:
    with Boundaries(2, 0, 4 * 9 * 8, tmp_path, torch.device("cpu")) as kept:
        places = []
        for _ in range(2):
            kept.keep(1, torch.randn(9, 8))
            places.append(kept.take(1).data_ptr())
        assert places[0] == places[1]
