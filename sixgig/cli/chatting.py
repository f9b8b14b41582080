"""The chat loop: a line in, an answer out, and what a line can ask of the chat itself."""

import contextlib
import re
import sys
from collections.abc import Callable, Iterator

from sixgig.cli.stdin import argument_text, as_text, not_text, read_lines
from sixgig.cli.terminal import is_terminal, say, warn
from sixgig.errors import SixgigError, UsageError
from sixgig.inference import Generation
from sixgig.jobs.dialogue import Dialogue
from sixgig.units import format_seconds

PROMPT = "> "
ENDINGS = ("/exit", "/quit", "/bye", "exit", "quit")
HELP = """\
/retry  answer the last line once more
/clear  forget all that was said
/help   this
/exit   end the chat, as Ctrl-D, exit, quit, /quit and /bye do
Ctrl-C stops an answer and keeps what it said; a line it stops before that is forgotten.
Commands are not sent to the model. A space before the / sends a line as text."""
# One word: "/etc/hosts is what?" and "// a comment" are text.
_COMMAND = re.compile(r"/[\w?!-]*(?=\s|$)")


class Chat:
    """Answers lines of stdin until it ends or says /exit. `ask` answers one, in `dialogue`.

    On a terminal Ctrl-C stops the answer, an error is told, and the chat goes on; elsewhere both end the
    program: raises SixgigError there.
    """

    def __init__(self, ask: Callable[[str], Generation], dialogue: Dialogue) -> None:
        self._ask, self._dialogue = ask, dialogue
        self._interactive = is_terminal(sys.stdin)
        self._last: str | None = None  # what /retry asks
        self._answering = False

    def run(self) -> None:
        """The whole chat."""
        if self._interactive:
            say("/help tells the commands; Ctrl-C stops an answer; Ctrl-D or /exit ends.")
        lines = typed_lines() if self._interactive else read_lines()
        going, stopped = True, False
        while going:
            try:  # a second Ctrl-C may come at any time, while the first is told too
                if stopped:
                    stopped = False
                    self._tell_stopped()
                going = self._step(lines)
            except KeyboardInterrupt:
                if not self._interactive:
                    raise
                stopped = True

    def _step(self, lines: Iterator[str]) -> bool:
        """One line; False where it was the last."""
        self._answering = False
        try:
            line = next(lines, None)
            return line is not None and self._take(line)
        except SixgigError as error:
            if not self._interactive:
                raise
            warn(f"error: {error}")
            if self._answering:
                warn("(the line is forgotten; /retry asks it again)")
        return True

    def _take(self, line: str) -> bool:
        text = line.strip()
        if not text:
            return True
        if line.rstrip().lower() in ENDINGS:
            return False
        command = _COMMAND.match(line)
        if command is None:
            self._last = line.removeprefix(" ") if line.startswith(" /") else line
            self._answer(self._last)
        else:
            self._obey(command.group().lower(), line.rstrip())
        return True

    def _obey(self, command: str, line: str) -> None:
        if command in ("/help", "/?"):
            warn(HELP)
        elif line.lower() == "/clear":
            self._dialogue.clear()
            self._last = None
            say("(all is forgotten)")
        elif line.lower() == "/retry":
            self._retry()
        else:
            cure = "/help tells the commands; with a space before it, it is sent as text"
            raise UsageError(f"{line[:40]!r} is no command", cure=cure)

    def _retry(self) -> None:
        if self._last is None:
            raise UsageError("there is no line to answer once more", cure="type one")
        self._dialogue.take_back()
        self._answer(self._last)

    def _answer(self, line: str) -> None:
        self._answering = True
        turn = self._ask(line)
        if self._interactive or turn.finish == "context":
            say(turn_line(turn))

    def _tell_stopped(self) -> None:
        if not self._answering:
            _leave_line()
            say("(Ctrl-D or /exit ends)")
        elif self._dialogue.kept:
            say("(stopped)")
        else:
            say("(stopped) before anything was said: the line is forgotten; /retry asks it again")


def turn_line(turn: Generation) -> str:
    """What one answer took, in brackets."""
    words = f"{len(turn.token_ids)} tokens, {turn.decode_tokens_per_s:.1f} tokens/s"
    first = f"first after {format_seconds(turn.prefill_s)}"
    read = f"{turn.prefill_tokens} of {turn.prompt_tokens} prompt tokens evaluated"
    endings = {
        "context": ", cut: the context is full, the next line begins a new chat; raise --context",
        "length": ", cut at --max-tokens",
    }
    return f"[{words}, {first}, {read}{endings.get(turn.finish, '')}]"


def typed_lines() -> Iterator[str]:
    """Lines that a person types, without their ends, asked for with a prompt."""
    return _Typed()


class _Typed(Iterator[str]):
    """No generator: one that an exception has left is over."""

    def __init__(self) -> None:
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 (its import gives input() line editing and history)

    def __next__(self) -> str:
        try:
            line = input(PROMPT) if is_terminal(sys.stdout) else _input_beside()
        except EOFError:
            _leave_line()
            raise StopIteration from None
        except UnicodeDecodeError as error:
            raise not_text("the line", error) from error
        return argument_text("the line", line)


def _leave_line() -> None:
    """Of the prompt, however quiet: what follows begins a line of its own."""
    warn() if is_terminal(sys.stdout) else say()


def _input_beside() -> str:
    """input() whose prompt does not land in stdout."""
    say(PROMPT, end="")
    line = sys.stdin.buffer.readline()
    if not line:
        raise EOFError
    return as_text(line, sys.stdin).rstrip("\n")
