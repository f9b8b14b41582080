"""What the context remembers: which tokens, and how much of them can be kept for another prompt."""

import ctypes
from array import array
from collections.abc import Sequence


class KVCache:
    """The memory of sequence 0 of a context (attention caches, recurrent states), and the tokens in it."""

    def __init__(self, c: ctypes.CDLL, context: int, window: int) -> None:
        """`window`: positions a sliding-window layer looks back, 0 when no layer slides."""
        self._c = c
        self._memory: int = c.llama_get_memory(context)
        self._window = window
        self._tokens = array("i")

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
        self._c.llama_memory_clear(self._memory, True)

    def note(self, tokens: Sequence[int]) -> None:
        """Record tokens that an evaluation has just appended."""
        self._tokens.extend(tokens)

    def keep_prefix(self, prompt: Sequence[int]) -> int:
        """Keep the common prefix with `prompt`, short of its last token; drop the rest. Returns its length.

        0 where the memory cannot be cut there: recurrent state, or a window that has slid past.
        """
        length = _common_prefix(self._tokens, prompt)
        if not self._cut(length):
            self.clear()
            return 0
        del self._tokens[length:]
        return length

    def _cut(self, length: int) -> bool:
        if length == 0 or self._c.llama_memory_seq_pos_max(self._memory, 0) != len(self._tokens) - 1:
            return False
        if length == len(self._tokens):
            return True
        if self._c.llama_memory_seq_pos_min(self._memory, 0) > max(0, length - self._window - 1):
            return False
        return bool(self._c.llama_memory_seq_rm(self._memory, 0, length, -1))


def _common_prefix(cached: Sequence[int], prompt: Sequence[int]) -> int:
    limit = min(len(cached), len(prompt) - 1)
    return next((i for i in range(limit) if cached[i] != prompt[i]), limit)
