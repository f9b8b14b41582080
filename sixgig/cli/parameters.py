"""Options that several verbs share: their names, types and help, and what their values say."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from sixgig.cli.terminal import Verbosity, choose_verbosity
from sixgig.errors import UsageError

if TYPE_CHECKING:
    from sixgig.inference.request import PagingOptions


class Policy(StrEnum):
    """Which expert leaves a full cache."""

    LRU = "lru"
    DECAYED = "decayed"


Model = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL",
        help="A GGUF file (any part of a split one), hf:OWNER/REPO[:QUANT|:FILE], or nothing: a small demo.",
        show_default=False,
    ),
]
Ram = Annotated[
    str | None,
    typer.Option(
        "--ram",
        metavar="SIZE",
        help="Memory budget of the whole process, never exceeded.",
        show_default="what is free, less a margin",
    ),
]
Vram = Annotated[
    str | None,
    typer.Option(
        "--vram",
        metavar="SIZE",
        help="Use a GPU, with this much of its memory. Needs an engine build for it: sixgig doctor.",
        show_default="0",
    ),
]
Context = Annotated[
    int | None,
    typer.Option(
        "--context",
        metavar="N",
        help="Tokens the model sees at once: prompt and answers together.",
        show_default="the model's own, at most 4096",
    ),
]
AlwaysPage = Annotated[
    bool,
    typer.Option("--always-page", help="Page experts even if the model fits."),
]
PolicyOption = Annotated[Policy, typer.Option("--policy", help="Which expert leaves a full cache.")]
NoReadAhead = Annotated[
    bool,
    typer.Option("--no-read-ahead", help="Do not read experts before they are asked for."),
]
Adapter = Annotated[
    str | None,
    typer.Option("--adapter", metavar="FILE", help="Run MODEL with this LoRA, a GGUF file made for it."),
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        metavar="N",
        help="Threads that compute.",
        show_default="performance cores that others leave free",
    ),
]
Ubatch = Annotated[
    int,
    typer.Option("--ubatch", metavar="N", help="Prompt tokens evaluated together."),
]
Json = Annotated[
    bool,
    typer.Option("--json", help="One JSON document on stdout; all else on stderr."),
]


def _quieten(context: typer.Context, wanted: bool) -> bool:
    return _heeded(context, wanted, Verbosity.QUIET)


def _raise_voice(context: typer.Context, wanted: bool) -> bool:
    return _heeded(context, wanted, Verbosity.VERBOSE)


def _heeded(context: typer.Context, wanted: bool, verbosity: Verbosity) -> bool:
    """As soon as it is read: what is said while a command begins counts too."""
    if wanted and (context.params.get("verbose") or context.params.get("quiet")):
        raise UsageError("--quiet and --verbose exclude each other", cure="choose one")
    if wanted:
        choose_verbosity(verbosity)
    return wanted


Quiet = Annotated[
    bool,
    typer.Option(
        "-q", "--quiet", callback=_quieten, is_eager=True, help="On stderr warnings and errors alone."
    ),
]
Verbose = Annotated[
    bool,
    typer.Option(
        "-v", "--verbose", callback=_raise_voice, is_eager=True, help="Tell memory use by use, on stderr."
    ),
]


def budget_bytes(ram: str | None) -> int | None:
    """What --ram says; None where it was not given. Raises UsageError."""
    from sixgig.units import parse_memory

    return None if ram is None else parse_memory(ram)


def size_bytes(size: str | None) -> int | None:
    """What --vram or --size says; None where it was not given. Raises UsageError."""
    from sixgig.units import parse_size

    return None if size is None else parse_size(size)


def paging_options(always: bool, policy: Policy, no_read_ahead: bool) -> PagingOptions:
    """The paging that the shared options ask for."""
    from sixgig.inference.request import PagingOptions
    from sixgig.pager.pager import CachePolicy

    policies = {Policy.LRU: CachePolicy.LRU, Policy.DECAYED: CachePolicy.DECAYED_FREQUENCY}
    return PagingOptions(always=always, policy=policies[policy], read_ahead=not no_read_ahead)
