"""The one word that tells a quantisation from its siblings: "Q4_K_M"."""

from collections import Counter
from collections.abc import Sequence
from math import prod

from sixgig.families import Role, family
from sixgig.modelfile.header import Header
from sixgig.modelfile.names import quantisation

_GUESSED = 1024  # llama.cpp's LLAMA_FTYPE_GUESSED, a flag beside the number


def label(name: str, headers: Sequence[Header]) -> str:
    """The quantisation by general.file_type, else by the file's name, else by the type of most weights.

    A name that carries a mix which ggml's table lacks (UD-Q4_K_XL) says more than the number, and wins.
    headers: of all parts, or as many as are known; the first has the number.
    """
    named, numbered = quantisation(name), _numbered(headers[0]) if headers else None
    if named is not None and (numbered is None or named not in _table().values()):
        return named
    return numbered or _dominant(headers) or "unknown"


def _numbered(header: Header) -> str | None:
    """The name of general.file_type in ggml's table (LLAMA_FTYPE)."""
    entry = next((entry for entry in header.metadata.entries if entry.key == "general.file_type"), None)
    number = entry.value if entry else None
    return _table().get(number & ~_GUESSED) if isinstance(number, int) else None


def _table() -> dict[int, str]:
    from gguf.constants import LlamaFileType

    return {int(kind): kind.name.removeprefix("MOSTLY_").removeprefix("ALL_") for kind in LlamaFileType}


def _dominant(headers: Sequence[Header]) -> str | None:
    """Embedding and head apart, which are often kept in more bits; they count where there is nothing else."""
    inside, apart, vocabulary = Counter[str](), Counter[str](), family("")
    for header in headers:
        for tensor in header.tensors:
            role, _ = vocabulary.classify(tensor.name)
            n_weights = apart if role in (Role.EMBEDDING, Role.HEAD) else inside
            n_weights[tensor.type.name] += prod(tensor.shape)
    found = (inside or apart).most_common(1)
    return found[0][0] if found else None
