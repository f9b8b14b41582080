"""Telling a Hugging Face folder, which holds no GGUF file but becomes one, from other folders."""

from pathlib import Path
from shlex import quote

from sixgig.errors import ModelFileError

INDEX = "model.safetensors.index.json"


def shard_names(folder: Path) -> list[str]:
    """The weight files of the folder by name, whether or not an index names them."""
    return sorted(path.name for path in folder.glob("model*.safetensors") if path.is_file())


def is_checkpoint(path: Path) -> bool:
    """Whether `path` is a folder with a config.json and safetensors weights."""
    return (
        path.is_dir()
        and (path / "config.json").is_file()
        and bool(shard_names(path) or (path / INDEX).is_file())
    )


def unconverted(folder: Path) -> ModelFileError:
    """The error where a GGUF is wanted and a checkpoint named, with how to make one of it."""
    cure = f"sixgig shrink {quote(str(folder))} -o NAME.gguf --size SIZE --text FILE makes a GGUF of it"
    return ModelFileError(f"{folder} is a Hugging Face folder and holds no GGUF file", cure=cure)
