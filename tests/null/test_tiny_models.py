"""Every tiny model loads in the pinned library, decodes, and routes by token."""

import ctypes
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sixgig.llamacpp import Batch, Library, load_library
from tests.tiny.models import DENSE, MIXTURES

TOKENS = [70, 80, 90, 100, 110, 70, 80, 91]


@pytest.fixture(scope="module")
def library() -> Library:
    return load_library()


def decoded(library: Library, path: Path, tokens: list[int]) -> NDArray[np.float32]:
    """Logits of the last token, plain llama_decode."""
    c = library.c
    params = c.llama_model_default_params()
    params.use_extra_bufts = False
    model = c.llama_model_load_from_file(str(path).encode(), params)
    assert model, library.log.complaint()
    options = c.llama_context_default_params()
    options.n_ctx, options.n_batch, options.n_ubatch, options.n_threads, options.n_threads_batch = (
        64,
        64,
        64,
        1,
        1,
    )
    context = c.llama_init_from_model(model, options)
    assert context
    ids = (ctypes.c_int32 * len(tokens))(*tokens)
    batch = Batch(n_tokens=len(tokens), token=ctypes.cast(ids, dict(Batch._fields_)["token"]))
    assert c.llama_decode(context, batch) == 0
    n_vocab = c.llama_vocab_n_tokens(c.llama_model_get_vocab(model))
    logits = np.ctypeslib.as_array(c.llama_get_logits_ith(context, -1), (n_vocab,)).copy()
    c.llama_free(context)
    c.llama_model_free(model)
    return logits


@pytest.mark.parametrize("architecture", [*MIXTURES, *DENSE])
def test_llama_cpp_decodes_it(library: Library, architecture: str, tiny: Callable[..., Path]) -> None:
    path = tiny(architecture)
    first, again = decoded(library, path, TOKENS), decoded(library, path, TOKENS)
    other = decoded(library, path, [*TOKENS[:-1], 120])
    assert np.isfinite(first).all() and first.std() > 0.1
    assert (first == again).all() and np.abs(first - other).max() > 0.1
