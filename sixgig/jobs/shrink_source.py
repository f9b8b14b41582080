"""What `shrink` reads: a GGUF file, or a Hugging Face folder made one; where its findings go."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from sixgig.checkpoint import checkpoint_digest, is_checkpoint
from sixgig.compress.workfolder import WorkPlaces, place_name, taken_bytes
from sixgig.errors import ModelFileError
from sixgig.inference.converting import convert_checked
from sixgig.jobs.opening import fetched
from sixgig.jobs.reporter import Reporter
from sixgig.modelfile import ModelFile, open_model
from sixgig.modelfile.content import model_digest
from sixgig.units import format_bytes

FINDINGS = "findings"


@dataclass(frozen=True)
class Source:
    """digest: of what the user named, a conversion's is that of its folder. place: where its work goes."""

    model: ModelFile
    digest: str
    place: Path


def open_source(name: str | Path, places: WorkPlaces, is_kept: bool, reporter: Reporter) -> Source:
    """The model named; a Hugging Face folder is first made one GGUF file, unless one of just these files is
    there.

    is_kept: the user keeps the work folder for several runs, so that what other sources left stays.
    """
    path = Path(name)
    if is_checkpoint(path):
        digest, title = checkpoint_digest(path), place_name(path.resolve().name)
        place = _place(places, title, digest, is_kept, reporter)
        model = _converted(path, place / f"{title}.gguf", digest, reporter)
    else:
        model = open_model(fetched(name, reporter))
        digest = model_digest(model)
        place = _place(places, model.parts[0].stem, digest, is_kept, reporter)
    if not model.n_vocab:
        raise ModelFileError(
            f"{model.name} has no tokenizer", "tokenizer.ggml.tokens is missing", "convert the model again"
        )
    return Source(model, digest, place)


def _converted(folder: Path, made: Path, digest: str, reporter: Reporter) -> ModelFile:
    if made.exists():
        reporter.say(f"{folder.name}: converted by an earlier run")
        return open_model(made)
    with reporter.progress(f"converting {folder.name}", begins=True) as progress:
        convert_checked(
            folder,
            made,
            digest=digest,
            progress=progress,
            tell=lambda words: reporter.warn(" ".join(words.split())),
        )
    return open_model(made)


def require_same(source: Source) -> None:
    """ModelFileError where a GGUF file changed while it was worked on."""
    is_converted = source.model.parts[0].parent == source.place
    if not is_converted and model_digest(source.model) != source.digest:
        raise ModelFileError(f"{source.model.name} changed while it was shrunk", cure="begin again")


def _place(places: WorkPlaces, name: str, digest: str, is_kept: bool, reporter: Reporter) -> Path:
    """The source's; what is there of other sources is never taken, and goes where it is of no more use."""
    place = places.place(name, digest)
    for other in places.others():
        size = format_bytes(taken_bytes(other))
        changed = other.name.rpartition("-")[0] == place_name(name)
        what = f"{name} has changed" if changed else f"{name} is another model"
        if is_kept:
            reporter.say(f"{what}: the findings in {other} ({size}) are not used")
        else:
            reporter.say(f"{what}: the findings of an earlier run ({size}) are dropped")
            shutil.rmtree(other)
    return place
