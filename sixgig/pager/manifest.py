"""Page experts below a llama.cpp program that is not ours: write down what its backend needs to know.

A llama.cpp with dynamic backends, of the version sixgig is built for, loads the native library by itself::

    python -m sixgig.pager.manifest model.gguf --cache 8G > model.experts
    SIXGIG_EXPERTS=model.experts GGML_BACKEND_PATH=<library> \\
        llama-server -m model.gguf --load-mode none --no-repack

The cache is the experts' share only: that program's own memory is its own affair, and it reads the whole file
once at start. It may measure the model first (--fit on) and load it again and again, one at a time; it stops
with an error where it would load the experts unpaged. Paged experts are never repacked: with --no-repack the
logits are those of the same program without us, to the last bit. The file's lines::

    sixgig experts 1
    cache <bytes> <policy number> <reader threads>
    part <bytes> <modified, ns> <inode> <path>
    tensor <expert layer> <part> <file offset> <bytes> <experts> <name>
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from sixgig.errors import ModelFileError, SixgigError
from sixgig.modelfile import ModelFile, open_model
from sixgig.pager.native import library_path
from sixgig.pager.pager import DEFAULT_READERS, CachePolicy, experts_by_layer, is_loaded
from sixgig.units import parse_size


def manifest(model: ModelFile, cache_bytes: int, readers: int = DEFAULT_READERS) -> str:
    """The whole file; ModelFileError for a model without routed experts or a part with a strange name."""
    if not model.routed_bytes:
        raise ModelFileError(f"{model.name} has no routed experts", "nothing to page")
    return "".join(f"{line}\n" for line in _lines(model, cache_bytes, readers))


def _lines(model: ModelFile, cache_bytes: int, readers: int) -> Iterator[str]:
    yield "sixgig experts 1"
    yield f"cache {cache_bytes} {int(CachePolicy.DECAYED_FREQUENCY)} {readers}"
    for part, then in zip(model.parts, model.fingerprints, strict=True):
        if "\n" in str(part):
            raise ModelFileError(f"{part!r} holds a line break", cure="rename the file")
        yield f"part {then.size_bytes} {then.modified_ns} {then.inode} {part.resolve()}"
    for position, t in experts_by_layer(model):
        if is_loaded(model, t):
            yield f"tensor {position} {t.part} {t.offset} {t.size_bytes} {t.shape[2]} {t.name}"


def main() -> int:
    """Write the manifest to standard output, and where the library lies to standard error."""
    parser = argparse.ArgumentParser(description="what a llama.cpp program needs to page a model's experts")
    parser.add_argument("model", type=Path)
    parser.add_argument("--cache", default="4G", help="memory for experts, for example 8G (default: 4G)")
    options = parser.parse_args()
    try:
        sys.stdout.write(manifest(open_model(options.model), parse_size(options.cache)))
    except SixgigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"GGML_BACKEND_PATH={library_path()}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
