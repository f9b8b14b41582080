"""Writes everything of a GGUF that stands before the data, with the gguf package."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from struct import error
from typing import TYPE_CHECKING

import numpy as np

from sixgig.checkpoint.config import Config
from sixgig.checkpoint.recipe import Keys, Recipe, Value
from sixgig.checkpoint.safetensors import damaged
from sixgig.checkpoint.target import Target
from sixgig.checkpoint.vocabulary import Vocabulary

if TYPE_CHECKING:
    from gguf import GGUFWriter

# What the gguf package raises over JSON that is not what it expects.
_MISREAD = (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError, error)
_SPECIAL = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
_FILE_TYPES = {"F32": 0, "F16": 1, "BF16": 32}  # llama.cpp's llama_ftype


def write_header(
    path: Path,
    folder: Path,
    recipe: Recipe,
    config: Config,
    keys: Keys,
    vocabulary: Vocabulary,
    targets: Sequence[Target],
    alignment: int,
) -> None:
    """Metadata and the list of tensors to `path`, without the padding before the data."""
    from gguf import GGUFWriter

    writer = GGUFWriter(path, recipe.architecture)
    writer.add_type("model")
    writer.add_name(folder.resolve().name.encode(errors="replace").decode())
    writer.add_custom_alignment(alignment)
    writer.add_quantization_version(2)
    writer.add_file_type(_file_type(targets))
    for key, value in keys.items():
        _add(writer, f"{recipe.architecture}.{key}", value)
    _add_tensors(writer, targets)
    try:
        _add_vocabulary(writer, vocabulary)
        _add_special(writer, folder, config, vocabulary, recipe.special)
        _write(writer, path)
    except _MISREAD as problem:
        raise damaged(folder, "its tokenizer files are damaged", str(problem)[:120]) from problem
    finally:
        writer.close()


def _write(writer: "GGUFWriter", path: Path) -> None:
    writer.write_header_to_file(path)
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()


def _file_type(targets: Sequence[Target]) -> int:
    """By what holds the most bytes."""
    n_bytes = Counter[str]()
    for target in targets:
        n_bytes[target.type.name] += target.size_bytes
    return _FILE_TYPES[n_bytes.most_common(1)[0][0]]


def _add(writer: "GGUFWriter", key: str, value: Value) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)


def _add_vocabulary(writer: "GGUFWriter", vocabulary: Vocabulary) -> None:
    writer.add_tokenizer_model(vocabulary.model)
    writer.add_tokenizer_pre(vocabulary.cutting)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.kinds)
    if vocabulary.scores:
        writer.add_token_scores(vocabulary.scores)
    if vocabulary.prefixed is not None:
        writer.add_add_space_prefix(vocabulary.prefixed)


def _add_special(
    writer: "GGUFWriter", folder: Path, config: Config, vocabulary: Vocabulary, named: dict[str, str]
) -> None:
    """Merges, special tokens and the chat template as the gguf package finds them.

    A negative number in config.json means that there is no such token.
    """
    from gguf import SpecialVocab

    kinds = [kind for kind in _SPECIAL if not _is_negative(config.values.get(f"{kind}_token_id"))]
    by_bytes, n_tokens = vocabulary.model == "gpt2", len(vocabulary.tokens)
    special = SpecialVocab(folder, load_merges=by_bytes, special_token_types=kinds, n_vocab=n_tokens)
    for kind, token in named.items():
        if token in vocabulary.tokens:
            special.special_token_ids.setdefault(kind, vocabulary.tokens.index(token))
    special.add_to_gguf(writer, quiet=True)


def _is_negative(number: object) -> bool:
    return isinstance(number, int) and number < 0


def _add_tensors(writer: "GGUFWriter", targets: Sequence[Target]) -> None:
    from gguf import GGMLQuantizationType, size_label

    for target in targets:
        kind = GGMLQuantizationType(target.type.id)
        writer.add_tensor_info(target.name, target.shape, np.dtype(np.float32), target.size_bytes, kind)
    writer.add_size_label(size_label(*writer.get_total_parameter_count()))
