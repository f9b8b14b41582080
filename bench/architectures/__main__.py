"""The table of every architecture: `python -m bench.architectures`.

The engine's own generator writes tiny models of all that it knows (built first, a quarter of an hour on two
cores, unless --generator or --files names what is there). Each is run here and by the library alone; the
mixtures' headers are grown to 16 experts and paged. Markdown on stdout, rows with --json; under half an hour.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.architectures.description import Description, describe
from bench.architectures.expand import expand, is_mixture, with_prediction
from bench.architectures.generator import generate, parser
from bench.architectures.table import show_derived, show_files
from bench.architectures.trying import DerivedRow, FileRow, try_derived, try_file
from sixgig.errors import SixgigError

KINDS = ("Q8_0", "Q4_K")


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    options = parser("python -m bench.architectures", __doc__, ("files", "derived")).parse_args(arguments)
    with TemporaryDirectory(prefix="architectures-") as folder:
        try:
            paths = generate(options.files or Path(folder), options.generator)
        except SixgigError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        if unknown := set(options.only or ()) - {path.stem for path in paths}:
            print(f"error: the generator makes no {sorted(unknown)[0]!r}", file=sys.stderr)
            return 2
        chosen = [path for path in paths if not options.only or path.stem in options.only]
        began = time.monotonic()
        files = [] if options.part == "derived" else [_told(try_file(path)) for path in chosen]
        mixtures = [] if options.part == "files" else chosen
        derived = [_told(row) for path in mixtures for row in _derived(path)]
        seconds = time.monotonic() - began
        if files:
            print(show_files(files) + "\n")
        if derived:
            print(show_derived(derived) + "\n")
        if empty := [path.stem for path in mixtures if _announces_only(describe(path))]:
            print(f"Announce experts and hold none: {', '.join(empty)}.\n")
        print(f"{len(files)} files and {len(derived)} derived ones in {seconds / 60:.1f} minutes.")
    if options.json:
        options.json.write_text(json.dumps(_rows(files, derived, seconds), indent=1) + "\n")
    return 0


def _derived(path: Path) -> Iterator[DerivedRow]:
    header = describe(path)
    if not is_mixture(header):
        return
    for kind in KINDS:
        yield try_derived(path.stem, kind, expand(header, kind))
    if (longer := with_prediction(expand(header, KINDS[0]))) is not None:
        yield try_derived(path.stem, f"{KINDS[0]}, predicting", longer)


def _announces_only(header: Description) -> bool:
    return bool(header.get("expert_count")) and not is_mixture(header)


def _told(row: Any) -> Any:
    """A row, said on stderr as it comes."""
    done = row.proven if isinstance(row, DerivedRow) else row.runs and not row.reason
    print(f"{'ok  ' if done else 'SEE '}{row.name} {getattr(row, 'kind', '')} {row.reason}", file=sys.stderr)
    return row


def _rows(files: list[FileRow], derived: list[DerivedRow], seconds: float) -> dict[str, Any]:
    return {
        "seconds": seconds,
        "files": [asdict(row) for row in files],
        "derived": [asdict(row) for row in derived],
    }


if __name__ == "__main__":
    sys.exit(main())
