"""Which models a name stands for: a file, a folder of files, or a repository with its quantisations.

Nothing but headers is read, and of a repository only its list of files until an offer is opened.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sixgig.errors import ModelFileError, SixgigError
from sixgig.modelfile.header import Header, read_header
from sixgig.modelfile.hub import choose, nothing_in
from sixgig.modelfile.known import KnownArrays
from sixgig.modelfile.label import label
from sixgig.modelfile.listing import (
    HubFile,
    cached_listing,
    cached_paths,
    list_repository,
    reference,
    stored_listing,
)
from sixgig.modelfile.model import ModelFile, open_model
from sixgig.modelfile.names import announced_parts, complete, holds, model_name, model_sets, quantisation
from sixgig.modelfile.remote import open_remote
from sixgig.modelfile.source import local_file
from sixgig.modelfile.store import header_store

DEPTH = 2  # folders below the one named: publisher/repository/file.gguf, as several programs keep models
_PROJECTOR = "clip"  # of pictures to embeddings, the only thing written with this architecture


@dataclass(frozen=True)
class Offer:
    """One model to be had. `location` is its first part's path, or its parts in a repository.

    `name` is without part and ending, with the folder below the one named; `size_bytes` is that of all
    files, None where it is not known. A damaged file is an offer too: opening it raises its error.
    """

    quantisation: str
    name: str
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
    """The offers behind a path of a file or folder, or hf:owner/repo[:quant], by name; at least one.

    What the hub's cache holds whole is offered from there, as `resolve` takes it. UsageError when the
    reference is malformed; ModelFileError when there is no such file, no model, or no way to the hub.
    """
    if model.startswith("hf:"):
        return _in_repository(*reference(model))
    path = Path(model).expanduser()
    return _in_folder(path) if path.is_dir() else (_in_file(path),)


def open_all(offered: Sequence[Offer], max_workers: int = 4) -> tuple[OpenedOffer, ...]:
    """Every offer opened, errors kept, in order; the first alone, so that the others know its tokenizer."""
    known = KnownArrays()
    first = [_opened(offer, known) for offer in offered[:1]]
    with ThreadPoolExecutor(max_workers) as pool:
        return (*first, *pool.map(lambda offer: _opened(offer, known), offered[1:]))


def _opened(offer: Offer, known: KnownArrays) -> OpenedOffer:
    try:
        return OpenedOffer(offer, offer.open(known), None)
    except SixgigError as error:
        return OpenedOffer(offer, None, error)


def _in_file(path: Path) -> Offer:
    """The one model that `path` is, or is a part of."""
    local_file(path)
    name = model_name(path.name)
    parts = sorted(part for part in path.parent.glob("*.gguf") if model_name(part.name) == name)
    return _local(name, parts if announced_parts([path.name]) > 1 else [path], _header(path))


def _in_folder(folder: Path) -> tuple[Offer, ...]:
    """The models in a folder and down to DEPTH below it; adapters, projectors and the like are left out.

    Links to folders are followed that far, and a file that is found twice is offered once, by its first name.
    """
    found = _once(path for depth in range(DEPTH + 1) for path in sorted(folder.glob("*/" * depth + "*.gguf")))
    paths = {path.relative_to(folder).as_posix(): path for path in found}
    offered = []
    for name, files in sorted(model_sets(paths).items()):
        header = _header(paths[files[0]])
        if _may_be_model(header):
            offered.append(_local(name, [paths[file] for file in files], header))
    if not offered:
        raise ModelFileError(
            f"{folder} holds no GGUF model", f"{len(paths)} .gguf files", "name another folder"
        )
    return tuple(offered)


def _in_repository(repository: str, quant: str | None) -> tuple[Offer, ...]:
    """The models of a repository that carry `quant`, or all; without the network where it is not needed."""
    paths = cached_paths(repository)
    listing = cached_listing(repository, paths)
    if quant is None or not holds(paths, quant):
        store = header_store()
        before = stored_listing(repository, store)
        listing = list_repository(before if before.files else listing, store)
    by_name = {file.name: file for file in listing.files}
    chosen = by_name if quant is None else choose(repository, by_name, quant)
    sets = sorted(model_sets(chosen).items())
    if not sets:
        raise nothing_in(repository)
    return tuple(_hub_offer(name, [by_name[file] for file in files], paths) for name, files in sets)


def _hub_offer(name: str, files: list[HubFile], paths: dict[str, Path]) -> Offer:
    """From the cache where it has all parts, else from the hub."""
    names = tuple(file.name for file in files)
    if all(file in paths for file in names) and len(names) == announced_parts(names):
        return _local(name, [paths[file] for file in names], _header(paths[names[0]]))
    sizes = [file.size_bytes for file in files]
    known = [size for size in sizes if size is not None]
    size_bytes = sum(known) if len(known) == len(sizes) else None
    return Offer(quantisation(name) or name.rsplit("/", 1)[-1], name, names, size_bytes, tuple(files))


def _local(name: str, paths: list[Path], header: Header | None) -> Offer:
    files = tuple(path.name for path in paths)
    return Offer(label(name, header), name, files, _size_bytes(paths), paths[0])


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
