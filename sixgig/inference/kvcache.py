"""What the context remembers: which tokens, and how much of them can be kept for another prompt."""

import ctypes
from array import array
from collections.abc import Sequence

_WHOLE, _PARTIAL = 0, 1  # LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY: without caches that can be cut anywhere


class KVCache:
    """The memory of sequence 0 of a context (attention caches, recurrent states), and the tokens in it."""

    def __init__(self, c: ctypes.CDLL, context: int, window: int, recurrent: bool = False) -> None:
        """`window`: positions a sliding-window layer looks back, 0 when no layer slides. `recurrent`: there
        are recurrent states only."""
        self._c, self._context = c, context
        self._memory: int = c.llama_get_memory(context)
        self._window, self._recurrent = window, recurrent
        self._tokens = array("i")
        self._saved = ctypes.create_string_buffer(0)
        self._saved_length = 0  # tokens that `_saved` is the state after; 0: nothing is saved

    def __len__(self) -> int:
        """Tokens held."""
        return len(self._tokens)

    @property
    def tokens(self) -> list[int]:
        """The tokens held, oldest first."""
        return self._tokens.tolist()

    def clear(self) -> None:
        """Forget everything."""
        del self._tokens[:]
        self._saved_length = 0
        self._c.llama_memory_clear(self._memory, True)

    def note(self, tokens: Sequence[int]) -> None:
        """Record tokens that an evaluation has just appended."""
        self._tokens.extend(tokens)

    def keep_prefix(self, prompt: Sequence[int]) -> int:
        """Keep the common prefix with `prompt`, short of its last token; drop the rest. Returns its length.

        Where the memory cannot be cut there (recurrent state, or a window that has slid past) the length that
        was saved, or 0.
        """
        length = _common_prefix(self._tokens, prompt)
        if not self._cut(length):
            self._return(length)
        del self._tokens[length:]
        return len(self._tokens)

    def save(self) -> None:
        """Keep a copy of what cannot be cut back, to come back to the present length; one length is kept.

        Costs the bytes of recurrent states and sliding windows (planning.context.checkpoint_bytes), nothing
        where there are none.
        """
        if self._saved_length == len(self._tokens):
            return
        self._saved_length = 0
        size = self._c.llama_state_seq_get_size_ext(self._context, 0, _PARTIAL)
        if not self._recurrent and size == self._c.llama_state_seq_get_size_ext(self._context, 0, _WHOLE):
            return  # attention only: it can be cut anywhere
        if len(self._saved) != size:
            self._saved = ctypes.create_string_buffer(size)
        if self._c.llama_state_seq_get_data_ext(self._context, self._saved, size, 0, _PARTIAL) == size:
            self._saved_length = len(self._tokens)

    def rewind(self, length: int) -> None:
        """Hold the first `length` tokens again after an evaluation that was stopped half-way, or those that
        were saved, or none."""
        whole = self._c.llama_memory_seq_pos_max(self._memory, 0) == length - 1
        if not (length and whole and self._looks_back(length)):
            self._return(length)
        del self._tokens[length:]

    def _cut(self, length: int) -> bool:
        if length == 0 or self._c.llama_memory_seq_pos_max(self._memory, 0) != len(self._tokens) - 1:
            return False
        if length == len(self._tokens):
            return True
        return self._looks_back(length) and self._remove_from(length)

    def _looks_back(self, length: int) -> bool:
        """Does the memory hold every position that one at `length` looks back to?"""
        oldest: int = self._c.llama_memory_seq_pos_min(self._memory, 0)
        return oldest <= max(0, length - self._window - 1)

    def _remove_from(self, length: int) -> bool:
        return bool(self._c.llama_memory_seq_rm(self._memory, 0, length, -1))

    def _return(self, most: int) -> None:
        """To the length that was saved, if that is not above `most`; else to nothing."""
        length, size = self._saved_length, len(self._saved)
        restored = 0 < length <= most and self._c.llama_state_seq_set_data_ext(
            self._context, self._saved, size, 0, _PARTIAL
        )
        if restored and self._remove_from(length):
            del self._tokens[length:]
        else:
            self.clear()


def _common_prefix(cached: Sequence[int], prompt: Sequence[int]) -> int:
    limit = min(len(cached), len(prompt) - 1)
    return next((i for i in range(limit) if cached[i] != prompt[i]), limit)
