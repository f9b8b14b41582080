"""A Hugging Face folder becomes a GGUF; llama.cpp is asked first whether it loads, and how it tokenizes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sixgig.checkpoint import convert
from sixgig.errors import ModelFileError
from sixgig.inference.tokenizer import open_tokenizer
from sixgig.inference.tokens import Vocabulary
from sixgig.modelfile import open_model


def convert_checked(
    folder: Path,
    out: Path,
    *,
    digest: str | None = None,
    progress: Callable[[float], object] | None = None,
    tell: Callable[[str], object] | None = None,
) -> None:
    """As checkpoint.convert; refused too is what llama.cpp would not load, or would tokenize otherwise."""

    @contextmanager
    def tokenizer(header: Path) -> Iterator[Vocabulary]:
        try:
            model = open_model(header)
            opened = open_tokenizer(model)
            found = opened.__enter__()
        except ModelFileError as error:
            what = f"{folder.name} makes no model that llama.cpp loads"
            raise ModelFileError(what, error.numbers or error.what, "fetch the folder again") from error
        try:
            yield found.vocabulary
        finally:
            opened.__exit__(None, None, None)

    convert(folder, out, digest=digest, progress=progress, tell=tell, tokenizer=tokenizer)
