"""Streams a Hugging Face folder into one GGUF file that appears whole or not at all."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from os import SEEK_END
from pathlib import Path
from typing import BinaryIO

from sixgig.checkpoint.content import checkpoint_digest
from sixgig.checkpoint.folder import read_config, read_tensors
from sixgig.checkpoint.header import write_header
from sixgig.checkpoint.planning import plan_targets
from sixgig.checkpoint.proof import OpenTokenizer, prove
from sixgig.checkpoint.settings import require_carried
from sixgig.checkpoint.special import read_special
from sixgig.checkpoint.target import Target, count_broken
from sixgig.checkpoint.vocabulary import read_vocabulary
from sixgig.checkpoint.whole import whole_file
from sixgig.errors import BudgetError, ModelFileError, UsageError
from sixgig.families import recipes
from sixgig.families.terms.config import Config
from sixgig.families.terms.names import EMBEDDING
from sixgig.families.terms.recipe import Recipe
from sixgig.modelfile.header import padded
from sixgig.units import format_bytes

Progress = Callable[[float], object]
Tell = Callable[[str], object]


def convert(
    folder: Path,
    out: Path,
    *,
    alignment: int = 4096,
    digest: str | None = None,
    progress: Progress | None = None,
    tell: Tell | None = None,
    tokenizer: OpenTokenizer | None = None,
) -> None:
    """Writes the model in `folder` to the GGUF file `out`, replacing it.

    Matrices keep the checkpoint's type (BF16, F16, F32); norms, biases, routers and convolutions become
    float32, as llama.cpp wants them. `alignment` is that of every tensor's data in bytes, a power of two.
    `digest` is checkpoint_digest's, where the caller keeps the file under it: of any other content none is
    written. `progress` gets the fraction written, `tell` a line for each thing that a person should know of.
    `tokenizer` opens the GGUF's own, of a file whose weights are still zeros: it is proven before they are
    written. Memory: one tensor, of experts one at a time. Layers that predict further tokens and vision parts
    are left out. A run that dies leaves nothing under `out`.
    Raises ModelFileError for a damaged or unsupported folder, naming what is supported, for one that says
    what a GGUF cannot carry (checkpoint.settings), and for one that changes meanwhile; BudgetError where the
    disk is too full, ReadError where reading fails, UsageError where `out` cannot be written.
    """
    progress, tell = progress or _ignore, tell or _ignore
    if alignment < 1 or alignment.bit_count() != 1:
        raise UsageError("the alignment must be a power of two", str(alignment))
    digest = digest or checkpoint_digest(folder)
    config = read_config(folder)
    recipe = recipe_of(config)
    config = config.or_else(recipe.defaults)
    targets = plan_targets(recipe, config, read_tensors(folder).values())
    keys = recipe.keys(config)
    require_carried(recipe, config)
    vocabulary = read_vocabulary(folder, _n_tokens(targets), recipe.cutting)
    special = read_special(folder, config, vocabulary, recipe.special)
    for line in config.notes:
        tell(line)
    with whole_file(out) as (file, beside):
        write_header(beside, folder, recipe, keys, vocabulary, special, targets, alignment)
        _check_room(out, targets, alignment)
        if tokenizer is not None:
            with _at_full_size(file, targets, alignment), tokenizer(beside) as engine:
                prove(folder, vocabulary, special, engine)
        broken = _write_data(file, targets, config, alignment, progress)
        if checkpoint_digest(folder) != digest:
            raise ModelFileError(f"{folder.name} changed while it was converted", cure="convert it again")
    if broken:
        names = ", ".join(list(broken)[:4]) + (", ..." if len(broken) > 4 else "")
        tell(f"{sum(broken.values())} weights are no finite numbers (NaN or infinite), in {names}")


def recipe_of(config: Config) -> Recipe:
    """The recipe for what config.json says it is; ModelFileError naming those called alike, or all."""
    known, asked, text = recipes(), config.architecture, config.text("model_type")
    if found := known.get(f"{asked}/{text}") or known.get(asked):
        return found
    alike = get_close_matches(asked, known, n=4, cutoff=0.7)
    families = sorted({recipe.architecture for recipe in known.values()})
    raise ModelFileError(
        f"a checkpoint of {asked or 'no named architecture'} cannot be converted",
        f"can be: {', '.join(alike)}" if alike else f"families that can: {', '.join(families)}",
        "use a GGUF of the model: one of any architecture that llama.cpp knows runs",
    )


def _ignore(_: object) -> None:
    """Nobody asked."""


def _n_tokens(targets: Iterable[Target]) -> int:
    """Rows of the embedding, which the tokenizer must fill exactly."""
    for target in targets:
        if target.name == EMBEDDING:
            return target.shape[0]
    raise ModelFileError("the checkpoint has no token embedding", cure="fetch all files of the repository")


def _check_room(out: Path, targets: Iterable[Target], alignment: int) -> None:
    """The disk must hold all the data before the first byte of it is written."""
    needed = sum(padded(target.size_bytes, alignment) for target in targets)
    free = shutil.disk_usage(out.resolve().parent).free
    if needed > free:
        numbers = f"needs {format_bytes(needed)}, {format_bytes(free)} free"
        cure = "free some space, or name a file on another disk"
        raise BudgetError(f"no room for {out.name} in {out.resolve().parent}", numbers, cure)


@contextmanager
def _at_full_size(file: BinaryIO, targets: Iterable[Target], alignment: int) -> Iterator[None]:
    """While the block runs the file has a hole for each tensor's data, and is a GGUF."""
    header_bytes = end = file.seek(0, SEEK_END)
    for target in targets:
        end = padded(end, alignment) + target.size_bytes
    file.truncate(padded(end, alignment))
    yield
    file.truncate(header_bytes)


def _write_data(
    file: BinaryIO, targets: Sequence[Target], config: Config, alignment: int, progress: Progress
) -> dict[str, int]:
    """Each tensor's data behind padding to the alignment; the last is padded too.

    Returns by name how many values are not finite.
    """
    broken = Counter[str]()
    written, total = 0, sum(target.size_bytes for target in targets)
    file.seek(0, SEEK_END)
    for target in targets:
        _pad(file, alignment)
        for piece in target.pieces(config):
            broken[target.name] += count_broken(piece)
            file.write(piece.data)
            written += piece.nbytes
            progress(written / total)
    _pad(file, alignment)
    return +broken


def _pad(file: BinaryIO, alignment: int) -> None:
    position = file.tell()
    file.write(bytes(padded(position, alignment) - position))
