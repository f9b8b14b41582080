"""`sixgig shrink`: a smaller file of a model, with the loss measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sixgig.cli.once import saving_at_signals
from sixgig.cli.parameters import Context, Json, Quiet, Threads, budget_bytes, size_bytes

EPILOG = """\b
Examples:
  sixgig shrink model-BF16.gguf -o small.gguf --size 30G --text mixed.txt
  sixgig shrink model-BF16.gguf -o small.gguf --ram 24G --vram 6G --text mixed.txt
  sixgig shrink ./Qwen3-8B -o small.gguf --size 4G --text mixed.txt --held-out book.txt

\b
TEXT should hold some of everything the model is to be used for, 200 KB or more. Nothing that the result is
judged on is calibrated on: passages that recur are left out of the judging. MODEL should not be quantised:
losses are measured from it. A run that was stopped goes on where it was: give the same command again.
"""

Source = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A GGUF file (best in BF16 or F16), hf:OWNER/REPO[:QUANT|:FILE], or a Hugging Face folder.",
        show_default=False,
    ),
]
Out = Annotated[Path, typer.Option("-o", "--output", metavar="OUT", help="The file to write.")]
Size = Annotated[
    str | None,
    typer.Option(
        "--size",
        metavar="SIZE",
        help="Largest size of the file; needed, unless --ram is given.",
        show_default="what --ram and --vram hold",
    ),
]
ShrinkRam = Annotated[
    str | None,
    typer.Option(
        "--ram",
        metavar="SIZE",
        help="Memory this run keeps within; without --size also what the result is to run in.",
        show_default="what is free, less a margin",
    ),
]
ShrinkVram = Annotated[
    str | None,
    typer.Option(
        "--vram",
        metavar="SIZE",
        help="Memory of a GPU that the result is to run in; this run itself uses none.",
        show_default="0",
    ),
]
TextPath = Annotated[Path, typer.Option("--text", metavar="FILE", help="The text to calibrate on.")]
HeldOut = Annotated[
    Path | None,
    typer.Option(
        "--held-out",
        metavar="FILE",
        help="The text to judge the result on.",
        show_default="an eighth of TEXT, set apart",
    ),
]
NoPrune = Annotated[bool, typer.Option("--no-prune", help="Keep every weight: choose storage types only.")]
Work = Annotated[
    Path | None,
    typer.Option(
        "--work",
        metavar="FOLDER",
        help="Keep what was found here, to shrink to other sizes sooner.",
        show_default="OUT.work, removed at the end",
    ),
]
Imatrix = Annotated[
    Path | None,
    typer.Option(
        "--imatrix", metavar="FILE", help="Also write the importance matrix, in llama.cpp's format."
    ),
]
Plot = Annotated[
    Path | None,
    typer.Option(
        "--plot", metavar="FILE", help="Draw loss against size of all files measured: .png or .svg."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("shrink", epilog=EPILOG)(shrink)


def shrink(
    model: Source,
    output: Out,
    text: TextPath,
    size: Size = None,
    ram: ShrinkRam = None,
    vram: ShrinkVram = None,
    no_prune: NoPrune = False,
    held_out: HeldOut = None,
    context: Context = None,
    work: Work = None,
    imatrix: Imatrix = None,
    plot: Plot = None,
    threads: Threads = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a smaller file of a model and say what it cost.

    Reads the model within --ram whatever its size, sees which weights matter on your text, gives each tensor
    the storage type that loses least for its bytes, and measures the result on text it has not seen, beside a
    plain file of the nearest size below. Weights are pruned only where the measurement favours it.
    """
    from sixgig.cli.report import write_json
    from sixgig.cli.reporter import TerminalReporter
    from sixgig.cli.shrink_tables import show_shrink, shrink_document
    from sixgig.jobs import shrink as job

    with saving_at_signals():
        shrunk = job.shrink(
            model,
            output,
            text=text,
            size=size_bytes(size),
            ram=budget_bytes(ram),
            vram=size_bytes(vram) or 0,
            prune=not no_prune,
            held_out=held_out,
            context=context,
            work=work,
            imatrix=imatrix,
            plot=plot,
            threads=threads,
            reporter=TerminalReporter(),
        )
    if json:
        write_json(shrink_document(shrunk))
    else:
        show_shrink(shrunk)
