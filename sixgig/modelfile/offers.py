"""Which models a name stands for: a file, a folder of files, or a repository with its quantisations.

Nothing but headers is read, and of a repository only its list of files until an offer is opened.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sixgig.errors import ModelFileError, SixgigError
from sixgig.modelfile.checkpoint_folder import is_checkpoint, unconverted
from sixgig.modelfile.header import Header, read_header
from sixgig.modelfile.hub import choose, is_here, nothing_in
from sixgig.modelfile.known import KnownArrays
from sixgig.modelfile.label import label
from sixgig.modelfile.listing import (
    HubFile,
    cached_listing,
    cached_paths,
    is_reference,
    list_repository,
    reference,
    stored_listing,
)
from sixgig.modelfile.model import ModelFile, open_model
from sixgig.modelfile.names import (
    ENDING,
    complete,
    is_complete,
    is_gguf,
    model_name,
    model_sets,
    quantisation,
    spelling,
)
from sixgig.modelfile.pieces import explained, piece_of, pieces
from sixgig.modelfile.remote import open_remote
from sixgig.modelfile.slips import path_of
from sixgig.modelfile.source import local_file
from sixgig.modelfile.store import header_store

DEPTH = 2  # folders below the one named: publisher/repository/file.gguf, as several programs keep models
_PROJECTOR = "clip"  # of pictures to embeddings, the only thing written with this architecture


@dataclass(frozen=True)
class Offer:
    """One model to be had. `location` is its first part's path, or its parts in a repository.

    `name` is without part and ending, with the folder below the one named; `word` tells it from the others
    there: after hf:OWNER/REPO: it names this one alone. `size_bytes` is that of all files, None where it is
    not known. A damaged file is an offer too, and so is one in pieces: opening it raises its error.
    """

    quantisation: str
    name: str
    word: str
    files: tuple[str, ...]
    size_bytes: int | None
    location: Path | tuple[HubFile, ...]

    @property
    def is_local(self) -> bool:
        """Whether the files lie on this machine."""
        return isinstance(self.location, Path)

    def open(self, known: KnownArrays | None = None) -> ModelFile:
        """The model by its headers; ModelFileError says what is wrong. `known` helps, and learns."""
        known = known or KnownArrays()
        if not isinstance(self.location, Path):
            complete(self.name, self.files)
            return open_remote(self.location, header_store(), known)
        model = open_model(self.location)
        known.learn(model.metadata)
        return model


@dataclass(frozen=True)
class OpenedOffer:
    """An offer with its model, or with the error that opening it gave."""

    offer: Offer
    model: ModelFile | None
    error: SixgigError | None


def offers(model: str) -> tuple[Offer, ...]:
    """The offers behind a path of a file or folder, or hf:owner/repo[:word], by name; at least one.

    What the hub's cache holds whole is offered from there, as `resolve` takes it. UsageError when the
    reference is malformed; ModelFileError when there is no such file, no model, or no way to the hub.
    """
    if is_reference(model):
        return _in_repository(*reference(model))
    path = path_of(model)
    return _in_folder(path) if path.is_dir() else (_in_file(path),)


def open_all(
    offered: Sequence[Offer],
    progress: Callable[[float], object] = lambda fraction: None,
    max_workers: int = 4,
) -> tuple[OpenedOffer, ...]:
    """Every offer opened, errors kept, in order; the first alone, so that the others know its tokenizer.

    progress: is told the fraction opened; what it raises ends the work.
    """
    known, opened = KnownArrays(), list[OpenedOffer]()
    with ThreadPoolExecutor(max_workers) as pool:
        try:
            for some in (offered[:1], offered[1:]):
                for one in pool.map(lambda offer: _opened(offer, known), some):
                    opened.append(one)
                    progress(len(opened) / len(offered))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return tuple(opened)


def _opened(offer: Offer, known: KnownArrays) -> OpenedOffer:
    try:
        return OpenedOffer(offer, offer.open(known), None)
    except SixgigError as error:
        return OpenedOffer(offer, None, error)


def _in_file(path: Path) -> Offer:
    """The one model that `path` is, or is a part of."""
    _require_file(path)
    sets = model_sets(part.name for part in path.parent.glob("*"))
    parts = next((files for files in sets.values() if path.name in files), [path.name])
    name = model_name(path.name)
    return _local(name, name, [path.with_name(part) for part in parts], _header(path))


def _in_folder(folder: Path) -> tuple[Offer, ...]:
    """The models in a folder and down to DEPTH below it; adapters, projectors and the like are left out.

    Links to folders are followed that far, and a file that is found twice is offered once, by its first name.
    """
    there = (path for depth in range(DEPTH + 1) for path in sorted(folder.glob("*/" * depth + "*")))
    found = _once(path for path in there if is_gguf(path.name) or piece_of(path.name))
    paths = {path.relative_to(folder).as_posix(): path for path in found}
    sets = dict(sorted(model_sets(paths).items()))
    offered = [
        _local(model_name(whole), files[0], [paths[file] for file in files], None)
        for whole, files in pieces(name for name in paths if not is_gguf(name)).items()
        if whole not in paths
    ]
    for name, files in sets.items():
        header = _header(paths[files[0]])
        if _may_be_model(header):
            word = spelling(sets, name)
            offered.append(_local(name, word, [paths[file] for file in files], header))
    if not offered and is_checkpoint(folder):
        raise unconverted(folder)
    if not offered:
        raise ModelFileError(
            f"{folder} holds no GGUF model", f"{len(paths)} {ENDING} files", "name another folder"
        )
    return tuple(sorted(offered, key=lambda offer: offer.name))


def _in_repository(repository: str, word: str | None) -> tuple[Offer, ...]:
    """The model of a repository that `word` means, or all; without the network where it is not needed."""
    paths, store = cached_paths(repository), header_store()
    listing, before = cached_listing(repository, paths), stored_listing(repository, store)
    if word is None or not is_here(paths, before, word):
        listing = list_repository(before if before.files else listing, store)
    by_name = {file.name: file for file in listing.files}
    sets = model_sets(by_name)
    if word is not None:
        chosen = list(choose(repository, by_name, word))
        name = next((name for name, files in sets.items() if files == chosen), model_name(chosen[0]))
        return (_hub_offer(name, word, [by_name[file] for file in chosen], paths),)
    if not sets:
        raise nothing_in(repository, by_name)
    return tuple(
        _hub_offer(name, spelling(sets, name, quantisation(name)), [by_name[file] for file in files], paths)
        for name, files in sorted(sets.items())
    )


def _hub_offer(name: str, word: str, files: list[HubFile], paths: dict[str, Path]) -> Offer:
    """From the cache where it has all parts, else from the hub."""
    names = tuple(file.name for file in files)
    if all(file in paths for file in names) and is_complete(names):
        return _local(name, word, [paths[file] for file in names], _header(paths[names[0]]))
    sizes = [file.size_bytes for file in files]
    known = [size for size in sizes if size is not None]
    size_bytes = sum(known) if len(known) == len(sizes) else None
    return Offer(quantisation(name) or name.rsplit("/", 1)[-1], name, word, names, size_bytes, tuple(files))


def _local(name: str, word: str, paths: list[Path], header: Header | None) -> Offer:
    files = tuple(path.name for path in paths)
    return Offer(label(name, [header] if header else []), name, word, files, _size_bytes(paths), paths[0])


def _require_file(path: Path) -> None:
    """ModelFileError where there is no such file, which names its pieces where those are there."""
    try:
        local_file(path)
    except ModelFileError as error:
        raise explained(path, error) from error


def _size_bytes(paths: list[Path]) -> int | None:
    try:
        return sum(path.stat().st_size for path in paths)
    except OSError:
        return None


def _header(path: Path) -> Header | None:
    """The file's header, None when it is damaged: opening the offer says how."""
    try:
        return read_header(local_file(path))
    except ModelFileError:
        return None


def _once(paths: Iterable[Path]) -> list[Path]:
    """Without plain files that another path leads to as well through a link to a folder."""
    kept: dict[Path, Path] = {}
    for path in paths:
        kept.setdefault(path.parent.resolve() / path.name, path)
    return list(kept.values())


def _may_be_model(header: Header | None) -> bool:
    """False for a sound file that says it is something else; a damaged one must not vanish."""
    said = {entry.key: entry.value for entry in header.metadata.entries} if header else {}
    return said.get("general.type", "model") == "model" and said.get("general.architecture") != _PROJECTOR
