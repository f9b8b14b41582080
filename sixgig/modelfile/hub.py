"""From what a person names to a file on this machine: a path, or hf:owner/repo[:quant].

Fetching is huggingface_hub's: resumable, a progress bar on stderr. What its cache holds is used without
asking the network: a newer upload of the same name is not noticed.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sixgig.errors import ModelFileError, UsageError

_REFERENCE = re.compile(r"hf:([\w.-]+/[\w.-]+?)(?::([\w.-]+))?", re.ASCII)
_PART = re.compile(r"-([0-9]{5})-of-([0-9]{5})$", re.ASCII)
_PREFERRED = ("Q4_K_M", "UD-Q4_K_XL")
_NO_MODEL = re.compile(r"mmproj|imatrix", re.IGNORECASE)
_SHOWN = 40


@dataclass(frozen=True)
class Listing:
    """The GGUF files of a repository; `offline` when only the local cache could be asked."""

    repository: str
    files: tuple[str, ...]
    offline: bool


def resolve(model: str) -> Path:
    """The path of a model, fetched first when named hf:owner/repo[:quant]; of a split set, the first part.

    UsageError when the reference is malformed; ModelFileError when there is no such file, several fit, or the
    download fails.
    """
    if not model.startswith("hf:"):
        return Path(model).expanduser()
    match = _REFERENCE.fullmatch(model)
    if match is None:
        raise UsageError(f"{model!r} names no repository", cure="write hf:owner/repo or hf:owner/repo:Q4_K_M")
    cached = _cached(match[1])
    listing = cached if _holds(cached, match[2] or _PREFERRED[0]) else _listing(cached)
    return _fetched(listing, choose(listing.repository, listing.files, match[2]))


def choose(repository: str, files: Iterable[str], quant: str | None) -> tuple[str, ...]:
    """The files, in order, of the one model among `files` that carries `quant` in its name.

    Without a quant: Q4_K_M, else UD-Q4_K_XL, else the only one. ModelFileError lists the choices otherwise.
    """
    sets = _sets(files)
    for wanted in _PREFERRED if quant is None else (quant,):
        fitting = _carrying(sets, wanted)
        if len(fitting) == 1:
            return _complete(fitting[0], sets[fitting[0]])
        if fitting:
            raise _undecided(repository, fitting, f"several files carry {wanted}")
    if quant is None and len(sets) == 1:
        return _complete(*next(iter(sets.items())))
    if not sets:
        raise ModelFileError(f"hf:{repository} holds no GGUF model", cure="name a repository of GGUF files")
    problem = "name one of its quantisations" if quant is None else f"no file carries {quant}"
    raise _undecided(repository, sets, problem)


def _sets(files: Iterable[str]) -> dict[str, list[str]]:
    """Files by model: the parts of a split model share a name."""
    sets: dict[str, list[str]] = {}
    for file in sorted(files):
        if file.endswith(".gguf") and not _NO_MODEL.search(file):
            sets.setdefault(_PART.sub("", file.removesuffix(".gguf")), []).append(file)
    return sets


def _carrying(names: Iterable[str], quant: str) -> list[str]:
    """Names with `quant` as a word of their last piece; Q4_K_M is not UD-Q4_K_M where both are there."""
    word = re.compile(rf"(?<![A-Za-z0-9_]){re.escape(quant)}(?![A-Za-z0-9_])", re.IGNORECASE)
    found = [name for name in names if word.search(name.rsplit("/", 1)[-1])]
    plain = [name for name in found if f"UD-{quant}".upper() not in name.upper()]
    return plain or found


def _complete(name: str, files: list[str]) -> tuple[str, ...]:
    """The set's files, having checked that none of its parts is missing."""
    if len(files) != _n_parts(files):
        raise ModelFileError(
            f"{name} is incomplete in its repository", f"{len(files)} of {_n_parts(files)} parts"
        )
    return tuple(files)


def _n_parts(files: list[str]) -> int:
    """Parts the first file's name announces."""
    match = _PART.search(files[0].removesuffix(".gguf"))
    return int(match[2]) if match else 1


def _undecided(repository: str, names: Iterable[str], problem: str) -> ModelFileError:
    choices = sorted(name.rsplit("/", 1)[-1] for name in names)
    more = f" and {len(choices) - _SHOWN} more" if len(choices) > _SHOWN else ""
    numbers = f"there are: {', '.join(choices[:_SHOWN])}{more}"
    return ModelFileError(f"hf:{repository}: {problem}", numbers, f"try hf:{repository}:QUANT")


def _holds(cached: Listing, quant: str) -> bool:
    """Whether the cache has all files of exactly one model that carries `quant`."""
    sets = _sets(cached.files)
    fitting = _carrying(sets, quant)
    return len(fitting) == 1 and len(sets[fitting[0]]) == _n_parts(sets[fitting[0]])


def _listing(cached: Listing) -> Listing:
    """The repository's files as the hub lists them, or as the cache has them when the hub is out of reach."""
    import huggingface_hub as hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    repository = cached.repository
    try:
        return Listing(repository, tuple(hub.HfApi().list_repo_files(repository)), offline=False)
    except HFValidationError as error:
        raise UsageError(f"hf:{repository} is no valid name", _first_line(error)) from error
    except HfHubHTTPError as error:
        if (status := _status(error)) is not None and status < 500:
            raise _refused(repository, status) from error
        return _only_cached(cached, error)
    except Exception as error:  # the hub's transport has its own error tree, which changes between releases
        return _only_cached(cached, error)


def _only_cached(cached: Listing, reason: Exception) -> Listing:
    if cached.files:
        return cached
    what = f"hf:{cached.repository} cannot be listed and is not in the cache"
    raise ModelFileError(what, _first_line(reason), "check the network, or name a file")


def _cached(repository: str) -> Listing:
    """What the local cache holds of the repository's newest revision, main before others; perhaps nothing."""
    import huggingface_hub as hub
    from huggingface_hub.errors import CacheNotFound

    try:
        repositories = hub.scan_cache_dir().repos
    except CacheNotFound:
        repositories = frozenset()
    revisions = [one for repo in repositories if repo.repo_id == repository for one in repo.revisions]
    for revision in sorted(revisions, key=lambda one: ("main" not in one.refs, -one.last_modified)):
        files = tuple(
            file.file_path.relative_to(revision.snapshot_path).as_posix() for file in revision.files
        )
        if _sets(files):
            return Listing(repository, files, offline=True)
    return Listing(repository, (), offline=True)


def _fetched(listing: Listing, files: tuple[str, ...]) -> Path:
    """Local path of the first of `files`, all of them fetched."""
    import huggingface_hub as hub

    paths = []
    for file in files:
        try:
            path = hub.hf_hub_download(listing.repository, file, local_files_only=listing.offline)
        except Exception as error:  # as above: transport, disk and hub errors all mean the same here
            what = f"hf:{listing.repository}: {file} could not be fetched"
            raise ModelFileError(
                what, _first_line(error), "run it again: what was fetched is kept"
            ) from error
        paths.append(Path(path))
    return paths[0]


def _refused(repository: str, status: int) -> ModelFileError:
    cures = {404: "check the name", 401: "check the name, or log in: hf auth login"}
    cure = cures.get(status, "accept its licence on huggingface.co, then log in: hf auth login")
    return ModelFileError(f"hf:{repository} does not exist or is not open to you", f"HTTP {status}", cure)


def _status(error: Exception) -> int | None:
    status: int | None = getattr(getattr(error, "response", None), "status_code", None)
    return status


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}"
