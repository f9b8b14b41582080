"""Finds and checks the parts of a model that was split into several files."""

import re
from collections.abc import Sequence
from pathlib import Path

from sixgig.errors import ModelFileError
from sixgig.modelfile.header import Header, read_header
from sixgig.modelfile.known import KnownArrays
from sixgig.modelfile.pieces import explained
from sixgig.modelfile.source import ByteSource, local_file, read_all

_PART_NAME = re.compile(r"(.+)-([0-9]{5})-of-([0-9]{5})(\.gguf)", re.ASCII | re.DOTALL | re.IGNORECASE)
_PREAMBLE = re.compile(rb"GGUF[\x02\x03]\x00\x00\x00")
_MAX_PARTS = 9999


def read_headers(path: Path) -> tuple[Header, ...]:
    """The headers of all parts in order, given any one of them; a model in one file has one."""
    try:
        opened = read_header(local_file(path))
    except ModelFileError as error:
        raise explained(path, error) from error
    n_parts = _announced(opened)
    if n_parts == 1:
        return (opened,)
    _require_apart(opened, n_parts)
    paths = part_paths(path, n_parts)
    _require_all(paths)
    headers = tuple(opened if part == path else read_header(local_file(part)) for part in paths)
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
        path.with_name(f"{match[1]}-{number:05d}-of-{match[3]}{match[4]}") for number in range(1, n_parts + 1)
    )


def _announced(header: Header) -> int:
    """Parts that the header says there are, 1 when it says nothing."""
    n_parts = header.metadata.integer("split.count") or 1
    if not 1 <= n_parts <= _MAX_PARTS:
        what = f"{header.source.name}: split.count is out of range"
        raise ModelFileError(what, f"{n_parts}, at most {_MAX_PARTS}")
    return n_parts


def _require_all(paths: Sequence[Path]) -> None:
    """ModelFileError where a part is missing."""
    missing = [path for path in paths if not path.exists()]
    if missing:
        more = f", and {', '.join(path.name for path in missing[1:9])}" if len(missing) > 1 else ""
        numbers = f"{len(missing)} of {len(paths)} parts are not there"
        raise ModelFileError(f"a part of the model is missing: {missing[0]}{more}", numbers, _CURE)


def _require_apart(header: Header, n_parts: int) -> None:
    """ModelFileError for several parts in one file: each has its own header, so that cat joins nothing."""
    end = max((info.offset + info.size_bytes for info in header.tensors), default=header.data_start)
    start = max(0, end - header.alignment)
    following = read_all(header.source, start, 3 * header.alignment)
    if match := _PREAMBLE.search(following):
        raise ModelFileError(
            f"{header.source.name} is parts of a split model written one after the other",
            f"part 1 of {n_parts} ends where another header stands, at byte {start + match.start()}",
            "parts do not join with cat: fetch them apart and name any, or llama-gguf-split --merge",
        )


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
