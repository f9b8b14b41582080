"""From what a person names to a file on this machine: a path, or hf:owner/repo[:word].

A word is a quantisation, a file's name with its folder or without, or what tells the model from the others.

Fetching is huggingface_hub's: resumable, a progress bar on stderr. What its cache holds is used without
asking the network: a newer upload of the same name is not noticed.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from sixgig.errors import ModelFileError
from sixgig.modelfile.listing import (
    Listing,
    cached_listing,
    cached_paths,
    first_line,
    is_reference,
    list_repository,
    reference,
    stored_listing,
)
from sixgig.modelfile.names import (
    complete,
    is_certain,
    is_complete,
    is_gguf,
    meant,
    model_sets,
    plainest,
    spelling,
)
from sixgig.modelfile.pieces import joining, pieces
from sixgig.modelfile.slips import path_of
from sixgig.modelfile.store import header_store

Bar = Callable[[], Any]
_PREFERRED = ("Q4_K_M", "UD-Q4_K_XL")
_SHOWN = 40


def resolve(model: str, bar: Bar | None = None) -> Path:
    """The path of a model, fetched first when named hf:owner/repo[:word]; of a split set, the first part.

    UsageError when the reference is malformed; ModelFileError when there is no such file, several fit, or the
    download fails. bar: makes the class of progress bars, a tqdm, that shows the download.
    """
    if not is_reference(model):
        return path_of(model)
    repository, word = reference(model)
    paths, store = cached_paths(repository), header_store()
    listing = cached_listing(repository, paths)
    if not is_here(paths, stored_listing(repository, store), word):
        listing = list_repository(listing, store)
    return _fetched(listing, choose(repository, listing.names, word), bar)


def is_here(paths: Collection[str], known: Listing, word: str | None) -> bool:
    """Whether the one model meant is among the cache's files `paths`, whole: the hub need not be asked.

    `known`: what the hub listed before. Without that only a certain word (`names.is_certain`) will do.
    """
    word = word or _PREFERRED[0]
    sets = model_sets({*paths, *known.names})
    found = meant(sets, word)
    if len(found) != 1 or not (known.files or is_certain(found[0], word)):
        return False
    files = sets[found[0]]
    return is_complete(files) and all(file in paths for file in files)


def choose(repository: str, files: Iterable[str], word: str | None) -> tuple[str, ...]:
    """The files, in order, of the one model among `files` that `word` means (`names.meant`).

    Any GGUF file is found by its whole name. Without a word: Q4_K_M, else UD-Q4_K_XL, else the only one.
    ModelFileError lists the choices otherwise, each by a word that means it alone.
    """
    files = tuple(files)
    if word in files and is_gguf(word) and not model_sets([word]):
        return (word,)
    sets = model_sets(files)
    if not sets:
        raise nothing_in(repository, files)
    for wanted in _PREFERRED if word is None else (word,):
        found = meant(sets, wanted)
        if len(found) == 1:
            return complete(found[0], sets[found[0]])
        if found:
            raise _undecided(repository, sets, found, f"several files carry {wanted}")
    plain = plainest(list(sets))
    if word is None and len(plain) == 1:
        return complete(plain[0], sets[plain[0]])
    problem = "name one of its quantisations" if word is None else f"no file carries {word}"
    raise _undecided(repository, sets, sets, problem)


def nothing_in(repository: str, files: Iterable[str]) -> ModelFileError:
    """The error for a repository without a model, which may hold one that was cut up."""
    for whole, parts in pieces(files).items():
        what = f"hf:{repository} holds {whole} in {len(parts)} pieces, cut up as by split -b"
        cure = f"fetch them (hf download {repository}), then {joining(whole, parts)}"
        return ModelFileError(what, "no GGUF model besides", cure)
    return ModelFileError(f"hf:{repository} holds no GGUF model", cure="name a repository of GGUF files")


def _undecided(
    repository: str, sets: Mapping[str, Sequence[str]], names: Iterable[str], problem: str
) -> ModelFileError:
    choices = sorted(spelling(sets, name) for name in names)
    more = f" and {len(choices) - _SHOWN} more" if len(choices) > _SHOWN else ""
    numbers = f"there are: {', '.join(choices[:_SHOWN])}{more}"
    example = quote(f"hf:{repository}:{choices[0]}")
    return ModelFileError(f"hf:{repository}: {problem}", numbers, f"try {example}")


def _fetched(listing: Listing, files: tuple[str, ...], bar: Bar | None) -> Path:
    """Local path of the first of `files`, all of them fetched."""
    import huggingface_hub as hub

    paths, shown = [], {} if bar is None or listing.offline else {"tqdm_class": bar()}
    for file in files:
        try:
            path = hub.hf_hub_download(listing.repository, file, local_files_only=listing.offline, **shown)
        except Exception as error:  # transport, disk and hub errors all mean the same here
            what = f"hf:{listing.repository}: {file} could not be fetched"
            raise ModelFileError(what, first_line(error), "run it again: what was fetched is kept") from error
        paths.append(Path(path))
    return paths[0]
