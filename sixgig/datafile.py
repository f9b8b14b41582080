"""What a file of texts or examples is, told by its name and its first bytes.

Covers: plain text, JSON Lines, JSON arrays of objects, CSV and TSV with a header; and names what people give
besides. Does not cover: whether the rest of the file keeps to it.
"""

from __future__ import annotations

import csv
import re
from enum import Enum
from itertools import chain
from pathlib import Path

from sixgig.errors import UsageError
from sixgig.packed import packed

# Columns or keys that hold a question and its answer; EXTRA goes with the question.
QUESTIONS = ("instruction", "question", "prompt", "query", "problem", "user", "input")
ANSWERS = ("output", "response", "answer", "completion", "solution", "target", "assistant")
EXTRA = ("input", "context")
OTHERS = ("messages", "conversations", "text")
SEPARATORS = ",\t;|"
HEAD_BYTES = 1 << 13

_PROSE_SUFFIXES = (".md", ".markdown", ".rst")
_JSON_SUFFIXES = (".jsonl", ".json", ".ndjson")
_BEGINS_ARRAY = re.compile(r"\s*\[\s*(\{\s*[\"}]|[{\]]?\s*$)")
_BEGINS_OBJECT = re.compile(r"\s*\{\s*([\"}]|$)")
_BEGINS_YAML = re.compile(rf"(?:\s*#.*\n)*(?:---\s*\n)?\s*- (?:{'|'.join((*QUESTIONS, *OTHERS))}):")
_KNOWN_KEY = re.compile(rf'"(?:{"|".join((*QUESTIONS, *ANSWERS, *OTHERS))})"\s*:')
_BEGINS_MARKUP = re.compile(r"\s*<(?:!doctype html|html|\?xml)", re.IGNORECASE)
ROWS = 'rows as CSV with a header, or JSON lines such as {"question": "...", "answer": "..."}'
_MAGIC = (
    (b"PAR1", "a Parquet file"),
    (b"ARROW1", "an Arrow file"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"%PDF-", "a PDF file"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office file (.doc or .xls)"),
    (b"{\\rtf", "an RTF file"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"GGUF", "a GGUF model"),
)
_IN_ZIP = ((b"xl/", "an Excel file"), (b"word/", "a Word file"))
_CURES = {
    "a Parquet file": "write it as JSON lines: pandas' DataFrame.to_json(..., orient='records', lines=True)",
    "an Excel file": "save the sheet as CSV (UTF-8)",
    "a GGUF model": "the model comes first, the data after it",
}


class Kind(Enum):
    """What is in it. Tags and YAML are told apart from prose, and not read as examples."""

    PROSE = "plain text"
    LINES = "JSON lines"
    ARRAY = "a JSON array"
    TABLE = "a table (CSV)"
    YAML = "a YAML file"
    XML = "an XML file"
    HTML = "an HTML file"


_BY_SUFFIX = {
    ".csv": Kind.TABLE,
    ".tsv": Kind.TABLE,
    ".tab": Kind.TABLE,
    ".yaml": Kind.YAML,
    ".yml": Kind.YAML,
    ".xml": Kind.XML,
    ".html": Kind.HTML,
    ".htm": Kind.HTML,
}


def kind_of(path: Path, head: bytes) -> Kind:
    """`head`: the first bytes, HEAD_BYTES of them or all. Raises UsageError, with a cure, for a file that is
    none of these, or in another encoding than UTF-8."""
    if found := _binary(head):
        raise UsageError(f"{path} is {found[0]}", "it is not read", found[1])
    if _is_utf16(head):
        raise not_utf8(path, 0, head)
    text, suffix = head.decode("utf-8-sig", "replace"), path.suffix.lower()
    if suffix in _PROSE_SUFFIXES:
        return Kind.PROSE
    if kind := _BY_SUFFIX.get(suffix) or _marked_up(text):
        return kind
    first = next((line for line in text.splitlines() if line.strip()), "")
    if _BEGINS_ARRAY.match(text if suffix == ".txt" else first):
        return Kind.ARRAY
    if suffix in _JSON_SUFFIXES or (_is_row(first) if suffix == ".txt" else _BEGINS_OBJECT.match(first)):
        return Kind.LINES
    return Kind.TABLE if separator_of(first) else Kind.PROSE


def separator_of(header: str) -> str:
    """What stands between the columns of a table of questions and answers; "" where this is no header of
    one."""
    for separator in SEPARATORS:
        try:
            found = {name.strip().lower() for name in next(csv.reader([header], delimiter=separator), [])}
        except csv.Error:
            continue
        if found.intersection(QUESTIONS) and found.intersection(ANSWERS) and len(found) > 1:
            return separator
    return ""


def not_prose(path: Path, raw: bytes) -> str:
    """What to tell who gives a file of these bytes as a text to read from beginning to end; "" where nothing.

    Raises UsageError for what is no text at all.
    """
    kind = kind_of(path, raw[:HEAD_BYTES])
    told = f"{path} is {kind.value}: its keys, marks and separators are read as words of the text"
    return "" if kind is Kind.PROSE else told


def not_utf8(path: Path, at: int, head: bytes) -> UsageError:
    """What to raise for a file of these first bytes, of which byte `at` is not UTF-8."""
    latin = "if it is Latin-1: iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW"
    cure = "it is UTF-16: iconv -f UTF-16 -t UTF-8 FILE > NEW" if _is_utf16(head) else latin
    return UsageError(f"{path} is not UTF-8 text", f"byte {at}", cure)


def _binary(head: bytes) -> tuple[str, str] | None:
    """What it is, and the cure."""
    in_zip = (named for part, named in _IN_ZIP if head.startswith(b"PK\x03\x04") and part in head)
    others = (named for magic, named in _MAGIC if head.startswith(magic))
    if named := next(chain(in_zip, others), ""):
        return named, _CURES.get(named, f"make of it {ROWS}")
    return packed(head)


def _is_utf16(head: bytes) -> bool:
    """By its mark, or by every other byte of the beginning being zero."""
    begin = head[:64]
    halves = len(begin) > 3 and any(not any(begin[at::2]) and all(begin[1 - at :: 2]) for at in (0, 1))
    return head[:2] in (b"\xff\xfe", b"\xfe\xff") or halves


def _marked_up(text: str) -> Kind | None:
    if found := _BEGINS_MARKUP.match(text):
        return Kind.HTML if "html" in found[0].lower() else Kind.XML
    return Kind.YAML if _BEGINS_YAML.match(text) else None


def _is_row(line: str) -> bool:
    """Is it an object, perhaps cut off, with a key that examples have?"""
    return bool(_BEGINS_OBJECT.match(line) and _KNOWN_KEY.search(line))
