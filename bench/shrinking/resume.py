"""Shrinks once undisturbed, then killed with SIGKILL at one moment after another and resumed: same file?

    python -m bench.shrinking.resume MODEL FOLDER --text FILE --size 20M --ram 400M [--at PHASE:FRACTION ...]

A moment is the beginning of a phase's name and the fraction of it that is done. After each kill the same
command runs to its end; "one by one" is one run killed at every moment in turn. Of what the kills left
nothing but the file may remain. Calibration and writing note all they did (--save-always), so
that there is something to take up; without that a short run would only begin anew.
"""

import argparse
import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from hashlib import file_digest
from pathlib import Path

from bench.shrinking.driver import add_options, as_words

AT = (
    "calibrating:0.5",
    "the source on:0.4",
    "looking:0.4",
    "writing: by costs:0.5",
    "measuring:0.2",
    "writing o:0.6",
)
OUT = "out.gguf"


class Shrink:
    """One model to one size; every run begins where the folder's work ended."""

    def __init__(self, model: Path, folder: Path, words: Sequence[str]) -> None:
        self.out = folder / OUT
        self._command = [sys.executable, "-m", "bench.shrinking.driver", str(model), str(self.out), *words]

    def run(self, moment: str | None = None) -> str:
        """To its end, or until the moment; what was going on last. RuntimeError for a run that fails."""
        with subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            last = "nothing"
            for line in process.stdout:
                told = json.loads(line)
                last = f"{told.get('phase', last)} {told.get('fraction', 0):.0%}" if "phase" in told else line
                if moment is not None and reached(moment, told):
                    process.send_signal(signal.SIGKILL)
                    break
        expected = 0 if moment is None else -signal.SIGKILL
        if process.returncode != expected:
            raise RuntimeError(f"{moment}: status {process.returncode} after {last}")
        return last

    def finish(self) -> str:
        """Take the file away: its digest. RuntimeError where something else was left."""
        left = [path.name for path in self.out.parent.iterdir() if path.name.startswith(OUT)]
        if left != [OUT]:
            raise RuntimeError(f"left behind: {left}")
        with self.out.open("rb") as file:
            digest = file_digest(file, "sha256").hexdigest()
        self.out.unlink()
        return digest


def reached(moment: str, told: dict[str, object]) -> bool:
    """Whether a line of the driver says that the moment is there."""
    phase, _, fraction = moment.rpartition(":")
    done = told.get("fraction")
    return isinstance(done, float) and str(told["phase"]).startswith(phase) and done >= float(fraction)


def main() -> int:
    """Entry point; 1 when a file differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--at", nargs="+", default=AT)
    parser.add_argument(
        "--one-by-one", action="store_true", help="only the run that is killed at all of them"
    )
    add_options(parser)
    options = parser.parse_args()
    options.save_always = True
    shrink = Shrink(options.model, options.folder, as_words(options))
    began = time.perf_counter()
    shrink.run()
    whole = shrink.finish()
    print(f"undisturbed: {time.perf_counter() - began:.0f} s, sha256 {whole}", flush=True)
    cases = [[moment] for moment in options.at if not options.one_by_one] + [list(options.at)]
    differ = 0
    for case in cases:
        killed = [shrink.run(moment) for moment in case]
        began = time.perf_counter()
        shrink.run()
        same = shrink.finish() == whole
        differ += not same
        what, rest = "same file" if same else "ANOTHER FILE", time.perf_counter() - began
        print(f"killed in {'; '.join(killed)}: resumed {rest:.0f} s, {what}", flush=True)
    return int(differ > 0)


if __name__ == "__main__":
    raise SystemExit(main())
