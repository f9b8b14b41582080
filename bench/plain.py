"""A model and context of the stock library, through its plain C API: nothing of ours registered."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from sixgig.errors import EngineError
from sixgig.llamacpp import Batch, load_library

Logits = npt.NDArray[np.float32]
LOAD_MODES = {"none": 0, "mmap": 1}


@dataclass(frozen=True)
class Settings:
    """How to run. `context`: KV cells; `ubatch`: tokens computed at once."""

    load_mode: str = "mmap"
    extra_buffers: bool = False
    threads: int = 2
    ubatch: int = 512
    context: int = 2048


class PlainContext:
    """One open model and context; a context manager."""

    def __init__(self, path: Path, settings: Settings, eval_callback: Any = None) -> None:
        """Load the model. `eval_callback`: a ggml_backend_sched_eval_callback. Raises EngineError."""
        self._library = load_library()
        self._c = self._library.c
        self.settings = settings
        self._callback = eval_callback
        self._model = self._load(path)
        self._context = self._open()
        self.n_vocab = int(self._c.llama_vocab_n_tokens(self._c.llama_model_get_vocab(self._model)))

    def prefill(self, tokens: Sequence[int]) -> Logits:
        """Feed a prompt, `ubatch` tokens at a time. Returns the last token's logits [n_vocab]."""
        for start in range(0, len(tokens), self.settings.ubatch):
            self._feed(tokens[start : start + self.settings.ubatch])
        return self._logits()

    def decode(self, token: int) -> Logits:
        """Feed one token. Returns its logits [n_vocab], valid until the next call."""
        self._feed([token])
        return self._logits()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._c.llama_free(self._context)
        self._c.llama_model_free(self._model)

    def _load(self, path: Path) -> int:
        params = self._c.llama_model_default_params()
        params.load_mode = LOAD_MODES[self.settings.load_mode]
        params.use_extra_bufts = self.settings.extra_buffers
        model = self._c.llama_model_load_from_file(str(path).encode(), params)
        return self._opened(model, f"cannot load {path}")

    def _open(self) -> int:
        params, settings = self._c.llama_context_default_params(), self.settings
        params.n_ctx = settings.context
        params.n_batch = params.n_ubatch = settings.ubatch
        params.n_threads = params.n_threads_batch = settings.threads
        if self._callback is not None:
            params.cb_eval = ctypes.cast(self._callback, ctypes.c_void_p)
        return self._opened(self._c.llama_init_from_model(self._model, params), "cannot open a context")

    def _opened(self, handle: int | None, what: str) -> int:
        if not handle:
            raise EngineError(what, self._library.log.complaint())
        return handle

    def _feed(self, tokens: Sequence[int]) -> None:
        ids = (ctypes.c_int32 * len(tokens))(*tokens)
        batch = Batch(n_tokens=len(tokens), token=ctypes.cast(ids, ctypes.POINTER(ctypes.c_int32)))
        status = self._c.llama_decode(self._context, batch)
        if status:
            raise EngineError("llama_decode failed", f"status {status}", self._library.log.complaint())

    def _logits(self) -> Logits:
        return np.ctypeslib.as_array(self._c.llama_get_logits_ith(self._context, -1), (self.n_vocab,))
