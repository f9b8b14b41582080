"""`sixgig plan`: what fits here, how fast it will be, and why."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from sixgig.cli.parameters import Context, Json, Quiet, Ram, Ubatch

EPILOG = """\b
Examples:
  sixgig plan model.gguf                        on this machine, with what is free
  sixgig plan model.gguf --ram 6G --context 32768
  sixgig plan hf:owner/repo                     every quantisation there, headers only
  sixgig plan ~/models --vs hf:owner/repo:Q4_K_M
  sixgig plan hf:owner/repo --machine gtx-1060-6g-24g

\b
Nothing is downloaded but the headers of the files, a few MB at most.
"""


class Kind(StrEnum):
    """What the model is to be used for."""

    RUN = "run"
    TUNE = "tune"
    SHRINK = "shrink"


ModelOrFolder = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL",
        help="A GGUF file, a folder of them, hf:OWNER/REPO (all its quantisations) or hf:OWNER/REPO:QUANT.",
        show_default="the demo model",
    ),
]
Vram = Annotated[
    str | None,
    typer.Option(
        "--vram",
        metavar="SIZE",
        help="Budget of the GPU's memory; 0 leaves it alone.",
        show_default="what is free of a GPU the engine can use",
    ),
]
PromptTokens = Annotated[
    int,
    typer.Option("--prompt-tokens", metavar="N", help="Length of the prompt that times are told for."),
]
TaskOption = Annotated[Kind, typer.Option("--task", help="What the model is to be used for.")]
MachineName = Annotated[
    str | None,
    typer.Option(
        "--machine",
        metavar="FILE",
        help="Plan for another machine: a file that sixgig doctor --save wrote, or a profile's name.",
        show_default="this one",
    ),
]
Versus = Annotated[
    str | None,
    typer.Option("--vs", metavar="MODEL", help="Compare with a second model on the same machine."),
]
Trace = Annotated[
    str | None,
    typer.Option(
        "--trace", metavar="FILE", help="Take hit rates from a trace that sixgig run --trace recorded."
    ),
]
NoDryLoad = Annotated[
    bool,
    typer.Option(
        "--no-dry-load", help="Estimate from the header; do not ask the engine for its exact bytes."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("plan", epilog=EPILOG)(plan)


def plan(
    model: ModelOrFolder = None,
    ram: Ram = None,
    vram: Vram = None,
    context: Context = None,
    prompt_tokens: PromptTokens = 512,
    ubatch: Ubatch = 512,
    task: TaskOption = Kind.RUN,
    machine: MachineName = None,
    vs: Versus = None,
    trace: Trace = None,
    no_dry_load: NoDryLoad = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Tell what fits, how fast it will be, and why.

    Memory is told use by use: confirmed by the engine itself where the file is here, else estimated from the
    header, for the architectures that sixgig has a declaration of. Speeds come from this machine's measured
    bandwidths and kernels (measured once, some seconds) and are corrected by what past runs here have shown.
    """
    from sixgig.cli.plan_tables import comparison_document, plan_document, show_comparison, show_plan
    from sixgig.cli.planning import Planning, Request
    from sixgig.cli.report import write_json

    request = Request(ram, vram, context, prompt_tokens, ubatch, task.value, trace, not no_dry_load)
    planning = Planning(machine, model, request)
    first = planning.survey(model)
    second = planning.survey(vs) if vs is not None else None
    if json:
        document = plan_document(planning, first)
        write_json(
            document if second is None else {**document, "vs": comparison_document(planning, first, second)}
        )
        return
    show_plan(planning, first)
    if second is not None:
        show_plan(planning, second)
        show_comparison(first, second)
