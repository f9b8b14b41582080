"""`sixgig score`: perplexity, and the divergence from a reference."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from sixgig.cli.once import saving_at_signals
from sixgig.cli.parameters import Adapter, Json, Model, Quiet, Ram, Threads, Verbose, Vram

EPILOG = """\b
Examples:
  sixgig score model.gguf --text book.txt
  sixgig score small.gguf --reference large.gguf --text book.txt --ram 6G
  sixgig score small.gguf --reference hf:owner/repo:Q8_0 --text book.txt --windows 20
  sixgig score model.gguf --adapter tuned.gguf --reference model.gguf --text book.txt
  sixgig score large.gguf --text book.txt --save-reference large.logits
  sixgig score small.gguf --reference large.logits

\b
Use a text that the model was neither trained, tuned nor calibrated on.
"""

Reference = Annotated[
    str | None,
    typer.Option(
        "--reference",
        metavar="MODEL",
        help="Compare with this: a GGUF file, hf:OWNER/REPO[:QUANT|:FILE], or stored log-probabilities.",
    ),
]
TextPath = Annotated[
    str | None,
    typer.Option("--text", metavar="FILE", help="The text.", show_default="that of a stored reference"),
]
SaveReference = Annotated[
    str | None,
    typer.Option(
        "--save-reference",
        metavar="FILE",
        help="Keep the reference's log-probabilities (without --reference: the model's own) in this file.",
        show_default="a cache, used again the next time",
    ),
]
WindowCount = Annotated[
    int | None,
    typer.Option("--windows", metavar="N", help="Score at most so many windows.", show_default="all"),
]
WindowLength = Annotated[
    int | None,
    typer.Option("--context", metavar="N", help="Tokens in a window.", show_default="512"),
]
WindowUbatch = Annotated[
    int | None,
    typer.Option(
        "--ubatch",
        metavar="N",
        help="Tokens evaluated together.",
        show_default="half a window, fewer where the logits would fill the budget",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("score", epilog=EPILOG)(score)


def score(
    model: Model = None,
    adapter: Adapter = None,
    reference: Reference = None,
    text: TextPath = None,
    save_reference: SaveReference = None,
    windows: WindowCount = None,
    context: WindowLength = None,
    ram: Ram = None,
    vram: Vram = None,
    threads: Threads = None,
    ubatch: WindowUbatch = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Measure how well a model predicts, alone or against another.

    Figures are defined as by llama.cpp's perplexity tool: windows without overlap, of each the second half is
    scored. The intervals are 95%, of windows drawn anew: wider than that tool's errors, which --json has
    too. Files of stored log-probabilities are its --kl-divergence-base files, either way. Reference and
    model are opened one after another, each within --ram. An adapter changes the model, never the reference.
    """
    from sixgig.cli.parameters import budget_bytes, size_bytes
    from sixgig.cli.report import write_json
    from sixgig.cli.reporter import TerminalReporter
    from sixgig.cli.score_tables import score_document, show_score
    from sixgig.jobs.score import score as measure

    # Threads that wait sleep at once: on a busy machine spinning made scoring 18 times slower, and these are
    # long products, where waking up costs little. OpenMP looks once, when the engine's library is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    with saving_at_signals():
        result = measure(
            model,
            text=text,
            reference=reference,
            save_reference=save_reference,
            windows=windows,
            context=context,
            ram=budget_bytes(ram),
            vram=size_bytes(vram),
            threads=threads,
            ubatch=ubatch,
            adapter=adapter,
            reporter=TerminalReporter(),
        )
    if json:
        write_json(score_document(result))
    else:
        show_score(result)
