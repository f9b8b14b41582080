"""What file names say: which files are models, which are parts of one, and which model a word means."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from sixgig.errors import ModelFileError

ENDING = ".gguf"
_PART = re.compile(r"-([0-9]{5})-of-([0-9]{5})$", re.ASCII)
_LABEL = (
    r"(?<![A-Za-z0-9_])(?:UD-)?(?:I?Q[1-8]_(?:[01]|K(?:_(?:XXL|XL|L|M|S|XS))?|XXS|XS|S|M|NL)"
    r"|TQ[12]_0|MXFP4(?:_MOE)?|NVFP4|BF16|F16|F32)(?![A-Za-z0-9_])"
)
_QUANTISATION = re.compile(_LABEL, re.IGNORECASE)
# An importance matrix; but NAME-imatrix-Q4_K_M is a model that was quantised with one.
_NO_MODEL = re.compile(rf"mmproj|^imatrix|imatrix(?!.*{_LABEL}$)", re.IGNORECASE)
# Said of a file beside the plain one: a mix of types, or the heads and small models that draft tokens.
_VARIANT = frozenset(("ud", "mtp", "eagle", "eagle3", "dflash", "dspark", "draft"))
_BETWEEN_WORDS = re.compile(r"[-./\s]+")


def is_gguf(file: str) -> bool:
    """Whether a file is GGUF by its name, in capitals too."""
    return file.lower().endswith(ENDING)


def model_sets(files: Iterable[str]) -> dict[str, list[str]]:
    """Files by model, each without part and ending: the parts of a split model share a name.

    Vision projectors (mmproj) and importance matrices are no models and are left out. Where two models would
    have one name (M.gguf and M-00001-of-00002.gguf) it is the name of the first file, whole.
    """
    groups: dict[tuple[str, int, str], list[str]] = {}
    for file in sorted(files):
        if is_gguf(file) and not _NO_MODEL.search(last_piece(file[: -len(ENDING)])):
            groups.setdefault((model_name(file), _part(file)[1], file[-len(ENDING) :]), []).append(file)
    taken = Counter(name for name, *_ in groups)
    return {
        name if taken[name] == 1 and not is_gguf(name) else group[0]: group
        for (name, *_), group in groups.items()
    }


def model_name(file: str) -> str:
    """The file's name without its ending and its part."""
    return _PART.sub("", file[: -len(ENDING)] if is_gguf(file) else file)


def last_piece(name: str) -> str:
    """What stands after the last "/"."""
    return name.rpartition("/")[2]


def announced_parts(files: Sequence[str]) -> int:
    """Parts the first file's name announces."""
    return _part(files[0])[1] or 1


def complete(name: str, files: Sequence[str]) -> tuple[str, ...]:
    """The set's files, having checked that none of its parts is missing; ModelFileError otherwise."""
    if not is_complete(files):
        raise ModelFileError(
            f"{name} is incomplete in its repository", f"{len(files)} of {announced_parts(files)} parts"
        )
    return tuple(files)


def is_complete(files: Sequence[str]) -> bool:
    """Whether a set's files are all that their names announce."""
    n_parts = announced_parts(files)
    return n_parts == len(files) == 1 or [_part(file)[0] for file in files] == list(range(1, n_parts + 1))


def meant(sets: Mapping[str, Sequence[str]], word: str) -> list[str]:
    """The models of `sets` that `word` may mean: by the closest of the ways to name one, whatever the case.

    A file or a name written out, with its folder or without; a word that a name ends in; one that stands in
    it; one of its folder's. Of variants of one model (UD, MTP) the one with fewest words beside `word`.
    """
    for means in _ways(word):
        if found := [name for name, files in sets.items() if means(name, files)]:
            return plainest(found, word)
    return []


def plainest(names: Sequence[str], word: str = "") -> list[str]:
    """Of names that are one but for words of variants those with the fewest besides `word`'s; else all."""
    words = [frozenset(_BETWEEN_WORDS.split(name.casefold())) for name in names]
    if len({one - _VARIANT for one in words}) > 1:
        return list(names)
    asked = frozenset(_BETWEEN_WORDS.split(word.casefold()))
    beside = [len((one & _VARIANT) - asked) for one in words]
    return [name for name, n in zip(names, beside, strict=True) if n == min(beside)]


def is_certain(name: str, word: str) -> bool:
    """Whether a name is meant whatever else there is: written out, or plain and ending in `word`."""
    exact = word.casefold() in (name.casefold(), last_piece(name).casefold()) or is_gguf(word)
    extra = frozenset(_BETWEEN_WORDS.split(name.casefold())) & _VARIANT
    return exact or (
        _standing(word, "$").search(last_piece(name)) is not None
        and extra <= set(_BETWEEN_WORDS.split(word.casefold()))
    )


def spelling(sets: Mapping[str, Sequence[str]], name: str, *shorter: str | None) -> str:
    """What names this model and no other of `sets`: the first of `shorter` that does, else its own name."""
    for word in (*shorter, last_piece(name), name):
        if word and not (":" in word or is_gguf(word)) and meant(sets, word) == [name]:
            return word
    return sets[name][0]


def quantisation(name: str) -> str | None:
    """The quantisation a name carries, the last of several, its folder asked too; None without one."""
    for piece in reversed(name.split("/")):
        if found := _QUANTISATION.findall(piece):
            return str(found[-1]).upper()
    return None


def _part(file: str) -> tuple[int, int]:
    """Number and count of parts, zeros for a file that is none."""
    match = _PART.search(file[: -len(ENDING)] if is_gguf(file) else file)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _ways(word: str) -> Iterator[Callable[[str, Collection[str]], bool]]:
    """The ways in which `word` may name a model of these files, the closest first."""
    any_case = word.casefold()
    yield lambda name, files: word in files
    yield lambda name, files: word == name
    yield lambda name, files: any(any_case == file.casefold() for file in files)
    yield lambda name, files: any_case == name.casefold()
    yield lambda name, files: any(word == last_piece(file) for file in files)
    yield lambda name, files: word == last_piece(name)
    yield lambda name, files: any(any_case == last_piece(file).casefold() for file in files)
    yield lambda name, files: any_case == last_piece(name).casefold()
    yield lambda name, files: _standing(word, "$").search(last_piece(name)) is not None
    yield lambda name, files: _standing(word).search(last_piece(name)) is not None
    yield lambda name, files: _standing(word).search(name) is not None


def _standing(word: str, then: str = "") -> re.Pattern[str]:
    """`word` as words of its own: Q4_K does not stand in Q4_K_M."""
    return re.compile(rf"(?<![A-Za-z0-9_]){re.escape(word)}(?![A-Za-z0-9_]){then}", re.IGNORECASE)
