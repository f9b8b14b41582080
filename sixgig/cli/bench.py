"""`sixgig bench`: speed with the physical limit beside it."""

from __future__ import annotations

from typing import Annotated

import typer

from sixgig.cli.parameters import (
    AlwaysPage,
    Json,
    Model,
    NoReadAhead,
    Policy,
    PolicyOption,
    Quiet,
    Ram,
    Threads,
    Ubatch,
    Verbose,
    Vram,
)

EPILOG = """\b
Examples:
  sixgig bench model.gguf --ram 6G
  sixgig bench model.gguf --ram 6G --text book.txt   routing as in real use
"""

PromptTokens = Annotated[int, typer.Option("--prompt-tokens", metavar="N", help="Length of the prompt.")]
Tokens = Annotated[int, typer.Option("--tokens", metavar="N", help="Tokens decoded after it.")]
TextPath = Annotated[
    str | None,
    typer.Option(
        "--text", metavar="FILE", help="Feed this text.", show_default="random tokens, half of them repeated"
    ),
]
Seed = Annotated[int, typer.Option("--seed", metavar="N", help="Of the random tokens.")]


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("bench", epilog=EPILOG)(bench)


def bench(
    model: Model = None,
    ram: Ram = None,
    vram: Vram = None,
    prompt_tokens: PromptTokens = 512,
    tokens: Tokens = 64,
    text: TextPath = None,
    seed: Seed = 0,
    always_page: AlwaysPage = False,
    policy: PolicyOption = Policy.DECAYED,
    no_read_ahead: NoReadAhead = False,
    threads: Threads = None,
    ubatch: Ubatch = 512,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Measure speed, and the speed that memory and disk allow.

    The limit is the time that this machine's bandwidths, measured too, need for the weights that had to
    move. Reading while computing may pass it; a prompt is mostly arithmetic and stays below.

    Every run feeds the same tokens, so that runs can be compared; after each that is decoded the next one is
    chosen, as in a run, and not used. Random tokens route differently than text does: hit rates of real use
    are those measured with --text.
    """
    from sixgig.cli.bench_tables import bench_document, show_bench
    from sixgig.cli.parameters import budget_bytes, paging_options, size_bytes
    from sixgig.cli.report import write_json
    from sixgig.cli.reporter import TerminalReporter
    from sixgig.jobs.bench import bench as measure

    result = measure(
        model,
        ram=budget_bytes(ram),
        vram=size_bytes(vram),
        prompt_tokens=prompt_tokens,
        tokens=tokens,
        text=text,
        seed=seed,
        paging=paging_options(always_page, policy, no_read_ahead),
        threads=threads,
        ubatch=ubatch,
        reporter=TerminalReporter(),
    )
    if json:
        write_json(bench_document(result))
    else:
        show_bench(result)
