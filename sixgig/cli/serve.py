"""`sixgig serve`: one API for the models of this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from sixgig.cli.parameters import Context, Quiet, Ram, Threads, Vram
from sixgig.errors import UsageError

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
    from sixgig.cli.serving import Serving, print_key

    if new_key is not None:
        print_key(new_key)
        return
    options = {
        "ram": ram,
        "vram": vram,
        "context": context,
        "parallel": parallel,
        "keep_alive": keep_alive,
        "queue": queue,
        "host": host,
        "port": port,
        "threads": threads,
    }
    serving = Serving.of(models or [], config, options)
    if print_systemd:
        serving.print_systemd()
    elif print_vllm:
        serving.print_vllm()
    else:
        serving.run()
