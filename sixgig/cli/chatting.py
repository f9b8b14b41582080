"""The chat loop: a line in, an answer out."""

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence

from sixgig.cli.terminal import is_terminal, say, warn
from sixgig.errors import SixgigError
from sixgig.inference import Generation
from sixgig.units import format_seconds

PROMPT = "> "
ENDINGS = ("/exit", "/quit", "/bye")


def chat(ask: Callable[[str], object], generations: Sequence[Generation]) -> None:
    """Answers lines of stdin until it ends or says /exit. `ask` appends to `generations` as it answers.

    On a terminal Ctrl-C stops the answer and the chat goes on; elsewhere it ends the program.
    """
    interactive = is_terminal(sys.stdin)
    if interactive:
        say("Ctrl-C stops an answer; Ctrl-D or /exit ends.")
    for line in _lines(interactive):
        if line.strip() in ENDINGS:
            break
        if line.strip():
            _answer(ask, line, generations, interactive)


def _answer(
    ask: Callable[[str], object], line: str, generations: Sequence[Generation], interactive: bool
) -> None:
    try:
        ask(line)
    except KeyboardInterrupt:
        if not interactive:
            raise
        say("(stopped)")
    except SixgigError as error:  # the context is full, a read failed: the next line may still work
        if not interactive:
            raise
        warn(f"error: {error}")
    else:
        if interactive:
            say(turn_line(generations[-1]))


def turn_line(turn: Generation) -> str:
    """What one answer took, in brackets."""
    words = f"{len(turn.token_ids)} tokens, {turn.decode_tokens_per_s:.1f} tokens/s"
    first = f"first after {format_seconds(turn.prefill_s)}"
    endings = {"context": ", the context is full", "length": ", cut at --max-tokens"}
    return f"[{words}, {first}{endings.get(turn.finish, '')}]"


def _lines(interactive: bool) -> Iterator[str]:
    """Lines without their ends, asked for with a prompt where a person types them."""
    if not interactive:
        yield from (line.rstrip("\r\n") for line in sys.stdin)
        return
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 (its import gives input() line editing and history)
    while True:
        try:
            yield input(PROMPT) if is_terminal(sys.stdout) else _input_beside()
        except KeyboardInterrupt:
            say("\n(Ctrl-D or /exit ends)")
        except EOFError:
            say()
            return


def _input_beside() -> str:
    """input() whose prompt does not land in stdout."""
    say(PROMPT, end="")
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\n")
