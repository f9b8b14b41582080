"""A model under another architecture's name: its keys move along, its tensors stay."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sixgig.modelfile import open_model
from tests.tiny.edited import edited


def renamed(source: Path, path: Path, architecture: str, changes: Mapping[str, Any]) -> Path:
    """`source` as a model of `architecture`; changes: keys without it, with their new values."""
    model = open_model(source)
    own = [key for key in model.metadata if key.startswith(f"{model.architecture}.")]
    moved = {architecture + key.removeprefix(model.architecture): model.metadata.get(key) for key in own}
    named = {f"{architecture}.{name}": value for name, value in changes.items()}
    return edited(source, path, dict.fromkeys(own) | moved | named | {"general.architecture": architecture})
