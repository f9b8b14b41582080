"""What a file is that is no GGUF model by itself: a piece of one that was cut up, a download, an archive.

Pieces (split -b) are told, not opened: a tensor may lie across two of them, and experts are read in place.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from sixgig.errors import ModelFileError
from sixgig.modelfile.source import local_file
from sixgig.packed import packed

_NUMBERED = r"(?:part|split|chunk|piece)[._-]?([0-9]{1,5}|[a-z]{1,2})(?:[._-]?of[._-]?([0-9]{1,5}))?"
_BARE = r"\.?([0-9]{2,5}|(?!gz|xz|bz|md)[a-z]{2})()"  # as split names them, with a dot and without
_PIECES = (
    re.compile(rf"(.+\.gguf)[._-]?{_NUMBERED}", re.IGNORECASE | re.DOTALL),
    re.compile(rf"(.+\.gguf){_BARE}", re.IGNORECASE | re.DOTALL),
    re.compile(rf"(.+?)[._-]{_NUMBERED}(\.gguf)", re.IGNORECASE | re.DOTALL),
)
_UNFINISHED = re.compile(
    r"\.gguf\.(?:part|partial|incomplete|crdownload|opdownload|download|aria2|tmp|!ut|!qb)$", re.IGNORECASE
)
_SHOWN = 24
_OTHERS = (  # how a file begins, what it is, what to do
    (b"version https://git-lfs", "it is a pointer of Git LFS", "fetch the file itself: git lfs pull"),
    (b"<", "it is a web page", "fetch the file itself: name hf:owner/repo:FILE"),
    (b"PK\x03\x04", "it is a ZIP archive, as PyTorch's checkpoints are", "unpack it, or name a .gguf file"),
    (b"lmgg", "it is of a format before GGUF", "fetch the model as GGUF"),
    (b"tjgg", "it is of a format before GGUF", "fetch the model as GGUF"),
    (b"fmgg", "it is of a format before GGUF", "fetch the model as GGUF"),
    (bytes(16), "it begins with zeros, as a download that is not finished", "finish the download"),
)


@dataclass(frozen=True)
class Piece:
    """One piece of the file `whole`: its place among them (numbers before letters), and how many there are.

    n_pieces: 0 where the name does not say.
    """

    whole: str
    place: tuple[int, int, str]
    n_pieces: int


def piece_of(name: str) -> Piece | None:
    """What a file's name, folder included, says of it as a piece; None where it says nothing."""
    for pattern in _PIECES:
        if match := pattern.fullmatch(name):
            ordinal = match[2].lower()
            place = (0, int(ordinal), "") if ordinal.isdigit() else (1, len(ordinal), ordinal)
            ending = match[4] if pattern is _PIECES[2] else ""
            return Piece(match[1] + ending, place, int(match[3] or 0))
    return None


def pieces(names: Iterable[str]) -> dict[str, list[str]]:
    """The pieces among `names`, in order, by the file they are pieces of."""
    found = [(piece, name) for name in names if (piece := piece_of(name))]
    found.sort(key=lambda one: (one[0].whole, one[0].place, one[1]))
    groups: dict[str, list[str]] = {}
    for piece, name in found:
        groups.setdefault(piece.whole, []).append(name)
    return groups


def joining(whole: str, names: Sequence[str]) -> str:
    """The command that joins pieces, in order, to the whole file."""
    if len(names) > _SHOWN:
        return (
            f"join all {len(names)} in order: cat {quote(names[0])} ... {quote(names[-1])} > {quote(whole)}"
        )
    return f"join them: cat {' '.join(map(quote, names))} > {quote(whole)}"


def explained(path: Path, error: ModelFileError) -> ModelFileError:
    """`error`, or what says more about a file that could not be opened as GGUF."""
    beside = [str(other) for other in path.parent.glob("*") if other.name != path.name]
    own = piece_of(str(path))
    if own is not None and path.is_file():
        return _piece_error(path, own, pieces([*beside, str(path)])[own.whole])
    if cut := pieces(beside).get(str(path)):
        if not path.exists():
            what = f"{path} does not exist, but pieces of it do"
            return ModelFileError(what, _counted(cut), joining(str(path), cut))
        cure = f"if pieces were left out, {joining(str(path), cut)}"
        return ModelFileError(error.what, error.numbers, cure)
    if _UNFINISHED.search(path.name) and path.is_file():
        return ModelFileError(
            f"{path.name} is a download that is not finished", str(error), "finish it first"
        )
    return _by_content(path) or error


def _piece_error(path: Path, own: Piece, all_pieces: list[str]) -> ModelFileError:
    what = f"{path.name} is a piece of {Path(own.whole).name}, cut up as by split -b: no model by itself"
    if len(all_pieces) < 2 or len(all_pieces) < own.n_pieces or _gap(all_pieces):
        cure = f"fetch all of them into one folder, then {joining(own.whole, all_pieces)}"
        return ModelFileError(what, f"{_counted(all_pieces)}, not all of them", cure)
    return ModelFileError(what, _counted(all_pieces), joining(own.whole, all_pieces))


def _gap(names: Sequence[str]) -> bool:
    """Whether numbered pieces do not follow each other from the first on."""
    places = [piece.place for name in names if (piece := piece_of(name))]
    numbers = [number for kind, number, _ in places if kind == 0]
    return bool(numbers) and (numbers[0] > 1 or numbers != list(range(numbers[0], numbers[-1] + 1)))


def _counted(names: Sequence[str]) -> str:
    n_pieces = max((piece.n_pieces for name in names if (piece := piece_of(name))), default=0)
    return f"{len(names)} of {n_pieces} pieces here" if n_pieces else f"{len(names)} pieces here"


def _by_content(path: Path) -> ModelFileError | None:
    """What the first bytes tell; None where they tell nothing, or cannot be read."""
    try:
        start = local_file(path).read(0, 32)
    except ModelFileError:
        return None
    what = f"{path.name} is not a GGUF file"
    for magic, kind, cure in _OTHERS:
        if start.startswith(magic):
            return ModelFileError(what, kind, cure)
    if found := packed(start):
        return ModelFileError(what, f"it is {found[0]}", found[1])
    if start[8:10] == b'{"' and len(start) == 32:
        cure = "name a .gguf file; sixgig shrink reads the folder"
        return ModelFileError(what, "it is of safetensors", cure)
    return None
