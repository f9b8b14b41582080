"""`sixgig run`: generate once, or chat."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from sixgig.cli.parameters import (
    Adapter,
    AlwaysPage,
    Context,
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
from sixgig.errors import UsageError

EPILOG = """\b
Examples:
  sixgig run                                   try the demo model
  sixgig run model.gguf --ram 6G               chat within 6 GiB
  sixgig run model.gguf -p "Why is it dark?"   answer once
  git diff | sixgig run model.gguf -p "Any bugs here?"
  sixgig run model.gguf -p - --json < ask.txt  for programs
  sixgig run model.gguf --adapter tuned.gguf
  sixgig run hf:Qwen/Qwen3-30B-A3B-GGUF:Q4_K_M --ram 8G

\b
What is piped in goes before the prompt of -p, with an empty line between; in
a script's loop, or a service, < /dev/null keeps stdin out of it. Without -p
each line of stdin is a turn of a chat.

\b
In a chat Ctrl-C stops an answer; Ctrl-D or /exit ends; /retry answers the
last line once more, /clear forgets all, /help tells more. A line of / and one
word is never sent to the model; a space before it sends it.
"""

Prompt = Annotated[
    str | None,
    typer.Option(
        "-p",
        "--prompt",
        metavar="TEXT",
        help="Answer this once, then exit, with what is piped in before it; - reads stdin. Without it: chat.",
    ),
]
Raw = Annotated[
    bool,
    typer.Option("--raw", help="Continue the text as it stands, without the model's chat template."),
]
MaxTokens = Annotated[
    int | None,
    typer.Option(
        "-n",
        "--max-tokens",
        metavar="N",
        help="Longest answer.",
        show_default="as long as the context; 256 where no MODEL is named",
    ),
]
Temperature = Annotated[
    float | None,
    typer.Option(
        "--temperature",
        metavar="T",
        help="0 always takes the likeliest token.",
        show_default="what the model file asks for (general.sampling), else 0.8",
    ),
]
Seed = Annotated[
    int | None,
    typer.Option("--seed", metavar="N", help="Repeats the draws of an earlier run.", show_default="random"),
]
TracePath = Annotated[
    str | None,
    typer.Option("--trace", metavar="FILE", help="Record which experts were used, for the cache simulator."),
]


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("run", epilog=EPILOG)(run)


def run(
    model: Model = None,
    prompt: Prompt = None,
    ram: Ram = None,
    vram: Vram = None,
    adapter: Adapter = None,
    raw: Raw = False,
    max_tokens: MaxTokens = None,
    temperature: Temperature = None,
    seed: Seed = None,
    context: Context = None,
    always_page: AlwaysPage = False,
    policy: PolicyOption = Policy.DECAYED,
    no_read_ahead: NoReadAhead = False,
    threads: Threads = None,
    ubatch: Ubatch = 512,
    json: Json = False,
    trace: TracePath = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Generate text or chat, within a memory budget.

    A model that fits runs whole, at full speed. Of a larger mixture-of-experts model only a part of the
    experts stays in memory, the others are read when needed.

    The text of the answer goes to stdout. What the model thinks before it goes to stderr, dimmed on a
    terminal; with --json it is "reasoning", beside "text".
    """
    if json and prompt is None:
        raise UsageError("--json writes one document and cannot chat", cure="give a prompt with -p")
    text = _prompt(prompt)
    from sixgig.cli.parameters import budget_bytes, paging_options, size_bytes
    from sixgig.cli.report import broken_words, closing_lines, cut_words, run_document, write_json
    from sixgig.cli.reporter import TerminalReporter
    from sixgig.cli.session import Asked, Session
    from sixgig.cli.terminal import say, warn
    from sixgig.jobs.run import load

    asked = Asked.of(model, text, raw, max_tokens, temperature=temperature, seed=seed)
    opened = load(
        model,
        ram=budget_bytes(ram),
        vram=size_bytes(vram),
        context=context,
        threads=threads,
        ubatch=ubatch,
        adapter=adapter,
        paging=paging_options(always_page, policy, no_read_ahead),
        checkpoint=text is None,
        trace=trace,
        remember=True,
        reporter=TerminalReporter(),
    )
    with opened:
        session = Session(opened, asked)
        session.run(stream=not json)
    stats, cut = opened.stats, [] if text is None else cut_words(session.answer, opened.context)
    for line in [*cut, *broken_words(stats.plan, stats.peak)]:
        warn(line)
    for line in closing_lines(stats):
        say(line)
    if json:
        write_json(run_document(stats, session))


def _prompt(given: str | None) -> str | None:
    """What is asked once; None: a chat. Raises UsageError."""
    from sixgig.cli.stdin import argument_text, read_beside, read_prompt

    if given is None:
        if sys.stdin is None:
            raise UsageError("there is nobody to chat with", "stdin is closed", "give a prompt with -p")
        return None
    return read_prompt() if given == "-" else read_beside(argument_text("the prompt", given))
