"""Names of models as other programs take them: addresses of the hub's pages, OWNER/REPO without hf:."""

from __future__ import annotations

import os
import re
from pathlib import Path

from sixgig.errors import ModelFileError, UsageError
from sixgig.modelfile.names import is_gguf

_PAGE = re.compile(
    r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/([\w.-]+/[\w.-]+)"
    r"(?::([^/?#]+)|/(?:blob|resolve|raw|tree)/[^/?#]+/?([^?#]*))?/?(?:[?#].*)?",
    re.ASCII | re.IGNORECASE,
)
_ADDRESS = re.compile(r"[a-z][a-z0-9+]*://", re.IGNORECASE)
_PLAIN = re.compile(r"([\w-][\w.-]*/[\w.-]+)(?::[^/]+|/([^:]+))?", re.ASCII)


def path_of(model: str) -> Path:
    """The path that names a model, a leading ~ expanded. Raises UsageError for an address of the web,
    ModelFileError for what is not there and looks like the hub's OWNER/REPO; both say what to name."""
    if better := of_page(model):
        raise UsageError(f"{model} is the address of a page", cure=f"name {better}")
    if _ADDRESS.match(model):
        cure = "fetch the file and name it, or name hf:owner/repo"
        raise UsageError(f"{model} is an address, and models are files", cure=cure)
    path = Path(model).expanduser()
    if (better := _of_owner(model)) and not os.path.exists(path):
        raise ModelFileError(f"{model} does not exist", cure=f"did you mean {better}?")
    return path


def of_page(text: str) -> str:
    """hf:owner/repo[:word] for the address of a page or file of the hub; "" for anything else."""
    if not (page := _PAGE.fullmatch(text)):
        return ""
    repository, quant, file = page.groups()
    word = quant or (file if is_gguf(file or "") else "")
    return f"hf:{repository}:{word}" if word else f"hf:{repository}"


def _of_owner(text: str) -> str:
    """hf:owner/repo[:word] for a text like it of which not even the first folder is there; "" for others."""
    named = _PLAIN.fullmatch(text)
    if named is None or os.path.exists(text.partition("/")[0]):
        return ""
    repository, file = named.groups()
    if file is not None:
        return f"hf:{repository}:{file}" if "gguf" in repository.lower() else ""
    return "" if is_gguf(repository) else f"hf:{text}"
