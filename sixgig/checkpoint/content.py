"""What a Hugging Face folder holds, in one digest: a conversion is good for exactly that."""

from pathlib import Path

from sixgig.checkpoint.safetensors import MAX_HEADER_BYTES
from sixgig.modelfile.content import ContentFile, files_digest
from sixgig.modelfile.source import opened

CONVERSION = 2  # raised when the same folder is converted into another file than before
_READ = (".json", ".jinja", ".model", ".safetensors", ".txt")  # by the conversion, or by the gguf package


def checkpoint_digest(folder: Path) -> str:
    """Of the folder's own name and every file that a conversion may read. Raises ModelFileError."""
    paths = sorted(path for path in folder.iterdir() if path.suffix in _READ and path.is_file())
    files = [ContentFile(path, path.name, _header_bytes(path)) for path in paths]
    return files_digest(files, (CONVERSION, folder.resolve().name))


def _header_bytes(path: Path) -> int:
    """Of safetensors, the header; of anything else all of it, within reason."""
    with opened(path) as (file, found):
        announced = 8 + int.from_bytes(file.read(8), "little")
    if path.suffix == ".safetensors" and announced > found.size_bytes:
        return 0  # a damaged one, which the conversion refuses
    return min(announced if path.suffix == ".safetensors" else found.size_bytes, MAX_HEADER_BYTES)
