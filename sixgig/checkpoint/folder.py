"""The files of a checkpoint folder: config.json, and tensors in one file or the shards an index names."""

import re
from pathlib import Path

from sixgig.checkpoint.safetensors import Stored, damaged, first_repeated, read_json, read_stored
from sixgig.errors import ModelFileError
from sixgig.families.terms.config import Config
from sixgig.modelfile.checkpoint_folder import INDEX, shard_names

_SHARD = re.compile(r"model-([0-9]{5})-of-([0-9]{5})\.safetensors", re.ASCII)
_CURE = "fetch all files of the repository into one folder"


def read_tensors(folder: Path) -> dict[str, Stored]:
    """Every tensor by its name in the checkpoint; ModelFileError where files are missing or contradict."""
    index = _index(folder)
    names = sorted(set(index.values())) if index else _unindexed(folder)
    if missing := [name for name in names if not (folder / name).is_file()]:
        numbers = f"{len(missing)} of {len(names)}, the first is {missing[0]}"
        raise ModelFileError(f"{folder.name}: weight files are missing", numbers, _CURE)
    tensors = [tensor for name in names for tensor in read_stored(folder / name)]
    if (twice := first_repeated(tensor.name for tensor in tensors)) is not None:
        raise ModelFileError(f"{folder.name}: {twice[:80]!r} is in two files", cure=_CURE)
    found = {tensor.name: tensor for tensor in tensors}
    _check_index(folder, index, found)
    return found


def _index(folder: Path) -> dict[str, str]:
    """File by tensor; empty without an index."""
    path = folder / INDEX
    if not path.is_file():
        return {}
    weight_map = read_json(path).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise damaged(path, "it has no weight_map")
    for name, file in weight_map.items():
        if not isinstance(file, str) or Path(file).name != file or not file.endswith(".safetensors"):
            raise damaged(
                path, f"{name[:80]!r} is said to be in {str(file)[:80]!r}", "no file of this folder"
            )
    return weight_map


def _unindexed(folder: Path) -> list[str]:
    """The files there are, of which none may be missing by their names."""
    names = shard_names(folder)
    if not names:
        raise ModelFileError(f"{folder.name} has no weights", "no model*.safetensors in it", _CURE)
    parts = [match for name in names if (match := _SHARD.fullmatch(name))]
    if parts and len(parts) != int(parts[0][2]):
        numbers = f"{len(parts)} of {int(parts[0][2])} by their names"
        raise ModelFileError(f"{folder.name}: weight files are missing", numbers, _CURE)
    return names


def _check_index(folder: Path, index: dict[str, str], found: dict[str, Stored]) -> None:
    """What the index announces and what the files hold must be the same."""
    if not index:
        return
    wrong = [name for name, file in index.items() if name not in found or found[name].path.name != file]
    extra = [name for name in found if name not in index]
    if wrong or extra:
        numbers = f"{len(wrong)} missing, {len(extra)} not announced, such as {(wrong or extra)[0][:80]!r}"
        raise ModelFileError(f"{folder.name}: {INDEX} and the weight files disagree", numbers, _CURE)


def read_config(folder: Path) -> Config:
    """The folder's config.json; ModelFileError when it is missing or damaged."""
    path = folder / "config.json"
    if not path.is_file():
        raise ModelFileError(f"{folder.name} has no config.json", cure="fetch the whole repository")
    return Config(read_json(path, 16 * 2**20))
