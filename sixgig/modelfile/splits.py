"""Finds and checks the parts of a model that was split into several files."""

import re
from collections.abc import Sequence
from pathlib import Path

from sixgig.errors import ModelFileError
from sixgig.modelfile.header import Header, read_header
from sixgig.modelfile.known import KnownArrays
from sixgig.modelfile.source import ByteSource, local_file

_PART_NAME = re.compile(r"(.+)-([0-9]{5})-of-([0-9]{5})\.gguf", re.ASCII | re.DOTALL)
_MAX_PARTS = 9999


def read_headers(path: Path) -> tuple[Header, ...]:
    """The headers of all parts in order, given any one of them; a model in one file has one."""
    opened = read_header(local_file(path))
    n_parts = _announced(opened)
    if n_parts == 1:
        return (opened,)
    paths = part_paths(path, n_parts)
    headers = tuple(opened if part == path else _part(part) for part in paths)
    _check_set(headers)
    return headers


def read_set(sources: Sequence[ByteSource], known: KnownArrays) -> tuple[Header, ...]:
    """The headers of files that are named as all parts of one model, in order."""
    headers = tuple(read_header(source, known) for source in sources)
    if _announced(headers[0]) != len(headers):
        numbers = f"{_announced(headers[0])} parts announced, {len(headers)} there by their names"
        raise ModelFileError(f"{headers[0].source.name} is not named as it was split", numbers, _CURE)
    if len(headers) > 1:
        _check_set(headers)
    return headers


def part_paths(path: Path, n_parts: int) -> tuple[Path, ...]:
    """The paths NAME-00001-of-0000N.gguf and on; ModelFileError when `path` is not named so."""
    match = _PART_NAME.fullmatch(path.name)
    if match is None or int(match[3]) != n_parts or not 1 <= int(match[2]) <= n_parts:
        wanted = f"NAME-00001-of-{n_parts:05d}.gguf"
        raise ModelFileError(
            f"{path.name} is one of {n_parts} parts but not named so", cure=f"name them {wanted} and on"
        )
    return tuple(
        path.with_name(f"{match[1]}-{number:05d}-of-{match[3]}.gguf") for number in range(1, n_parts + 1)
    )


def _announced(header: Header) -> int:
    """Parts that the header says there are, 1 when it says nothing."""
    n_parts = header.metadata.integer("split.count") or 1
    if not 1 <= n_parts <= _MAX_PARTS:
        what = f"{header.source.name}: split.count is out of range"
        raise ModelFileError(what, f"{n_parts}, at most {_MAX_PARTS}")
    return n_parts


def _part(path: Path) -> Header:
    if not path.exists():
        raise ModelFileError(
            f"a part of the model is missing: {path}", cure="fetch all parts into one folder"
        )
    return read_header(local_file(path))


def _check_set(headers: tuple[Header, ...]) -> None:
    """Every part must say its number and the set's size, and together hold the tensors announced."""
    for number, header in enumerate(headers):
        said = header.metadata.integer("split.no"), header.metadata.integer("split.count")
        if said != (number, len(headers)):
            numbers = f"it says split.no {said[0]}, split.count {said[1]}; expected {number}, {len(headers)}"
            raise ModelFileError(
                f"{header.source.name} is not part {number + 1} of this model", numbers, _CURE
            )
    announced = headers[0].metadata.integer("split.tensors.count")
    found = sum(len(header.tensors) for header in headers)
    if announced != found:
        numbers = f"{found} tensors found, {announced} announced"
        what = f"the parts of {headers[0].source.name} do not belong together"
        raise ModelFileError(what, numbers, _CURE)


_CURE = "fetch all parts of one model into one folder"
