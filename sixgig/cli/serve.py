"""`sixgig serve`: one API for the models of this machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from sixgig.cli.parameters import Context, Quiet, Ram, Threads, Vram
from sixgig.cli.terminal import is_quiet, warn
from sixgig.errors import UsageError

if TYPE_CHECKING:
    from sixgig.jobs.serve import ServeRequest

T = TypeVar("T")

EPILOG = """\b
Examples:
  sixgig serve                                 the demo model, at http://127.0.0.1:8333
  sixgig serve model.gguf --ram 8G
  sixgig serve ~/models --ram 24G              every model of a folder, loaded when asked for
  sixgig serve --config serve.toml             keys, several models, upstreams, energy
  sixgig serve --new-key alice                 make an API key
  sixgig serve --config serve.toml --print-systemd > sixgig.service

\b
Clients: OpenAI's at /v1, Anthropic's at /v1/messages, Ollama's at /api. The page at / shows what goes on.
"""

Models = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[MODEL]...",
        help="GGUF files, folders, hf:OWNER/REPO[:QUANT|:FILE]; nothing: those of --config, or a small demo.",
        show_default=False,
    ),
]
Config = Annotated[
    str | None, typer.Option("--config", metavar="FILE", help="A TOML file; options given here win over it.")
]
Host = Annotated[
    str | None,
    typer.Option("--host", metavar="HOST", help="Where to listen.", show_default="127.0.0.1"),
]
Port = Annotated[
    int | None,
    typer.Option("--port", metavar="N", help="0 takes any that is free.", show_default="8333"),
]
Parallel = Annotated[
    int | None,
    typer.Option("--parallel", metavar="N", help="Requests a model answers side by side.", show_default="4"),
]
KeepAlive = Annotated[
    str | None,
    typer.Option(
        "--keep-alive",
        metavar="TIME",
        help="How long a model stays loaded when nobody asks: 30s, 5m, forever.",
        show_default="5m",
    ),
]
Queue = Annotated[
    int | None,
    typer.Option("--queue", metavar="N", help="Requests that may wait; more are refused.", show_default="64"),
]
NewKey = Annotated[
    str | None,
    typer.Option("--new-key", metavar="NAME", help="Make an API key, print it once, and exit."),
]
PrintSystemd = Annotated[
    bool, typer.Option("--print-systemd", help="Print a systemd unit for these options, and exit.")
]
PrintVllm = Annotated[
    bool,
    typer.Option("--print-vllm", help="Print how to serve the same model on vLLM, and exit."),
]


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("serve", epilog=EPILOG)(serve)


def serve(
    models: Models = None,
    config: Config = None,
    ram: Ram = None,
    vram: Vram = None,
    context: Context = None,
    parallel: Parallel = None,
    keep_alive: KeepAlive = None,
    queue: Queue = None,
    host: Host = None,
    port: Port = None,
    threads: Threads = None,
    new_key: NewKey = None,
    print_systemd: PrintSystemd = False,
    print_vllm: PrintVllm = False,
    quiet: Quiet = False,
) -> None:
    """Serve models over HTTP, within one memory budget.

    Each model runs in a process of its own and is loaded when it is asked for. --ram and --vram are for all
    of them together; one that is idle leaves when another needs its room.
    """
    if sum((new_key is not None, print_systemd, print_vllm)) > 1:
        raise UsageError("--new-key, --print-systemd and --print-vllm exclude one another", cure="give one")
    if new_key is not None:
        print_key(new_key)
        return
    from sixgig.cli.reporter import TerminalReporter
    from sixgig.jobs.serve import ServeRequest
    from sixgig.settings import parse_duration
    from sixgig.units import parse_size

    request = ServeRequest(
        models,
        config=config,
        ram=_read("ram", ram, parse_size),
        vram=_read("vram", vram, parse_size),
        context=context,
        parallel=parallel,
        keep_alive_s=_read("keep-alive", keep_alive, parse_duration),
        queue=queue,
        host=host,
        port=port,
        threads=threads,
        reporter=TerminalReporter(),
    )
    if print_systemd:
        from sixgig.jobs.serve_unit import unit_for

        print(unit_for(request), end="")
    elif print_vllm:
        from sixgig.jobs.serve_vllm import vllm_for

        print(vllm_for(request), end="")
    else:
        _serve(request)


def _serve(request: ServeRequest) -> None:
    """In the foreground, with its log on stderr."""
    import logging

    from sixgig.gateway import logs
    from sixgig.jobs.serve import Server

    server = Server(request)
    log_prompts = server.settings.server.log_prompts
    logs.start(log_prompts=log_prompts, level=logging.WARNING if is_quiet() else logging.INFO)
    server.run()


def print_key(name: str) -> None:
    """A new key: the secret for its user, the digest for the configuration."""
    from sixgig.server.keys import make_key

    key = make_key(name)
    warn("Give this key to its user; it is not kept anywhere:\n")
    print(key.secret)
    warn("\nand put this into the configuration:\n")
    warn(key.section)


def _read(option: str, typed: str | None, parse: Callable[[str], T]) -> T | None:
    """What an option says, None where it was not given. Raises UsageError."""
    try:
        return None if typed is None else parse(typed)
    except UsageError as error:
        raise UsageError(f"--{option} of {typed} is not possible", str(error)) from error
