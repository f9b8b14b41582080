"""The one word that tells a quantisation from its siblings: "Q4_K_M"."""

from collections import Counter

from sixgig.modelfile.header import Header
from sixgig.modelfile.names import quantisation

_GUESSED = 1024  # llama.cpp's LLAMA_FTYPE_GUESSED, a flag beside the number


def label(name: str, header: Header | None) -> str:
    """The quantisation by general.file_type, else by the file's name, else by what holds the most bytes.

    A name that carries a mix which ggml's table lacks (UD-Q4_K_XL) says more than the number, and wins.
    """
    named, numbered = quantisation(name), _numbered(header) if header else None
    if named is not None and (numbered is None or named not in _table().values()):
        return named
    return numbered or (_dominant(header) if header else None) or "unknown"


def _numbered(header: Header) -> str | None:
    """The name of general.file_type in ggml's table (LLAMA_FTYPE)."""
    entry = next((entry for entry in header.metadata.entries if entry.key == "general.file_type"), None)
    number = entry.value if entry else None
    return _table().get(number & ~_GUESSED) if isinstance(number, int) else None


def _table() -> dict[int, str]:
    from gguf.constants import LlamaFileType

    return {int(kind): kind.name.removeprefix("MOSTLY_").removeprefix("ALL_") for kind in LlamaFileType}


def _dominant(header: Header) -> str | None:
    n_bytes = Counter[str]()
    for tensor in header.tensors:
        n_bytes[tensor.type.name] += tensor.size_bytes
    return n_bytes.most_common(1)[0][0] if n_bytes else None
