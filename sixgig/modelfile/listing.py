"""What a repository holds: as the hub lists it now, as it listed it before, or as the hub's cache has it."""

import json
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sixgig.errors import ModelFileError, UsageError
from sixgig.modelfile.names import is_gguf, model_sets
from sixgig.modelfile.slips import of_page
from sixgig.modelfile.store import Store

_PREFIX = "hf:"
_REFERENCE = re.compile(r"([\w.-]+/[\w.-]+)(?::(.+))?", re.ASCII | re.DOTALL)
_WITH_SLASH = re.compile(r"([\w.-]+/[\w.-]+)/([^:]+)", re.ASCII)
_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class HubFile:
    """One file of a repository at a commit. `etag` names its content; None where it is not known yet."""

    repository: str
    name: str
    commit: str | None = None
    size_bytes: int | None = None
    etag: str | None = None


@dataclass(frozen=True)
class Listing:
    """The files of a repository; `offline` when the hub was not or could not be asked."""

    repository: str
    files: tuple[HubFile, ...]
    offline: bool

    @property
    def names(self) -> tuple[str, ...]:
        """The files' names, with "/" between folders."""
        return tuple(file.name for file in self.files)


def is_reference(model: str) -> bool:
    """Whether a model is named as one of the hub's, and not as a path."""
    return model[: len(_PREFIX)].lower() == _PREFIX


def reference(model: str) -> tuple[str, str | None]:
    """Repository and word of "hf:owner/repo[:word]"; UsageError when it is malformed.

    A word with a colon must be a file's whole name: a second colon is a slip otherwise.
    """
    named = model[len(_PREFIX) :]
    match = _REFERENCE.fullmatch(named)
    if match is None or (":" in (match[2] or "") and not is_gguf(match[2])):
        slashes = _WITH_SLASH.fullmatch(named)
        page = of_page(named) or of_page(model) or of_page(f"hf.co/{named.strip('/')}")
        better = f"hf:{slashes[1]}:{slashes[2]}" if slashes else "hf:owner/repo or hf:owner/repo:Q4_K_M"
        better = better if page in ("", model) else page
        raise UsageError(f"{model!r} names no repository", cure=f"write {better}")
    return match[1], match[2]


def list_repository(fallback: Listing, store: Store | None = None) -> Listing:
    """The files as the hub lists them now, kept in `store`; `fallback` when the hub is out of reach.

    UsageError for a name the hub cannot have; ModelFileError when it refuses, or without a fallback.
    """
    import huggingface_hub as hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    repository = fallback.repository
    try:
        found = hub.HfApi().model_info(repository, files_metadata=True, timeout=_TIMEOUT_S)
    except HFValidationError as error:
        raise UsageError(f"hf:{repository} is no valid name", first_line(error)) from error
    except HfHubHTTPError as error:
        if (status := _status(error)) is not None and status < 500 and status not in (408, 429):
            raise refused(f"hf:{repository}", status) from error
        return _otherwise(fallback, error)
    except Exception as error:  # the hub's transport has its own error tree, which changes between releases
        return _otherwise(fallback, error)
    files = tuple(_hub_file(repository, found.sha, sibling) for sibling in found.siblings or ())
    if store is not None:
        store.save(_key(repository), json.dumps([asdict(file) for file in files]).encode())
    return Listing(repository, files, offline=False)


def stored_listing(repository: str, store: Store) -> Listing:
    """What the hub listed when it was last asked; empty when it never was."""
    try:
        rows = json.loads(store.load(_key(repository)) or b"[]")
        files = tuple(HubFile(**row) for row in rows)
    except (ValueError, TypeError):
        files = ()
    return Listing(repository, files, offline=True)


def cached_paths(repository: str) -> dict[str, Path]:
    """Local paths by file name of the newest revision in the hub's cache, main before others; or none."""
    import huggingface_hub as hub
    from huggingface_hub.errors import CacheNotFound

    try:
        repositories = hub.scan_cache_dir().repos
    except CacheNotFound:
        return {}
    revisions = [one for repo in repositories if repo.repo_id == repository for one in repo.revisions]
    for revision in sorted(revisions, key=lambda one: ("main" not in one.refs, -one.last_modified)):
        root = revision.snapshot_path
        paths = {file.file_path.relative_to(root).as_posix(): file.file_path for file in revision.files}
        if model_sets(paths):
            return paths
    return {}


def cached_listing(repository: str, paths: dict[str, Path]) -> Listing:
    """The files of the hub's cache as a listing."""
    return Listing(repository, tuple(HubFile(repository, name) for name in paths), offline=True)


def located(file: HubFile) -> HubFile:
    """The file with its size and content's name, which the hub is asked for where the listing lacks them."""
    if file.size_bytes is not None and file.etag is not None:
        return file
    import huggingface_hub as hub

    try:
        url = hub.hf_hub_url(file.repository, file.name, revision=file.commit)
        found = hub.get_hf_file_metadata(url)
    except Exception as error:  # as above
        if (status := _status(error)) is not None and status < 500:
            raise refused(f"hf:{file.repository}/{file.name}", status) from error
        what = f"hf:{file.repository}: {file.name} cannot be asked for"
        raise ModelFileError(what, first_line(error), "check the network") from error
    if found.size is None or found.size < 0:
        raise ModelFileError(
            f"hf:{file.repository}: {file.name} has no size", "", "fetch it and name the file"
        )
    return replace(file, commit=found.commit_hash, size_bytes=found.size, etag=found.etag)


def refused(what: str, status: int) -> ModelFileError:
    """The error for something the hub does not give."""
    cures = {404: "check the name", 401: "check the name, or log in: hf auth login"}
    cure = cures.get(status, "accept its licence on huggingface.co, then log in: hf auth login")
    return ModelFileError(f"{what} does not exist or is not open to you", f"HTTP {status}", cure)


def first_line(error: Exception) -> str:
    """The error's kind and the first line of what it says."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}"


def _hub_file(repository: str, commit: str | None, sibling: Any) -> HubFile:
    size = sibling.size if isinstance(sibling.size, int) and sibling.size >= 0 else None
    etag = getattr(sibling.lfs, "sha256", None) or sibling.blob_id
    return HubFile(repository, sibling.rfilename, commit, size, etag)


def _otherwise(fallback: Listing, reason: Exception) -> Listing:
    if fallback.files:
        return fallback
    what = f"hf:{fallback.repository} cannot be listed and is not in the cache"
    raise ModelFileError(what, first_line(reason), "check the network, or name a file")


def _key(repository: str) -> str:
    return f"listing, form 1, of {repository}"


def _status(error: Exception) -> int | None:
    status: int | None = getattr(getattr(error, "response", None), "status_code", None)
    return status
