"""A chat at a terminal: whatever a person does in it, it goes on as if that had not been done.

The demo model has recurrent layers, whose memory cannot be cut back. The oracle of texts is another chat,
through a pipe, that was spared the mishap.
"""

import re
import subprocess
import time
from pathlib import Path

from sixgig.jobs.opening import demo_path
from tests.cli.terminal import PATIENCE_S, Terminal, start

OPTIONS = ("--temperature", "0", "--threads", "1")
FIRST, NEXT = "What is a PEP?", "hi"
EVALUATED = re.compile(r"(\d+) of (\d+) prompt tokens evaluated")


def terminal(*options: str, model: Path | None = None) -> Terminal:
    return Terminal("run", str(model or demo_path()), *OPTIONS, *options)


def undisturbed(*lines: str, options: tuple[str, ...]) -> list[str]:
    """The words of the answers of a chat in which nothing happened but these lines."""
    typed = "".join(f"{line}\n" for line in lines).encode()
    arguments = ("run", str(demo_path()), *OPTIONS, *options)
    with start(*arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        out, _ = process.communicate(typed, PATIENCE_S)
    assert process.returncode == 0
    return out.decode().split()


def evaluated(shown: str) -> int:
    """Prompt tokens that the last answer shown had evaluated."""
    return int(EVALUATED.findall(shown)[-1][0])


def said(shown: str, line: str) -> list[str]:
    """The words of the answer in what is shown: between the line as echoed and what it took."""
    return shown.partition(line)[2].rpartition("\n[")[0].split()


def test_however_quiet_a_prompt_that_ctrl_c_or_ctrl_d_left_is_not_written_on():
    with terminal("-q") as chat:
        chat.wait_for("> ")
        time.sleep(0.5)  # readline shows its prompt a moment before it waits so that a signal wakes it
        chat.ctrl_c()
        assert chat.until("> ").endswith("\n")
        chat.type("\x04")
        assert chat.end().endswith("\n")


def test_a_line_that_is_too_long_is_refused_and_forgotten():
    options = ("-n", "8", "--context", "256")
    with terminal(*options) as chat:
        first = said(chat.ask(FIRST), FIRST)
        refused = chat.ask("word " * 300)
        assert "error: the text is longer than the context; " in refused
        assert re.search(r"256 fit; raise it: --context \d+\b", refused)
        shown = chat.ask(NEXT)
        assert evaluated(shown) < 40
        assert first + said(shown, NEXT) == undisturbed(FIRST, NEXT, options=options)
        assert "longer than the context" in chat.ask("word " * 300)
        assert "longer than the context" in chat.ask("/retry")
        assert "8 tokens" in chat.ask(NEXT)
        chat.type("exit\n")
        assert "24 tokens at" in chat.end()


def test_an_answer_that_filled_the_context_says_so_and_the_chat_goes_on():
    options = ("--context", "256")
    with terminal(*options) as chat:
        shown = chat.ask(FIRST)
        assert "cut: the context is full, the next line begins a new chat; raise --context]" in shown
        shown = chat.ask(NEXT)
        assert "(the context of 256 tokens is full: the earlier turn is forgotten; a larger" in shown
        answer = said(shown, "holds more)")
        again = chat.ask("/retry")
        assert evaluated(again) == evaluated(shown)
        assert "(all is forgotten)" in chat.ask("/clear")
        assert evaluated(chat.ask(NEXT)) == evaluated(shown)
        chat.type("/bye\n")
        chat.end()
    assert answer == undisturbed(NEXT, options=options)


def test_a_prompt_stopped_while_it_is_read_is_forgotten():
    options = ("-n", "8", "--ubatch", "2")
    long = "PEP 8 is a style guide. " * 120
    with terminal(*options) as chat:
        first = said(chat.ask(FIRST), FIRST)
        chat.wait_for("\n> ")
        chat.type(long)
        time.sleep(0.3)  # the echo
        chat.type("\n")
        time.sleep(0.3)
        chat.ctrl_c()
        chat.wait_for("(stopped) before anything was said: the line is forgotten; /retry asks it again")
        shown = chat.ask(NEXT)
        assert evaluated(shown) < 40
        assert first + said(shown, NEXT) == undisturbed(FIRST, NEXT, options=options)
        again = chat.ask("/retry")
        assert said(again, "/retry") == said(shown, NEXT)
        chat.type("/quit\n")
        chat.end()


def test_an_answer_stopped_twice_over_stays_as_far_as_it_came():
    with terminal("-n", "3000") as chat:
        chat.wait_for("\n> ")
        chat.type(FIRST + "\n")
        chat.wait_for(FIRST)
        while len(chat.seen) < 40:
            chat.seen += chat.read()
        chat.ctrl_c()
        chat.ctrl_c()  # impatience
        chat.wait_for("(stopped)\r")
        chat.wait_for("\n> ")
        time.sleep(0.5)  # readline misses a signal between showing its prompt and waiting for keys
        chat.seen = "\n> "
        chat.type("/retry\n")
        chat.wait_for("/retry")
        while len(chat.seen) < 40:
            chat.seen += chat.read()
        chat.ctrl_c()
        chat.wait_for("(stopped)\r")
        chat.wait_for("\n> ")
        chat.type("quit\n")
        chat.end()


def test_commands_are_obeyed_and_never_sent():
    with terminal("-n", "4") as chat:
        assert "error: there is no line to answer once more; type one" in chat.ask("/retry")
        shown = chat.ask("/help")
        assert all(word in shown for word in ("/retry", "/clear", "/exit", "Ctrl-C"))
        for line in ("/set parameter 1", "/tmp is full", "/retry now", "/"):
            assert f"error: '{line}' is no command; /help tells" in chat.ask(line)
        as_text = ("/etc/hosts is what?", " /tmp is full", "// a comment?", "an exit")
        assert all("4 tokens" in chat.ask(line) for line in as_text)
        assert "4 tokens" in chat.ask("/RETRY")
        assert "4 tokens" in chat.ask(b"caf\xe9")  # readline passes such a byte over
        assert "(all is forgotten)" in chat.ask("/clear")
        assert evaluated(chat.ask(NEXT)) < 40
        chat.type("\x04")
        assert "28 tokens at" in chat.end()


def test_a_file_that_changes_in_mid_chat_stops_the_line_and_not_the_chat(tmp_path):
    model = tmp_path / "model.gguf"
    model.write_bytes(demo_path().read_bytes())
    with terminal("-n", "4", "--always-page", "--ram", "160M", "--context", "512", model=model) as chat:
        assert "4 tokens" in chat.ask(FIRST)
        with model.open("r+b") as file:
            file.truncate(4 << 20)
        for line in ("Title: enumerations, and typing of wholly other things", "/retry"):
            shown = chat.ask(line)
            assert "error: file changed while running" in shown and "/retry asks it again" in shown
        assert "(all is forgotten)" in chat.ask("/clear")
        chat.type("/exit\n")
        chat.end()


def test_a_terminal_is_asked_for_the_prompt_of_a_dash_and_not_beside_a_prompt():
    with Terminal("run", "-n", "2", "-p", "-") as typed, Terminal("run", "-n", "2", "-p", "PEP: 1") as given:
        typed.wait_for("Type the prompt; Ctrl-D on a line of its own ends it.")
        typed.type("PEP: 1\nTitle: x\n\x04")
        assert "2 tokens at" in typed.end()
        assert "2 tokens at" in given.end()


def test_a_command_that_is_none_ends_a_piped_chat():
    """Nobody is there to read the hint: a script must not lose a line in silence."""
    with start("run", "-n", "2", stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        _, errors = process.communicate(b"/hlep\n", PATIENCE_S)
    assert process.returncode == 2 and "error: '/hlep' is no command" in errors.decode()
