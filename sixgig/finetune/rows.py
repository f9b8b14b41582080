"""A user's file as rows with their places, or as lines of prose: JSON Lines, a JSON array, CSV or TSV."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from io import BufferedReader
from itertools import chain, count
from pathlib import Path
from typing import Any

from sixgig.datafile import QUESTIONS, ROWS, SEPARATORS, Kind, kind_of, not_utf8, separator_of
from sixgig.errors import UsageError
from sixgig.finetune.room import BOUNDLESS, Room

LONGEST_FIELD = 1 << 28  # characters of one field of a table
PIECE_BYTES = 1 << 20
# Memory of text while it is read, by its bytes: encoded, decoded (a wide character makes all of them wide),
# as a value, and copies of these. As measured.
LINE_TIMES, ARRAY_TIMES = 6, 4
_BOM = b"\xef\xbb\xbf"
_NOT_SPACE = re.compile(r"\S")
_CURE = "write one JSON object on each line (jq -c . makes them so)"

Record = dict[str, Any]
Lines = Iterator[tuple[int, str]]


def open_lines(path: Path, room: Room = BOUNDLESS) -> tuple[Kind, Lines]:
    """What the file is, and its lines with numbers from 1, ends as "\\n", without a byte order mark.

    Raises UsageError for what cannot be read or is no kind of data that is read here, the lines for what is
    no text, and BudgetError for what `room` does not hold.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise UsageError(f"cannot read {path}", str(error.strerror), _another(path)) from error
    try:
        kind = kind_of(path, file.peek())
        if kind in (Kind.YAML, Kind.XML, Kind.HTML):
            raise UsageError(f"{path} is {kind.value}", "it is not read", f"make of it {ROWS}")
    except OSError as error:
        file.close()
        raise UsageError(f"cannot read {path}", str(error.strerror), _another(path)) from error
    except UsageError:
        file.close()
        raise
    if kind is Kind.ARRAY and path.is_file():
        size = path.stat().st_size
        room.require(str(path), size, ARRAY_TIMES * size)
    return kind, _lines(file, path, room)


def read_rows(kind: Kind, lines: Lines, path: Path) -> Iterator[tuple[str, Record]]:
    """(place, row) of a file that is not prose. Raises UsageError, with the line's number, at the first that
    cannot be read."""
    readers = {Kind.LINES: _objects, Kind.ARRAY: _members, Kind.TABLE: _table}
    return readers[kind](lines, path)


def _another(path: Path) -> str:
    """For a folder, a file in it that may be meant."""
    if not path.is_dir():
        return "name a file of examples"
    inside = sorted(each.name for each in path.iterdir() if each.is_file())[:3]
    return "name one of the files in it" + (f", such as {path / inside[0]}" if inside else "")


def _lines(file: BufferedReader, path: Path, room: Room) -> Lines:
    start = 0
    with file:
        try:
            for number in count(1):
                if not (raw := _line(file, f"{path}, line {number}", room)):
                    break
                yield number, _decoded(raw, start, path).replace("\r\n", "\n")
                start += len(raw)
        except OSError as error:
            raise UsageError(f"cannot read {path}", str(error.strerror), "name a file of examples") from error


def _line(file: BufferedReader, place: str, room: Room) -> bytes:
    """The next, with its end; of a long one the length is found first, where the file allows it."""
    raw = file.readline(PIECE_BYTES)
    if len(raw) < PIECE_BYTES or raw.endswith(b"\n"):
        return raw
    size = len(raw)
    if file.seekable():
        at = file.tell()
        while more := file.readline(PIECE_BYTES):
            size += len(more)
            if more.endswith(b"\n"):
                break
        file.seek(at)
    pieces = [raw]
    room.require(place, size, LINE_TIMES * size)
    while not raw.endswith(b"\n") and (raw := file.readline(PIECE_BYTES)):
        pieces.append(raw)
        room.require(place, max(size, PIECE_BYTES * len(pieces)), LINE_TIMES * len(raw))
    return b"".join(pieces)


def _decoded(raw: bytes, start: int, path: Path) -> str:
    if (zero := raw.find(b"\0")) >= 0:
        raise UsageError(f"{path} is no text", f"byte {start + zero} is zero", f"give {ROWS}")
    try:
        return raw.decode("utf-8" if start else "utf-8-sig")
    except UnicodeDecodeError as error:
        at = start + error.start + (0 if start or not raw.startswith(_BOM) else 3)
        raise not_utf8(path, at, raw) from error


def _objects(lines: Lines, path: Path) -> Iterator[tuple[str, Record]]:
    for number, line in lines:
        if line.strip():
            place = f"{path}, line {number}"
            try:
                value = json.loads(line, object_pairs_hook=_without_repeats)
            except (ValueError, RecursionError) as error:
                raise _broken(place, error) from error
            yield place, _record(value, line, place)


def _members(lines: Lines, path: Path) -> Iterator[tuple[str, Record]]:
    """The members of one array, read one after the other; each is placed where it begins."""
    text = "".join(line for _, line in lines)
    decoder = json.JSONDecoder(object_pairs_hook=_without_repeats)
    at, counted, number, punctuation = 0, 0, 1, "["
    while True:
        at = _next(text, at)
        number, counted = number + text.count("\n", counted, at), at
        place = f"{path}, line {number}"
        found = text[at : at + 1]
        if found == "]" and punctuation != "[":
            break
        if found != punctuation:
            what = f"expected {punctuation!r}, found {found!r}" if found else "the array does not end"
            raise UsageError(f"{place}: this is no JSON", what, _CURE)
        at = _next(text, at + 1)
        number, counted = number + text.count("\n", counted, at), at
        place = f"{path}, line {number}"
        if punctuation == "[" and text[at : at + 1] == "]":
            break
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            raise _broken(f"{path}, line {getattr(error, 'lineno', number)}", error) from error
        yield place, _record(value, text[at:end], place)
        at, punctuation = end, ","
    if (rest := _next(text, at + 1)) < len(text):
        number += text.count("\n", counted, rest)
        raise UsageError(f"{path}, line {number}: the array has ended", "more follows", _CURE)


def _next(text: str, at: int) -> int:
    """Where the next character that is no space stands; the end when there is none."""
    found = _NOT_SPACE.search(text, at)
    return found.start() if found else len(text)


def _broken(place: str, error: Exception) -> UsageError:
    if isinstance(error, json.JSONDecodeError):
        return UsageError(f"{place}: this is no JSON", f"column {error.colno}: {error.msg}", _CURE)
    return UsageError(f"{place}: this JSON cannot be read", str(error), _CURE)


def _record(value: Any, text: str, place: str) -> Record:
    if "\\ud" in text.lower():
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise UsageError(
                f"{place}: half a surrogate pair", cure="escape both halves, or neither"
            ) from error
    if not isinstance(value, dict):
        names = {list: "a list", str: "a string", bool: "true or false", type(None): "null"}
        found = f"found {names.get(type(value), 'a number')}"
        raise UsageError(f"{place}: this is no JSON object", found, _CURE)
    return {key: each for key, each in value.items() if each is not None}


def _without_repeats(pairs: list[tuple[str, Any]]) -> Record:
    record = dict(pairs)
    if len(record) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return record


def _table(lines: Lines, path: Path) -> Iterator[tuple[str, Record]]:
    """Fields by the names of their columns in small letters; a row is placed where it begins."""
    number, header = next((line for line in lines if line[1].strip()), (1, ""))
    separator = separator_of(header.strip("\n")) or max(SEPARATORS, key=header.count)
    csv.field_size_limit(LONGEST_FIELD)
    rows = csv.reader(chain([header], (line for _, line in lines)), delimiter=separator, strict=True)
    begin = number
    names = list[str]()
    try:
        for fields in rows:
            place, begin = f"{path}, line {begin}", number + rows.line_num
            if not names:
                names = _columns(fields, place)
            elif fields:
                if len(fields) != len(names):
                    what = f"{place}: the row has another number of fields than the header"
                    cure = f'put fields that hold {separator!r}, quotes or newlines into "quotes"'
                    raise UsageError(what, f"{len(fields)} fields, {len(names)} columns", cure)
                yield place, dict(zip(names, fields, strict=True))
    except csv.Error as error:
        what = f"{path}, line {begin}: this is no row of a table"
        raise UsageError(what, str(error), _cure_of(error, path)) from error


def _cure_of(error: csv.Error, path: Path) -> str:
    """The module's errors differ in their words alone."""
    if "new-line character" in str(error):
        return f"its lines end with CR, as on old Macs: tr '\\r' '\\n' < {path.name} > NEW"
    return 'close each "quote", and write a quote inside one twice'


def _columns(fields: list[str], place: str) -> list[str]:
    names = [field.strip().lower() for field in fields]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"{place}: two columns have one name", repr(twice[:80]), "rename one of them")
    if not {*QUESTIONS, "text"}.intersection(names):
        what = f"{place}: the columns are of no known example"
        found = f"columns: {', '.join(names)[:200]}"
        raise UsageError(what, found, "begin with a header such as question,answer or text")
    return names
