"""A cut on disk: one .npz that appears whole, arrays as they are and the rest as JSON inside it."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from sixgig.atomic import replace_file
from sixgig.errors import UsageError
from sixgig.weights.cut import Cut, TensorCut

_DESCRIPTION = "description"
_VERSION = 1
_PARTS = ("experts", "rows", "columns")


def save_cut(cut: Cut, path: Path) -> None:
    """Writes `path`; OSError. Foldings stay where they are, named relative to its folder: move both."""
    arrays = dict(_arrays(cut))
    arrays[_DESCRIPTION] = np.frombuffer(json.dumps(_description(cut, path.parent)).encode(), np.uint8)
    out = io.BytesIO()
    np.savez(out, **arrays)  # type: ignore[arg-type]
    replace_file(path, out.getvalue())


def load_cut(path: Path) -> Cut:
    """What was saved, to the bit. UsageError when the file is no cut or a folding is gone."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        described = json.loads(arrays[_DESCRIPTION].tobytes())
        if described["version"] != _VERSION:
            raise ValueError(f"version {described['version']}")
        cut = _cut(described, arrays, path.parent)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, BadZipFile) as error:
        raise UsageError(f"{path} is no cut", str(error)[:80], "remove it and prune again") from error
    _require_foldings(cut)
    return cut


def _arrays(cut: Cut) -> Iterator[tuple[str, NDArray[Any]]]:
    """Every array under a name of its own: part, then tensor."""
    for name, tensor in cut.tensors.items():
        for part in _PARTS:
            if (indices := getattr(tensor, part)) is not None:
                yield f"{part}/{name}", indices
    for name, values in cut.replaced.items():
        yield f"replaced/{name}", values


def _description(cut: Cut, folder: Path) -> dict[str, Any]:
    foldings = {
        name: os.path.relpath(tensor.folding, folder)
        for name, tensor in cut.tensors.items()
        if tensor.folding is not None
    }
    return {
        "version": _VERSION,
        "tensors": list(cut.tensors),
        "replaced": list(cut.replaced),
        "foldings": foldings,
        "metadata": dict(cut.metadata),
        "note": cut.note,
    }


def _cut(described: dict[str, Any], arrays: dict[str, NDArray[Any]], folder: Path) -> Cut:
    foldings = {name: folder / where for name, where in described["foldings"].items()}
    tensors = {
        name: TensorCut(
            arrays.get(f"experts/{name}"),
            arrays.get(f"rows/{name}"),
            arrays.get(f"columns/{name}"),
            foldings.get(name),
        )
        for name in described["tensors"]
    }
    replaced = {name: arrays[f"replaced/{name}"] for name in described["replaced"]}
    return Cut(tensors, replaced, described["metadata"], described["note"])


def _require_foldings(cut: Cut) -> None:
    for name, tensor in cut.tensors.items():
        if tensor.folding is not None and not tensor.folding.is_file():
            raise UsageError(f"the folding of {name} is gone", str(tensor.folding), "prune again")
