"""Writes everything of a GGUF that stands before the data, with the gguf package."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from struct import error
from typing import TYPE_CHECKING

import numpy as np

from sixgig.checkpoint.naming import model_name
from sixgig.checkpoint.safetensors import damaged
from sixgig.checkpoint.special import Special
from sixgig.checkpoint.target import Target
from sixgig.checkpoint.vocabulary import Vocabulary
from sixgig.families.terms.recipe import Keys, Recipe, Value

if TYPE_CHECKING:
    from gguf import GGUFWriter

# What the gguf package raises over JSON that is not what it expects.
_MISREAD = (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError, error)
_KEYS = {"unk": "unknown", "sep": "seperator", "pad": "padding"}  # as GGUF spells them
_FILE_TYPES = {"F32": 0, "F16": 1, "BF16": 32}  # llama.cpp's llama_ftype


def write_header(
    path: Path,
    folder: Path,
    recipe: Recipe,
    keys: Keys,
    vocabulary: Vocabulary,
    special: Special,
    targets: Sequence[Target],
    alignment: int,
) -> None:
    """Metadata and the list of tensors to `path`, without the padding before the data."""
    from gguf import GGUFWriter

    writer = GGUFWriter(path, recipe.architecture)
    writer.add_type("model")
    writer.add_name(model_name(folder.resolve().name.encode(errors="replace").decode(), vocabulary))
    writer.add_custom_alignment(alignment)
    writer.add_quantization_version(2)
    writer.add_file_type(_file_type(targets))
    for key, value in keys.items():
        _add(writer, f"{recipe.architecture}.{key}", value)
    _add_tensors(writer, targets)
    try:
        _add_vocabulary(writer, vocabulary)
        _add_special(writer, special)
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
    if vocabulary.merges:
        writer.add_token_merges(vocabulary.merges)
    if vocabulary.scores:
        writer.add_token_scores(vocabulary.scores)
    if vocabulary.prefixed is not None:
        writer.add_add_space_prefix(vocabulary.prefixed)


def _add_special(writer: "GGUFWriter", special: Special) -> None:
    """Special tokens by use, what is put around a text, templates, and how to sample."""
    for kind, number in special.ids.items():
        writer.add_uint32(f"tokenizer.ggml.{_KEYS.get(kind, kind)}_token_id", number)
    if special.adds_bos is not None:
        writer.add_add_bos_token(special.adds_bos)
    if special.adds_eos is not None:
        writer.add_add_eos_token(special.adds_eos)
    if special.templates:
        writer.add_chat_template(
            [{"name": name, "template": text} for name, text in special.templates.items()]
        )
    for key, value in special.sampling.items():
        _add(writer, key, value)


def _add_tensors(writer: "GGUFWriter", targets: Sequence[Target]) -> None:
    from gguf import GGMLQuantizationType, size_label

    for target in targets:
        kind = GGMLQuantizationType(target.type.id)
        writer.add_tensor_info(target.name, target.shape, np.dtype(np.float32), target.size_bytes, kind)
    writer.add_size_label(size_label(*writer.get_total_parameter_count()))
