"""A model whose headers alone are fetched: by ranges, each byte once, kept on disk for the next time."""

import json
from collections.abc import Sequence

from sixgig.errors import ModelFileError
from sixgig.modelfile.cursor import MAX_HEADER_BYTES
from sixgig.modelfile.known import KnownArrays, Row
from sixgig.modelfile.listing import HubFile, located
from sixgig.modelfile.model import ModelFile, open_sources
from sixgig.modelfile.ranges import fetch_range
from sixgig.modelfile.store import Store
from sixgig.units import format_bytes


class RemoteFile:
    """A file of a repository as a ByteSource; holds what it fetched, at most MAX_HEADER_BYTES."""

    def __init__(self, file: HubFile, store: Store) -> None:
        """`file` as `located` gives it; what `store` has of it is not fetched again."""
        self._file, self._store = file, store
        self._pieces, self.rows = _unpacked(store.load(self._key))
        self._fetched_bytes = 0

    @property
    def name(self) -> str:
        """The file's name without its folder."""
        return self._file.name.rsplit("/", 1)[-1]

    @property
    def size_bytes(self) -> int:
        """Bytes of the file as the hub lists it."""
        return self._file.size_bytes or 0

    def read(self, offset: int, size: int) -> bytes:
        """1 to `size` bytes from `offset` on, none only at the end; ModelFileError as fetch_range."""
        size = min(size, self.size_bytes - offset)
        if size <= 0:
            return b""
        return self._held(offset, size) or self._fetch(offset, min(size, self._gap(offset)))

    def save(self, known: KnownArrays) -> None:
        """Keeps what was fetched, with the arrays that were passed over, unless nothing was."""
        if self._fetched_bytes:
            self._store.save(self._key, _packed(self._pieces, known.rows()))

    @property
    def _key(self) -> str:
        file = self._file
        return (
            f"header, form 1, of {file.repository} {file.name} {file.etag or file.commit} {file.size_bytes}"
        )

    def _held(self, offset: int, size: int) -> bytes:
        for start, piece in self._pieces.items():
            if start <= offset < start + len(piece):
                return piece[offset - start : offset - start + size]
        return b""

    def _gap(self, offset: int) -> int:
        """Bytes from `offset` to the next that are held."""
        return min((start for start in self._pieces if start > offset), default=self.size_bytes) - offset

    def _fetch(self, offset: int, size: int) -> bytes:
        self._fetched_bytes += size
        if self._fetched_bytes > MAX_HEADER_BYTES:
            raise ModelFileError(
                f"{self.name}: the header is too long", f"over {format_bytes(MAX_HEADER_BYTES)}"
            )
        self._pieces[offset] = fetch_range(self._file, offset, size)
        return self._pieces[offset]


def open_remote(files: Sequence[HubFile], store: Store, known: KnownArrays) -> ModelFile:
    """The model whose parts are `files`, in order, from their headers; `known` helps, and learns.

    ModelFileError when a header is damaged, cannot be read, or is not supported.
    """
    sources = [RemoteFile(located(file), store) for file in files]
    own = KnownArrays()  # what was passed over when it was kept comes first: no byte of the rest was
    for source in sources:
        own.add(source.rows)
    own.add(known.rows())
    model = open_sources(sources, own)
    known.add(own.rows())
    for source in sources:
        source.save(own)
    return model


def _packed(pieces: dict[int, bytes], rows: list[Row]) -> bytes:
    """A line of JSON that says where the pieces lie, then the pieces."""
    index = {"pieces": [[start, len(piece)] for start, piece in pieces.items()], "rows": rows}
    return json.dumps(index).encode() + b"\n" + b"".join(pieces.values())


def _unpacked(content: bytes | None) -> tuple[dict[int, bytes], list[Row]]:
    """The reverse; nothing from nothing. What is packed otherwise must be kept under another key."""
    line, _, body = (content or b"").partition(b"\n")
    try:
        index = json.loads(line)
        pieces, at = {}, 0
        for start, size in index["pieces"]:
            pieces[start] = body[at : at + size]
            at += size
        return pieces, [(key, count, size, following) for key, count, size, following in index["rows"]]
    except (ValueError, TypeError, KeyError):
        return {}, []
