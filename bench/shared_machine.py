"""Decode alone and beside one busy process: `python -m bench.shared_machine MODEL [--before PROGRAM]`.

Every turn runs `sixgig bench` in a process of its own, alone and beside a niced process that computes without
pause; PROGRAM is the `sixgig` of another tree, the commit before for example, and takes its turns between.
Prints each turn, then the medians: beside over alone, and, of both programs, now over before. For a machine
where nothing else runs; the share of the processors that others took before each turn is told with it.

The busy process has a session of its own, as one in another terminal or service: there niceness counts for
nothing against us where the kernel groups sessions (sched_autogroup_enabled). --same-session: it is in ours.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

from sixgig.hardware.load import others_now

BUSY = "while True: pass"
Decodes = dict[tuple[str, str], list[float]]


@contextlib.contextmanager
def busy_process(niceness: int, same_session: bool) -> Iterator[None]:
    """A process that takes one processor while the block runs."""
    command = ["nice", "-n", str(niceness), sys.executable, "-c", BUSY]
    with subprocess.Popen(command, start_new_session=not same_session) as process:
        try:
            yield
        finally:
            process.kill()


def measured(program: Sequence[str], options: argparse.Namespace) -> float:
    """Decoded tokens a second of one `sixgig bench`."""
    command = [*program, "bench", options.model, "--json", "--tokens", str(options.tokens)]
    command += ["--prompt-tokens", str(options.prompt_tokens)]
    if options.ram:
        command += ["--ram", options.ram]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=options.timeout)
    return float(json.loads(done.stdout)["decode"]["tokens_per_s"])


def take_turns(programs: dict[str, list[str]], options: argparse.Namespace) -> Decodes:
    """Tokens a second of each program, alone and beside, round after round."""
    found: Decodes = {}
    for _ in range(options.rounds):
        for place in ("alone", "beside"):
            for name, program in programs.items():
                others = others_now(seconds=0.5)
                beside = place == "beside"
                load = (
                    busy_process(options.nice, options.same_session) if beside else contextlib.nullcontext()
                )
                with load:
                    tokens_per_s = measured(program, options)
                found.setdefault((name, place), []).append(tokens_per_s)
                print(
                    f"{name} {place}: {tokens_per_s:.2f} tokens/s, others before it: {others:.2f} processors"
                )
    return found


def ratios(found: Decodes) -> dict[str, Any]:
    """Medians and what they are to each other."""
    middle = {name: median(values) for name, values in found.items()}
    names = list(dict.fromkeys(name for name, _ in found))
    document: dict[str, Any] = {
        name: {place: middle[name, place] for place in ("alone", "beside")}
        | {"beside_over_alone": middle[name, "beside"] / middle[name, "alone"]}
        for name in names
    }
    if "before" in names:
        for place in ("alone", "beside"):
            document[f"now_over_before_{place}"] = middle["now", place] / middle["before", place]
    return document


def main() -> None:
    """Print the turns, then one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--before", metavar="PROGRAM", help="the sixgig of another tree")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--prompt-tokens", type=int, default=16)
    parser.add_argument("--ram")
    parser.add_argument("--nice", type=int, default=19, help="of the busy process")
    parser.add_argument("--same-session", action="store_true")
    parser.add_argument("--timeout", type=float, default=600, help="seconds, of one turn")
    options = parser.parse_args()
    programs = {"now": [sys.executable, "-m", "sixgig"]}
    if options.before:
        programs = {"before": [options.before]} | programs
    print(json.dumps(ratios(take_turns(programs, options)), indent=2))


if __name__ == "__main__":
    main()
