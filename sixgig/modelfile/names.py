"""What file names say: which files are models, which are parts of one, and which quantisation they carry."""

import re
from collections.abc import Iterable, Sequence

from sixgig.errors import ModelFileError

_PART = re.compile(r"-([0-9]{5})-of-([0-9]{5})$", re.ASCII)
_NO_MODEL = re.compile(r"mmproj|imatrix", re.IGNORECASE)
_QUANTISATION = re.compile(
    r"(?<![A-Za-z0-9_])(?:UD-)?(?:I?Q[1-8]_(?:[01]|K(?:_(?:XXL|XL|L|M|S|XS))?|XXS|XS|S|M|NL)"
    r"|TQ[12]_0|MXFP4(?:_MOE)?|NVFP4|BF16|F16|F32)(?![A-Za-z0-9_])",
    re.IGNORECASE,
)


def model_sets(files: Iterable[str]) -> dict[str, list[str]]:
    """Files by model, each without part and ending: the parts of a split model share a name.

    Vision projectors (mmproj) and importance matrices are no models and are left out.
    """
    sets: dict[str, list[str]] = {}
    for file in sorted(files):
        if file.endswith(".gguf") and not _NO_MODEL.search(file.rpartition("/")[2]):
            sets.setdefault(model_name(file), []).append(file)
    return sets


def model_name(file: str) -> str:
    """The file's name without its ending and its part."""
    return _PART.sub("", file.removesuffix(".gguf"))


def announced_parts(files: Sequence[str]) -> int:
    """Parts the first file's name announces."""
    match = _PART.search(files[0].removesuffix(".gguf"))
    return int(match[2]) if match else 1


def complete(name: str, files: Sequence[str]) -> tuple[str, ...]:
    """The set's files, having checked that none of its parts is missing; ModelFileError otherwise."""
    if len(files) != announced_parts(files):
        raise ModelFileError(
            f"{name} is incomplete in its repository", f"{len(files)} of {announced_parts(files)} parts"
        )
    return tuple(files)


def carrying(names: Iterable[str], quant: str) -> list[str]:
    """Names with `quant` as a word of their last piece; Q4_K_M is not UD-Q4_K_M where both are there."""
    word = re.compile(rf"(?<![A-Za-z0-9_]){re.escape(quant)}(?![A-Za-z0-9_])", re.IGNORECASE)
    found = [name for name in names if word.search(name.rsplit("/", 1)[-1])]
    plain = [name for name in found if f"UD-{quant}".upper() not in name.upper()]
    return plain or found


def holds(files: Iterable[str], quant: str) -> bool:
    """Whether `files` has all parts of exactly one model that carries `quant`."""
    sets = model_sets(files)
    fitting = carrying(sets, quant)
    return len(fitting) == 1 and len(sets[fitting[0]]) == announced_parts(sets[fitting[0]])


def quantisation(name: str) -> str | None:
    """The quantisation a name carries, the last of several, its folder asked too; None without one."""
    for piece in reversed(name.split("/")):
        if found := _QUANTISATION.findall(piece):
            return str(found[-1]).upper()
    return None
