"""From what a person names to a file on this machine: a path, or hf:owner/repo[:quant].

Fetching is huggingface_hub's: resumable, a progress bar on stderr. What its cache holds is used without
asking the network: a newer upload of the same name is not noticed.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from sixgig.errors import ModelFileError
from sixgig.modelfile.listing import (
    Listing,
    cached_listing,
    cached_paths,
    first_line,
    list_repository,
    reference,
)
from sixgig.modelfile.names import carrying, complete, holds, model_sets

Bar = Callable[[], Any]
_PREFERRED = ("Q4_K_M", "UD-Q4_K_XL")
_SHOWN = 40


def resolve(model: str, bar: Bar | None = None) -> Path:
    """The path of a model, fetched first when named hf:owner/repo[:quant]; of a split set, the first part.

    UsageError when the reference is malformed; ModelFileError when there is no such file, several fit, or the
    download fails. bar: makes the class of progress bars, a tqdm, that shows the download.
    """
    if not model.startswith("hf:"):
        return Path(model).expanduser()
    repository, quant = reference(model)
    cached = cached_listing(repository, cached_paths(repository))
    listing = cached if holds(cached.names, quant or _PREFERRED[0]) else list_repository(cached)
    return _fetched(listing, choose(repository, listing.names, quant), bar)


def choose(repository: str, files: Iterable[str], quant: str | None) -> tuple[str, ...]:
    """The files, in order, of the one model among `files` that carries `quant` in its name.

    Without a quant: Q4_K_M, else UD-Q4_K_XL, else the only one. ModelFileError lists the choices otherwise.
    """
    sets = model_sets(files)
    for wanted in _PREFERRED if quant is None else (quant,):
        fitting = carrying(sets, wanted)
        if len(fitting) == 1:
            return complete(fitting[0], sets[fitting[0]])
        if fitting:
            raise _undecided(repository, fitting, f"several files carry {wanted}")
    if quant is None and len(sets) == 1:
        return complete(*next(iter(sets.items())))
    if not sets:
        raise nothing_in(repository)
    problem = "name one of its quantisations" if quant is None else f"no file carries {quant}"
    raise _undecided(repository, sets, problem)


def nothing_in(repository: str) -> ModelFileError:
    """The error for a repository without a model."""
    return ModelFileError(f"hf:{repository} holds no GGUF model", cure="name a repository of GGUF files")


def _undecided(repository: str, names: Iterable[str], problem: str) -> ModelFileError:
    choices = sorted(name.rsplit("/", 1)[-1] for name in names)
    more = f" and {len(choices) - _SHOWN} more" if len(choices) > _SHOWN else ""
    numbers = f"there are: {', '.join(choices[:_SHOWN])}{more}"
    return ModelFileError(f"hf:{repository}: {problem}", numbers, f"try hf:{repository}:QUANT")


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
