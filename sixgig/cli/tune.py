"""`sixgig tune`: an adapter trained on the model file you run."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sixgig.cli.once import saving_at_signals
from sixgig.cli.parameters import Json, Quiet, Ram, Threads, Verbose, budget_bytes, size_bytes

EPILOG = """\b
Examples:
  sixgig tune model.gguf chats.jsonl -o tuned --ram 8G
  sixgig tune model.gguf notes.txt -o tuned --optimizer muon --epochs 3
  sixgig tune model.gguf chats.jsonl -o tuned --resume
  sixgig run model.gguf --adapter tuned/adapter.gguf
  sixgig score model.gguf --adapter tuned/adapter.gguf --text book.txt

\b
DATA is plain text, or rows: JSON lines, a JSON array, or CSV or TSV with a header. A row is
  {"messages": [{"role": "user", "content": "..."}, ...]}  OpenAI's, or "conversations", ShareGPT's
  {"question": "...", "answer": "..."}                     or prompt, response; instruction, output; ...
  {"prompt": "...", "completion": "..."}                   goes without the chat template
  {"text": "..."}                                          all of it is learnt
Only answers are learnt, not prompts, and none with "train": false or "weight": 0. Tool calls, "tools" and
"reasoning_content" go to the model's chat template; what it leaves out is refused, with the line's number.
OUT gets adapter.gguf (llama.cpp, sixgig), adapter_model.safetensors (PEFT) and the losses. A run that was
stopped, even by a power cut, goes on with --resume, to the same result.
"""


class Optimizer(StrEnum):
    """How weights are updated."""

    ADAMW = "adamw"
    MUON = "muon"


Source = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="A GGUF file of any type, or hf:OWNER/REPO[:QUANT|:FILE].", show_default=False
    ),
]
Data = Annotated[Path, typer.Argument(metavar="DATA", help="What to learn.", show_default=False)]
Out = Annotated[Path, typer.Option("-o", "--output", metavar="OUT", help="The folder to make.")]
GpuMemory = Annotated[
    str | None,
    typer.Option(
        "--vram",
        metavar="SIZE",
        help="Compute on an NVIDIA GPU, with this much of its memory.",
        show_default="compute on the processor",
    ),
]
HeldOut = Annotated[
    Path | None,
    typer.Option(
        "--held-out",
        metavar="FILE",
        help="Judge on this instead of a part of DATA set apart.",
        show_default="a twentieth of DATA, more where it is small",
    ),
]
Epochs = Annotated[
    int | None,
    typer.Option(
        "--epochs",
        metavar="N",
        help="Times to go through DATA at most.",
        show_default="2, up to 12 where DATA is small",
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(
        "--steps", metavar="N", help="Steps at most, instead of --epochs.", show_default="by --epochs"
    ),
]
Targets = Annotated[
    str,
    typer.Option(
        "--targets", metavar="LIST", help="Parts to adapt, of attention, dense, shared and experts."
    ),
]
Rank = Annotated[int, typer.Option("--rank", metavar="N", help="Rank of the adapter.")]
Alpha = Annotated[
    float | None,
    typer.Option("--alpha", metavar="X", help="Its scale times its rank.", show_default="twice the rank"),
]
OptimizerOption = Annotated[Optimizer, typer.Option("--optimizer", help="How weights are updated.")]
LearningRate = Annotated[
    float | None,
    typer.Option(
        "--learning-rate", metavar="X", help="Its peak.", show_default="0.0002 for adamw, 0.001 for muon"
    ),
]
BatchTokens = Annotated[
    int | None,
    typer.Option(
        "--batch",
        metavar="N",
        help="Tokens in a step, the longest document at least.",
        show_default="4096, fewer where DATA is small",
    ),
]
LongestDocument = Annotated[
    int | None,
    typer.Option(
        "--context",
        metavar="N",
        help="Longest document, in tokens; longer ones are cut.",
        show_default="1024, or what the model was trained for",
    ),
]
TrainOnAll = Annotated[bool, typer.Option("--train-on-all", help="Learn prompts too, not only answers.")]
Seed = Annotated[int, typer.Option("--seed", metavar="N", help="Decides the order of DATA and the start.")]
SaveEvery = Annotated[float, typer.Option("--save-every", metavar="MINUTES", help="Save the state so often.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run that OUT holds.")]
Merge = Annotated[
    Path | None,
    typer.Option("--merge", metavar="FILE", help="Also write a GGUF file with the adapter merged in."),
]


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("tune", epilog=EPILOG)(tune)


def tune(
    model: Source,
    data: Data,
    output: Out,
    ram: Ram = None,
    vram: GpuMemory = None,
    held_out: HeldOut = None,
    epochs: Epochs = None,
    steps: Steps = None,
    targets: Targets = "attention,dense,shared",
    rank: Rank = 16,
    alpha: Alpha = None,
    optimizer: OptimizerOption = Optimizer.ADAMW,
    learning_rate: LearningRate = None,
    batch: BatchTokens = None,
    context: LongestDocument = None,
    train_on_all: TrainOnAll = False,
    seed: Seed = 0,
    save_every: SaveEvery = 10.0,
    resume: Resume = False,
    merge: Merge = None,
    threads: Threads = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Train an adapter (LoRA) on the model file you run.

    The model stays as it is, in the bytes it is served in, and is read half a layer at a time: what limits
    its size is the disk. --ram and --vram are kept. Training stops when the loss on text set apart no longer
    falls, and the best adapter is written.
    """
    from sixgig.cli.report import write_json
    from sixgig.cli.reporter import TerminalReporter
    from sixgig.cli.tune_tables import show_tuning, tune_document
    from sixgig.jobs import tune as job

    with saving_at_signals():
        result = job.tune(
            model,
            data,
            output,
            ram=budget_bytes(ram),
            vram=size_bytes(vram),
            held_out=held_out,
            epochs=epochs,
            steps=steps,
            targets=tuple(map(str.strip, targets.split(","))),
            rank=rank,
            alpha=alpha,
            optimizer=optimizer.value,
            learning_rate=learning_rate,
            batch=batch,
            context=context,
            train_on_all=train_on_all,
            seed=seed,
            save_every_s=60 * save_every,
            resume=resume,
            merge=merge,
            threads=threads,
            reporter=TerminalReporter(),
        )
    if json:
        write_json(tune_document(result))
    else:
        show_tuning(result, model)
