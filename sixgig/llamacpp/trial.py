"""A model opened in a process that may die of it: `python -m sixgig.llamacpp.trial`, with one order on stdin.

llama.cpp ends its process over some files (GGML_ASSERT, an exception that nobody catches, division by zero).
Here it does what opening, planning and the first text need, without allocating weights. Status OPENED: all of
it worked; REFUSED: the engine itself said no, and will say so again. Its last words are on stderr.
Imports little: only the first start with a file waits for it, but all of that is waiting.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import sys
from typing import Any

from sixgig.llamacpp.breakdown import plan_buffers
from sixgig.llamacpp.graph import model_traits
from sixgig.llamacpp.library import load_library
from sixgig.llamacpp.log import ERROR
from sixgig.llamacpp.structs import LOG_CALLBACK, ContextParams, ModelParams

OPENED, REFUSED = 0, 3
# Every byte that UTF-8 can hold: what has no token of its own is spelled byte by byte.
TEXT = "".join(map(chr, (*range(1, 0x250), *range(0x400, 0x11000, 0x3F), 0x1F600, 0x10FFFF))).encode(
    "utf-8", "ignore"
)


def main() -> None:
    """One order: parts, model and context (parameters, as hex), adapter or None, memory_bytes."""
    order = json.load(sys.stdin)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    limit = order["memory_bytes"]
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    c = load_library().c
    say = LOG_CALLBACK(_say)
    c.llama_log_set(say, None)
    # At once: nothing here is worth tidying up, and exit handlers would only find more to stumble over.
    os._exit(OPENED if _opens(c, order) else REFUSED)


def _opens(c: ctypes.CDLL, order: dict[str, Any]) -> bool:
    params = ModelParams.from_buffer_copy(bytes.fromhex(order["model"]))
    parts = [os.fsencode(part) for part in order["parts"]]
    paths = (ctypes.c_char_p * len(parts))(*parts)
    if len(parts) == 1:
        model = c.llama_model_load_from_file(paths[0], params)
    else:
        model = c.llama_model_load_from_splits(paths, len(parts), params)
    if not model:
        return False
    _spell(c, c.llama_model_get_vocab(model))
    if order["context"] is None:
        return True
    context = c.llama_init_from_model(model, ContextParams.from_buffer_copy(bytes.fromhex(order["context"])))
    if not context:
        return False
    model_traits(c, model, context)
    return order["adapter"] is None or _adapts(c, model, context, order["adapter"])


def _spell(c: ctypes.CDLL, vocab: int) -> None:
    """A text to tokens, and every token to text."""
    if not c.llama_vocab_type(vocab):
        return
    ids = (ctypes.c_int32 * (len(TEXT) + 8))()
    c.llama_tokenize(vocab, TEXT, len(TEXT), ids, len(ids), True, True)
    n_tokens = c.llama_vocab_n_tokens(vocab)
    every, letter = (ctypes.c_int32 * n_tokens)(*range(n_tokens)), ctypes.create_string_buffer(1)
    c.llama_detokenize(vocab, every, n_tokens, letter, 1, False, True)


def _adapts(c: ctypes.CDLL, model: int, context: int, path: str) -> bool:
    lora = c.llama_adapter_lora_init(model, os.fsencode(path))
    if not lora:
        return False
    handles, scales = (ctypes.c_void_p * 1)(lora), (ctypes.c_float * 1)(1.0)
    if c.llama_set_adapters_lora(context, handles, 1, scales) != 0:
        return False
    plan_buffers(c, context)
    return True


def _say(level: int, text: bytes | None, _user_data: Any) -> None:
    if level == ERROR and text:
        os.write(2, text)


if __name__ == "__main__":
    main()
