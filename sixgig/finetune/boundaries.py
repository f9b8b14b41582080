"""What enters each block, kept from the forward to the backward pass: in main memory, or on disk."""

from __future__ import annotations

import mmap
import os
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
from torch import Tensor

from sixgig.errors import ReadError


class Boundaries:
    """A context manager. The first `n_on_disk` of `n_blocks` blocks' inputs go to a file without a name in
    `folder`: they are needed last. most_bytes: of one input.

    The others' memory is one mapping, used again in every step: among an allocator's blocks, each freed at
    another time, they would leave holes that nothing large fits into. Raises OSError when the disk is full,
    ReadError when it fails.
    """

    def __init__(
        self, n_blocks: int, n_on_disk: int, most_bytes: int, folder: Path, device: torch.device
    ) -> None:
        self._n_on_disk, self._most_bytes, self._device = n_on_disk, most_bytes, device
        self._memory = mmap.mmap(-1, max(1, (n_blocks - n_on_disk) * most_bytes), mmap.MAP_PRIVATE)
        self._shape = torch.Size()
        self._file = tempfile.TemporaryFile(dir=folder) if n_on_disk else None  # noqa: SIM115 (closed on exit)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        del self._memory  # unmapped with the last tensor in it
        if self._file is not None:
            self._file.close()

    def keep(self, number: int, x: Tensor) -> None:
        """The input of block `number`; all of a step have one shape."""
        self._shape = x.shape
        if number < self._n_on_disk:
            self._write(number, _bytes(x.cpu().contiguous()))
        else:
            self._place(number).copy_(x)

    def take(self, number: int) -> Tensor:
        """What was kept; valid until the next step."""
        if number >= self._n_on_disk:
            return self._place(number).to(self._device)
        x = torch.empty(self._shape)
        self._read(number, _bytes(x))
        return x.to(self._device)

    def _place(self, number: int) -> Tensor:
        """Where block `number`'s input lies, as a tensor of this step's shape."""
        offset = (number - self._n_on_disk) * self._most_bytes
        count = self._shape.numel()
        return torch.frombuffer(self._memory, dtype=torch.float32, count=count, offset=offset).view(
            self._shape
        )

    def _write(self, number: int, content: memoryview) -> None:
        assert self._file is not None, "some blocks' inputs go to disk"
        offset = number * len(content)
        while content:
            done = os.pwrite(self._file.fileno(), content, offset)
            content, offset = content[done:], offset + done

    def _read(self, number: int, into: memoryview) -> None:
        assert self._file is not None, "some blocks' inputs go to disk"
        offset = number * len(into)
        while into:
            done = os.preadv(self._file.fileno(), [into], offset)
            if not done:
                raise ReadError("activations on disk end early", f"at byte {offset}")
            into, offset = into[done:], offset + done


def _bytes(x: Tensor) -> memoryview:
    """The memory of a contiguous tensor."""
    return x.view(torch.uint8).numpy().data.cast("B")
