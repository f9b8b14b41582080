"""Whole models of every family with drawn weights, in which chosen experts are dead; and their logits.

The first channel of the hidden state is a large constant: every embedding has it and nothing writes to it.
A router row of minus that channel gives an expert a gate of nothing for every token, whatever the gating.
"""

import ctypes
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from zlib import crc32

import numpy as np

from sixgig.compress.write import Job, write_model
from sixgig.families import Role
from sixgig.llamacpp import Batch, load_library
from sixgig.modelfile import TYPE_BY_NAME, open_model
from sixgig.weights.stored import Floats, StoredWeights, WeightInfo, Weights
from tests.described import families
from tests.tiny.models import DENSE, MIXTURES, build

CLOSE = 2e-4
TOKENS = [70, 80, 90, 100, 110, 70, 80, 91]
_LARGE, _CERTAIN = 4.0, 1e4
_FOLDER = TemporaryDirectory(prefix="sixgig-cut-models-")
Change = Callable[[WeightInfo, Floats], None]


class Drawn(StoredWeights):
    """The tensors of a header, random; `change` may set some, given a tensor [matrices, outputs, inputs].

    Decided by name and shape, so that a model stays the same whatever is asked for first.
    """

    def __init__(self, path: Path, change: Change | None = None) -> None:
        super().__init__(open_model(path))
        self._change, self._made = change, dict[str, Floats]()

    def rows(self, name: str, first: int, last: int) -> Floats:
        if name not in self._made:
            self._made[name] = self._draw(next(info for info in self.tensors if info.name == name))
        return self._made[name][first:last]

    def stored(self, name: str, first: int, last: int) -> None:  # type: ignore[override]
        return None

    def _draw(self, info: WeightInfo) -> Floats:
        random = np.random.default_rng(crc32(info.name.encode()))
        shape = (info.n_matrices, info.rows_per_matrix, info.row_length)
        values = random.standard_normal(shape, np.float32)
        values *= _deviation(info)
        values += float(_is_norm(info))
        _keep_first_channel_constant(info, values)
        if self._change is not None:
            self._change(info, values)
        return values.reshape(-1, info.row_length)


def _is_norm(info: WeightInfo) -> bool:
    return len(info.shape) == 1 and "norm" in info.name


def _deviation(info: WeightInfo) -> np.float32:
    if info.role is Role.EMBEDDING:
        return np.float32(1.0)
    if len(info.shape) == 1:
        return np.float32(0.1)
    return np.float32(2.0 / info.row_length**0.5)


def _keep_first_channel_constant(info: WeightInfo, values: Floats) -> None:
    writes = ("attn_output.", "ffn_down", "ssm_out.", "out_proj.")
    if info.role is Role.EMBEDDING:
        values[..., 0] = _LARGE
    elif _is_norm(info):
        values[..., 0] = 1.0
    elif any(stem in info.name for stem in writes) and "exps.bias" not in info.name:
        values[:, 0] = 0.0
    elif "ffn_down_exps.bias" in info.name or "attn_output.bias" in info.name:
        values[..., 0] = 0.0


def kill(dead: Iterable[int]) -> Change:
    """Experts that no token ever chooses, in every layer."""
    rows = list(dead)

    def change(info: WeightInfo, values: Floats) -> None:
        if info.role is Role.ROUTER and len(info.shape) == 2:
            values[0, :, 0] = 0.0
            values[0, rows] = 0.0
            values[0, rows, 0] = -_CERTAIN
        elif info.role is Role.ROUTER:
            values[0, 0, rows] = -100.0

    return change


def header(name: str, path: Path, **metadata: object) -> Path:
    """The header of a family's small model: a described one at `path`, or a tiny one made once."""
    return families.write(name, path, **metadata) if name in families.FAMILIES else _tiny(name)


@cache
def _tiny(name: str) -> Path:
    assert name in {**DENSE, **MIXTURES}
    return build(name, Path(_FOLDER.name) / f"{name}.gguf")


def write(weights: Weights, path: Path, kind: str = "F32") -> Path:
    """The model as a file: matrices in `kind` where rows fit, the rest as they were."""

    def chosen(info: WeightInfo) -> str:
        return kind if len(info.shape) > 1 and info.type.name != "F32" else info.type.name

    types = {info.name: TYPE_BY_NAME[chosen(info)] for info in weights.tensors}
    write_model(Job(weights, types, lambda name: None, {}), path, 1)
    return path


def logits(path: Path, tokens: list[int] = TOKENS) -> Floats:
    """Logits after each token, [tokens, vocabulary], from plain llama_decode without our backend."""
    library = load_library()
    c = library.c
    params = c.llama_model_default_params()
    params.use_extra_bufts = False
    model = c.llama_model_load_from_file(str(path).encode(), params)
    assert model, library.log.complaint()
    options = c.llama_context_default_params()
    options.n_ctx, options.n_batch, options.n_ubatch = 64, 64, 64
    options.flash_attn_type = options.type_k = options.type_v = 0  # all in F32: rounding makes much of little
    options.n_threads = options.n_threads_batch = 1
    context = c.llama_init_from_model(model, options)
    assert context, library.log.complaint()
    ids = (ctypes.c_int32 * len(tokens))(*tokens)
    wanted = (ctypes.c_int8 * len(tokens))(*([1] * len(tokens)))
    fields = dict(Batch._fields_)
    batch = Batch(
        n_tokens=len(tokens),
        token=ctypes.cast(ids, fields["token"]),
        logits=ctypes.cast(wanted, fields["logits"]),
    )
    assert c.llama_decode(context, batch) == 0, library.log.complaint()
    n_vocab = c.llama_vocab_n_tokens(c.llama_model_get_vocab(model))
    rows = [
        np.ctypeslib.as_array(c.llama_get_logits_ith(context, i), (n_vocab,)).copy()
        for i in range(len(tokens))
    ]
    c.llama_free(context)
    c.llama_model_free(model)
    return np.stack(rows)


def as_indices(kept: Mapping[int, Iterable[int]]) -> dict[int, np.ndarray]:
    """Lists as index arrays."""
    return {layer: np.array(list(indices), np.int64) for layer, indices in kept.items()}
