"""`sixgig plan`: what fits here, how fast it will be, and why."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from sixgig.cli.parameters import Context, Json, Quiet, Ram, Ubatch, budget_bytes, size_bytes

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
    from sixgig.cli import plan_tables
    from sixgig.cli.report import write_json
    from sixgig.cli.reporter import TerminalReporter
    from sixgig.jobs.plan import plan as plan_job

    result = plan_job(
        model,
        ram=budget_bytes(ram),
        vram=size_bytes(vram),
        context=context,
        prompt_tokens=prompt_tokens,
        ubatch=ubatch,
        task=task.value,
        machine=machine,
        versus=vs,
        trace=trace,
        dry_load=not no_dry_load,
        reporter=TerminalReporter(),
    )
    if json:
        write_json(plan_tables.plan_document(result))
    else:
        plan_tables.show_plan(result)
