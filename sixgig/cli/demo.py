"""`sixgig demo`: the same text with a quarter of the experts in memory and with all of them."""

from __future__ import annotations

import typer

from sixgig.cli.parameters import Json, Quiet
from sixgig.errors import EngineError

EPILOG = "Next: sixgig run model.gguf --ram 6G, a model of your own within 6 GiB."


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("demo", epilog=EPILOG)(demo)


def demo(json: Json = False, quiet: Quiet = False) -> None:
    """Run the small demo model paged and whole, and compare.

    First with a quarter of its experts in memory, then with all of them. Both runs must write the same
    tokens, or the command fails.
    """
    from sixgig.cli.comparison import document, show
    from sixgig.cli.report import write_json
    from sixgig.cli.reporter import TerminalReporter
    from sixgig.jobs import demo as job

    result = job.demo(reporter=TerminalReporter())
    if json:
        write_json(document(result))
    else:
        show(result)
    if not result.same:
        raise EngineError(
            "the paged run wrote other tokens than the whole one",
            f"equal up to token {result.n_equal} of {len(result.whole.answer.token_ids)}",
            "please report this",
        )
