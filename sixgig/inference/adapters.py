"""A LoRA in the engine: loaded beside the weights it adapts, applied to every evaluation of a context."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from pathlib import Path

from sixgig.errors import BudgetError, EngineError, ModelFileError, UsageError
from sixgig.interrupts import InterruptShield
from sixgig.llamacpp import Library, plan_buffers
from sixgig.modelfile import ModelFile, fingerprint
from sixgig.modelfile.lora import LoraFile
from sixgig.modelfile.lora_fit import open_lora
from sixgig.planning import AdapterBytes

_PAGE_BYTES = 4096  # the largest alignment of a buffer type in main memory
_LARGEST_SCALE = 1e6


@dataclass(frozen=True)
class Adapter:
    """A checked LoRA and what its own scale is multiplied by. Raises UsageError for what is no scale."""

    file: LoraFile
    scale: float = 1.0

    def __post_init__(self) -> None:
        """Refuse NaN too."""
        if not -_LARGEST_SCALE <= self.scale <= _LARGEST_SCALE:
            raise UsageError(f"an adapter cannot be scaled by {self.scale}", f"{_LARGEST_SCALE:g} at most")

    @classmethod
    def open(cls, path: Path, model: ModelFile, scale: float = 1.0) -> Adapter:
        """The adapter in a file, checked against the model it is for. Raises ModelFileError."""
        return cls(open_lora(path, model), scale)

    @property
    def bytes(self) -> AdapterBytes:
        """What the engine takes: it reads one tensor at a time, into a buffer that grows by copying."""
        sizes = self.file.sizes_bytes
        held = sum(-(-size // _PAGE_BYTES) * _PAGE_BYTES for size in sizes)
        return AdapterBytes(held, 2 * max(sizes))

    def load(self, library: Library, model: int) -> int:
        """The address of the loaded adapter, which is freed with the llama_model.

        Raises ModelFileError when the file is not the one that was checked, BudgetError without memory.
        """
        path = self.file.path
        if fingerprint(path) != self.file.fingerprint:
            raise ModelFileError(f"{path.name} changed while it was open", cure="try again")
        library.log.clear()
        with InterruptShield():
            address: int | None = library.c.llama_adapter_lora_init(model, os.fsencode(path))
        if address is None:
            complaint = library.log.complaint()
            if "allocate" in complaint:
                raise BudgetError(f"there is no memory for {path.name}", complaint, "give it more --ram")
            raise ModelFileError(f"llama.cpp cannot load the adapter {path.name}", complaint)
        return address

    def apply(self, library: Library, context: int, address: int) -> None:
        """To what the context evaluates from now on; its graph and scratch are planned anew, and at once."""
        handles, scales = (ctypes.c_void_p * 1)(address), (ctypes.c_float * 1)(self.scale)
        if library.c.llama_set_adapters_lora(context, handles, 1, scales) != 0:
            raise EngineError("llama.cpp cannot apply the adapter", library.log.complaint())
        plan_buffers(library.c, context)
