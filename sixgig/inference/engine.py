"""A model and its context, open: tokens in, logits out."""

import ctypes
import sys
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from sixgig.errors import BudgetError, EngineError, SixgigError, UsageError
from sixgig.hardware.cores import usable_cores
from sixgig.inference.adapters import Adapter
from sixgig.inference.chat_format import ChatFormat
from sixgig.inference.kvcache import KVCache
from sixgig.inference.loading import Progress, load_weights
from sixgig.inference.options import EngineOptions
from sixgig.inference.threads import ThreadCount
from sixgig.inference.tokens import Vocabulary
from sixgig.interrupts import InterruptShield
from sixgig.llamacpp import Batch, Library, load_library
from sixgig.llamacpp.disturb import Watcher, watch
from sixgig.pager.pager import Pager
from sixgig.units import counted

Logits = NDArray[np.float32]
_GO, _STOP = b"0", b"1"
_CLOSE_WAIT_S = 10.0
_LONGEST_VALUE = 512
_ANSWER = 256  # positions that a larger context leaves for the answer at least
_STOPPED = 2
_STATUS = {
    1: "no room in the KV cache",
    _STOPPED: "stopped",
    -1: "invalid tokens",
    -2: "out of memory",
    -3: "computation failed",
}


class Stopped(EngineError):
    """abort() ended the evaluation."""


_KINDS = {_STOPPED: Stopped}


class _Handles:
    """What must be freed in C, apart from the Engine so that it can be freed after it."""

    def __init__(self, c: ctypes.CDLL, model: int) -> None:
        self.c, self.model, self.context = c, model, 0
        self.stop_flag = ctypes.create_string_buffer(_GO, 2)
        self.busy = threading.Lock()

    def free(self) -> None:
        """Stop a call in flight and free; what a call that does not stop holds is left to the system."""
        self.stop_flag.value = _STOP
        if self.busy.acquire(timeout=_CLOSE_WAIT_S):
            if self.context:
                self.c.llama_free(self.context)
            self.c.llama_model_free(self.model)
            self.busy.release()


class Engine:
    """One sequence on one model. Use as a context manager; not for two threads at once (`abort` excepted).

    source: returns a C stream (FILE*) to load from instead of `path`; its owner closes it, at the earliest in
        `loaded`. loaded: called when weights and adapter are in place, before the context is made.
    progress: called with the fraction loaded; returning False, or raising, ends the loading.
    explain: asked after a failure for a better error than the engine's own.
    adapter: applied to every evaluation; it must have been opened for this model.
    observe: told what each evaluation computes, for every token, or asked to disturb it; implies
        options.all_logits.
    pager: holds the routed experts; to be closed after the engine.
    Raises ModelFileError, BudgetError, EngineError, or what a hook raised; nothing stays allocated then.
    """

    def __init__(
        self,
        path: Path | Sequence[Path],
        options: EngineOptions | None = None,
        *,
        source: Callable[[], int] | None = None,
        loaded: Callable[[], None] | None = None,
        progress: Progress | None = None,
        explain: Callable[[], SixgigError | None] | None = None,
        adapter: Adapter | None = None,
        observe: Watcher | None = None,
        pager: Pager | None = None,
    ) -> None:
        self.options = observing(options or EngineOptions(), observe)
        self.library: Library = load_library()
        self._c = self.library.c
        self._observation = None if observe is None else watch(self._c, observe)
        self._explain = explain
        self._threads = None if self.options.threads else ThreadCount(usable_cores())
        self._count, self._evaluated_s = self.options.thread_count, 0.0
        self._aborted = self._interruptible = False
        parts = (path,) if isinstance(path, Path) else tuple(path)
        model = load_weights(self.library, parts, self.options, source, progress, explain, pager=pager)
        self._handles = _Handles(self._c, model)
        self._finalizer = weakref.finalize(self, self._handles.free)
        try:
            self._prepare(adapter, loaded)
        except BaseException:
            self.close()
            raise

    def _prepare(self, adapter: Adapter | None, loaded: Callable[[], None] | None) -> None:
        """Everything between the weights and the first token."""
        lora = adapter.load(self.library, self._model) if adapter else 0
        if loaded is not None:
            loaded()
        self.vocabulary = Vocabulary(self.library, self._handles.model)
        self._handles.context = self._make_context()
        if adapter is not None:
            adapter.apply(self.library, self._context, lora)
        window, recurrent = (
            f(self._model) for f in (self._c.llama_model_n_swa, self._c.llama_model_is_recurrent)
        )
        self._cache = KVCache(self._c, self._context, window, recurrent)
        self.context: int = self._c.llama_n_ctx_seq(self._context)
        self.ubatch: int = self._c.llama_n_ubatch(self._context)

    def _make_context(self) -> int:
        params = self._c.llama_context_default_params()
        self.options.apply_to_context(params)
        params.abort_callback = ctypes.cast(_read_flag(), ctypes.c_void_p).value
        params.abort_callback_data = ctypes.addressof(self._handles.stop_flag)
        if self._observation is not None:
            params.cb_eval = ctypes.cast(self._observation.callback, ctypes.c_void_p).value
        self.library.log.clear()
        with InterruptShield():
            context: int | None = self._c.llama_init_from_model(self._handles.model, params)
        if context is None:
            raise self._no_context()
        return context

    def _no_context(self) -> SixgigError:
        tokens = f"{self.options.context} tokens"
        if "allocate" in self.library.log.complaint():
            return BudgetError("there is no memory for the context", tokens, "lower --context")
        return self._failure("llama.cpp cannot make a context", tokens)

    def __enter__(self) -> Self:
        """The engine itself."""
        return self

    def __exit__(self, *_exception: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Free the model and the context; safe to call twice, and called at exit otherwise."""
        self._finalizer()

    def abort(self) -> None:
        """From any thread: end the request, within one operation of a prompt or after the token in flight.

        The next evaluation raises Stopped; prefill() begins a new request. A token is let finish because
        cutting it short would cost the whole KV cache.
        """
        self._aborted = True
        if self._interruptible:
            self._handles.stop_flag.value = _STOP

    @property
    def tokens(self) -> list[int]:
        """The tokens the KV cache holds, oldest first."""
        return self._cache.tokens

    @property
    def fewest_threads(self) -> int:
        """The fewest threads that have computed: less than options.thread_count where others took cores."""
        return self._threads.fewest if self._threads else self.options.threads

    @property
    def room(self) -> int:
        """Positions of the context that are still free."""
        return self.context - len(self._cache)

    @property
    def trained_context(self) -> int:
        """Positions the model was trained for."""
        return int(self._c.llama_model_n_ctx_train(self._model))

    @property
    def chat_template(self) -> str | None:
        """The model's own chat template, a Jinja source."""
        raw: bytes | None = self._c.llama_model_chat_template(self._model, None)
        return raw.decode("utf-8", "replace") if raw else None

    def chat_format(self) -> ChatFormat:
        """How the model chats. Raises ModelFileError for a template that does not work."""
        return ChatFormat(self._model, self.vocabulary)

    def metadata(self, key: str) -> str | None:
        """A value of the file's header in the engine's own words, None where it has no such key."""
        held = ctypes.create_string_buffer(_LONGEST_VALUE)
        size = self._c.llama_model_meta_val_str(self._model, key.encode(), held, len(held))
        return None if size < 0 else held.value.decode("utf-8", "replace")

    def clear(self) -> None:
        """Forget every token."""
        self._cache.clear()

    def prefill(self, prompt: Sequence[int], progress: Callable[[float], object] | None = None) -> int:
        """Bring the context to hold exactly `prompt`; the logits of its last token are ready then.

        Keeps the longest prefix that is there already, where the model's memory can drop its tail (with
        options.checkpoint: or the one that the last prompt kept); evaluates the rest in ubatches and returns
        how many tokens that were. `progress` gets the fraction done.
        Raises UsageError for a prompt that is empty or longer than the context, else as feed().
        """
        self._aborted = False
        if not prompt:
            raise UsageError("the prompt is empty", "0 tokens", "give it some text")
        self._require_room(len(prompt), self.context)
        kept = self._cache.keep_prefix(prompt)
        if kept and self.options.checkpoint:
            self._cache.save()
        for start in range(kept, len(prompt), self.ubatch):
            self.feed(prompt[start : start + self.ubatch])
            if progress is not None:
                progress(len(self._cache) / len(prompt))
        return len(prompt) - kept

    def decode(self, token: int) -> Logits:
        """Append one token; the logits after it, float32 [vocabulary], a copy. Raises as feed()."""
        self.feed([token])
        return self.logits()

    def feed(self, tokens: Sequence[int]) -> None:
        """Append up to `ubatch` tokens in one evaluation.

        Raises UsageError when they do not fit the context. When the evaluation fails, what `explain` says, or
        EngineError, or what the observer raised; the context is then empty (after abort() it holds what it
        can of what it held) and later requests are unaffected.
        """
        self._evaluate(tokens, None if self._observation is None else _every(tokens))

    def all_logits(self, tokens: Sequence[int]) -> Logits:
        """Append `tokens`; the logits after each, float32 [tokens, vocabulary]. Needs options.all_logits."""
        assert self.options.all_logits, "open the engine with EngineOptions(all_logits=True)"
        rows = np.empty((len(tokens), self.vocabulary.size), np.float32)
        for start in range(0, len(tokens), self.ubatch):
            chunk = tokens[start : start + self.ubatch]
            self._evaluate(chunk, _every(chunk))
            for row in range(len(chunk)):
                rows[start + row] = self._row(row)
        return rows

    def logits(self) -> Logits:
        """The logits after the last token evaluated, float32 [vocabulary], a copy."""
        return self._row(-1).copy()

    def sample_with(self, chain: int) -> int:
        """Let a llama_sampler chain choose from the last logits, without a copy.

        Raises EngineError where they hold NaN or nothing above minus infinity: no token is likelier then.
        """
        highest = self._row(-1).max()  # NaN if any is
        if not np.isfinite(highest):
            place = len(self._cache)
            self.clear()
            cure = "the file may be damaged, or a KV cache type or a kernel overflows: try sixgig score on it"
            raise EngineError("the model's logits are no numbers", f"{highest} after {place} tokens", cure)
        return int(self._c.llama_sampler_sample(chain, self._context, -1))

    @property
    def _context(self) -> int:
        assert self._finalizer.alive, "the engine is closed"
        return self._handles.context

    @property
    def _model(self) -> int:
        assert self._finalizer.alive, "the engine is closed"
        return self._handles.model

    def _row(self, index: int) -> Logits:
        pointer = self._c.llama_get_logits_ith(self._context, index)
        assert pointer, "no logits: nothing was evaluated"
        return np.ctypeslib.as_array(pointer, (self.vocabulary.size,))

    def _evaluate(self, tokens: Sequence[int], wanted: Any) -> None:
        self._require_room(len(tokens), self.room)
        ids = (ctypes.c_int32 * len(tokens))(*tokens)
        batch = Batch(n_tokens=len(tokens), token=ids, logits=wanted)
        self._begin(interruptible=len(tokens) > 1)
        with InterruptShield(), self._handles.busy:
            self._leave_cores_to_others()
            held, status = len(self._cache), self._c.llama_decode(self._context, batch)
            self._note_evaluated()
            self._cache.note(tokens)
            observer_error = self._observation and self._observation.take_error()
            if status != 0 or observer_error:
                number, kind = _STATUS.get(status, f"status {status}"), _KINDS.get(status, EngineError)
                error = observer_error or self._failure("the evaluation failed", number, kind)
                if status == _STOPPED and not observer_error:
                    self._cache.rewind(held)
                else:
                    self.clear()
                raise error

    def _leave_cores_to_others(self) -> None:
        if self._threads is None:
            return
        count = self._threads.now(time.monotonic() - self._evaluated_s)
        if count != self._count:
            self._c.llama_set_n_threads(self._context, count, count)
            self._count = count

    def _note_evaluated(self) -> None:
        if self._threads is not None:
            self._threads.now(idle_s=0.0)
            self._evaluated_s = time.monotonic()

    def _begin(self, interruptible: bool) -> None:
        """Arm the stop flag, then look whether abort() came before: so no abort is lost between the two."""
        self.library.log.clear()
        self._handles.stop_flag.value = _GO
        self._interruptible = interruptible
        if self._observation is not None:
            self._observation.begin()
        if self._aborted:
            raise Stopped("the evaluation was stopped")

    def _failure(self, what: str, numbers: str, kind: type[EngineError] = EngineError) -> SixgigError:
        explained = self._explain() if self._explain is not None else None
        complaint = self.library.log.complaint()
        return explained or kind(what, f"{numbers}: {complaint}" if complaint else numbers)

    def _require_room(self, needed: int, room: int) -> None:
        if needed <= room:
            return
        fit = f"{room} fit" if room == self.context else f"{room} of {self.context} positions free"
        numbers = f"{counted(needed, 'token')}, {fit}"
        wanted, trained = self.context - room + needed, self.trained_context or sys.maxsize
        if wanted <= trained:
            roomy = -(-(wanted + _ANSWER) // _ANSWER) * _ANSWER
            cure = f"raise it: --context {min(roomy, trained)}"
        else:
            gives = f", which --context {trained} gives" if self.context < trained else ""
            cure = f"shorten it: the model was trained for {trained} tokens{gives}"
        raise UsageError("the text is longer than the context", numbers, cure)


def observing(options: EngineOptions, observe: Watcher | None) -> EngineOptions:
    """The options as observing needs them: the last layers compute only tokens whose logits are wanted."""
    return options if observe is None else replace(options, all_logits=True)


def _every(tokens: Sequence[int]) -> Any:
    """The mark that logits are wanted after each token."""
    return (ctypes.c_int8 * len(tokens))(*([1] * len(tokens)))


def _read_flag() -> Any:
    """A C function that reads the stop flag: atoi of "0" or "1"; a Python one costs the GIL at every node."""
    return ctypes.CDLL(None).atoi
