"""Load a model's weights: from a file, from the parts of a split file, or from a stream handed in."""

import ctypes
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from sixgig.errors import BudgetError, EngineError, ModelFileError, SixgigError
from sixgig.inference.options import EngineOptions
from sixgig.interrupts import InterruptShield
from sixgig.llamacpp import BufferOverride, Library
from sixgig.llamacpp.structs import PROGRESS_CALLBACK, ModelParams
from sixgig.pager.pager import Pager

Progress = Callable[[float], bool | None]


class ProgressBridge:
    """Carries load progress from C to Python, and an exception back across."""

    def __init__(self, progress: Progress | None, shield: InterruptShield) -> None:
        self._progress = progress
        self._shield = shield
        self.raised: BaseException | None = None
        self.stopped = False
        self.callback = PROGRESS_CALLBACK(self._report)

    def _report(self, fraction: float, _user_data: Any) -> bool:
        try:
            self.stopped = self._progress is not None and self._progress(fraction) is False
        except BaseException as error:  # whatever it is, it must not be lost in C
            self.raised = error
        return not (self.stopped or self.raised or self._shield.pending)


def load_weights(
    library: Library,
    parts: Sequence[Path],
    options: EngineOptions,
    source: Callable[[], int] | None = None,
    progress: Progress | None = None,
    explain: Callable[[], SixgigError | None] | None = None,
    allocate: bool = True,
    pager: Pager | None = None,
) -> int:
    """The address of a loaded llama_model, to be freed by the caller.

    With `source` the bytes come from the C stream (FILE*) it returns, positioned at the GGUF's first byte;
    its owner closes it afterwards, loaded or not. Otherwise `parts` are read, all of a split file, in order.
    Without `allocate` only metadata is read: such a model can be measured, not run.
    With `pager` the routed experts go to its buffers, and to no other load's.
    Raises what `progress` raised, what `explain` says, ModelFileError, BudgetError or EngineError.
    """
    with InterruptShield() as shield:
        bridge = ProgressBridge(progress, shield)
        params, _overrides = model_params(library, options, pager)
        params.no_alloc = not allocate
        params.progress_callback = bridge.callback
        library.log.clear()
        model = _from_stream(library, source, params) if source else _from_files(library, parts, params)
        if model is not None and (bridge.raised or shield.pending):
            library.c.llama_model_free(model)
    if bridge.raised is not None:
        raise bridge.raised
    if model is None:
        raise (explain and explain()) or _failure(library, parts, bridge.stopped)
    return model


def model_params(
    library: Library, options: EngineOptions, pager: Pager | None = None
) -> tuple[ModelParams, ctypes.Array[BufferOverride]]:
    """llama_model_params, and what they point to: keep it until the model is loaded."""
    params: ModelParams = library.c.llama_model_default_params()
    options.apply_to_model(params)
    wanted: list[tuple[str, int]] = []
    if pager is not None:
        names = (tensor.name for tensor in pager.model.routed_experts())
        wanted += ((pattern, pager.buffer_type) for pattern in name_patterns(names))
    host: int = library.c.ggml_backend_cpu_buffer_type()
    wanted += ((pattern, host) for pattern in name_patterns(options.host_tensors))
    overrides = (BufferOverride * (len(wanted) + 1))(
        *(BufferOverride(pattern.encode(), buffer_type) for pattern, buffer_type in wanted)
    )
    params.tensor_buft_overrides = ctypes.addressof(overrides) if wanted else None
    return params, overrides


def name_patterns(names: Iterable[str]) -> list[str]:
    """Regular expressions that match exactly these names, in the dialect of C++ and of Python.

    Few: the engine compiles each anew for each tensor. Names that differ in their layer share one.
    """
    layers: dict[tuple[str, str], list[str]] = {}
    for name in names:
        before, layer, after = re.fullmatch(r"(\D*)(\d*)(.*)", name, re.DOTALL).groups()  # type: ignore[union-attr]
        layers.setdefault((re.escape(before), re.escape(after)), []).append(layer)
    rests: dict[tuple[str, str], list[str]] = {}
    for (before, after), numbers in layers.items():
        rests.setdefault((before, "|".join(numbers)), []).append(after)
    return [f"^{before}(?:{of})(?:{'|'.join(after)})$" for (before, of), after in rests.items()]


def _from_stream(library: Library, source: Callable[[], int], params: Any) -> int | None:
    model: int | None = library.c.llama_model_load_from_file_ptr(source(), params)
    return model


def _from_files(library: Library, parts: Sequence[Path], params: Any) -> int | None:
    for part in parts:
        if not part.is_file():
            raise ModelFileError(f"{part} is not a file", cure="name a GGUF file")
    paths = (ctypes.c_char_p * len(parts))(*(os.fsencode(part) for part in parts))
    model: int | None
    if len(parts) == 1:
        model = library.c.llama_model_load_from_file(paths[0], params)
    else:
        model = library.c.llama_model_load_from_splits(paths, len(parts), params)
    return model


def _failure(library: Library, parts: Sequence[Path], stopped: bool) -> SixgigError:
    name, complaint = parts[0].name if parts else "the model", library.log.complaint()
    if stopped:
        return EngineError(f"loading {name} was stopped")
    if "allocate" in complaint:
        return BudgetError(f"there is no memory for the weights of {name}", complaint, "give it more --ram")
    return ModelFileError(f"llama.cpp cannot load {name}", complaint)
