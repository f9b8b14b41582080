"""One `sixgig shrink` in this process, smaller than the command's own, telling of every phase as it goes.

    python -m bench.shrinking.driver MODEL OUT --text FILE --size 6G --ram 2G [--calibration-windows N ...]

There are no options for the number of windows and of groups of tensors: the constants of sixgig.compress are
set here. One JSON object a line on stdout: {"phase", "begins": true}, {"phase", "fraction"} and, at its end,
{"phase", "seconds", "peak_bytes", ...}; the last has the whole. The phase "" is what lies between others.
"""

import argparse
import json
import os
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial, partialmethod
from pathlib import Path

from sixgig.calibration.calibrate import Calibrator
from sixgig.compress import plain, shrinker, types, write
from sixgig.compress.engines import OpenModel
from sixgig.errors import SixgigError
from sixgig.hardware import PeakSampler
from sixgig.hardware.memory import process_memory
from sixgig.inference import Watcher
from sixgig.jobs import shrink
from sixgig.jobs.shrink import ShrinkRequest, shrink_with
from sixgig.jobs.shrink_engines import BudgetedEngines
from sixgig.modelfile import ModelFile
from sixgig.units import parse_size
from sixgig.weights.stored import WeightInfo

INTERVAL_S = 0.02
SET = ("calibration_windows", "search_windows", "judging_windows")


def tell(**what: object) -> None:
    """One line for whoever watches."""
    print(json.dumps(what), flush=True)


class Phases:
    """What goes on, one thing at a time, and the most memory that each took."""

    def __init__(self) -> None:
        self._name, self._began = "", time.perf_counter()
        self._written = written_bytes()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """The block is a phase, inside of which is another's rest."""
        around = self._name
        self._change(name)
        tell(phase=name, begins=True)
        try:
            with PeakSampler(INTERVAL_S) as sampler:
                yield
        finally:
            self._change(around, sampler.peak.anonymous_bytes)

    def _change(self, name: str, anonymous_bytes: int | None = None) -> None:
        now, written = time.perf_counter(), written_bytes()
        found = {} if anonymous_bytes is None else {"peak_anonymous_bytes": anonymous_bytes}
        tell(
            phase=self._name,
            seconds=now - self._began,
            peak_bytes=process_memory().peak_bytes,
            written_bytes=written - self._written,
            **found,
        )
        self._name, self._began, self._written = name, now, written
        forget_peak()


class ToldEngines(BudgetedEngines):
    """The job's engines; opening and every progress is a phase."""

    def __init__(self, ram_bytes: int, threads: int | None, phases: Phases) -> None:
        super().__init__(ram_bytes, threads)
        self._phases = phases

    @contextmanager
    def open(
        self, model: ModelFile, context: int, observe: Watcher | None = None, beside_bytes: int = 0
    ) -> Iterator[OpenModel]:
        """As BudgetedEngines."""
        opening: AbstractContextManager[OpenModel] = super().open(model, context, observe, beside_bytes)
        with self._phases.phase("opening"):
            opened = opening.__enter__()
        with closing(opening):
            yield opened

    @contextmanager
    def progress(self, label: str) -> Iterator[Callable[[float], object]]:
        """As BudgetedEngines."""
        with self._phases.phase(label):
            yield lambda fraction: tell(phase=label, fraction=fraction)


@contextmanager
def closing(opening: AbstractContextManager[OpenModel]) -> Iterator[None]:
    """End what was entered before, with the block's own error."""
    try:
        yield
    except BaseException as error:
        opening.__exit__(type(error), error, error.__traceback__)
        raise
    opening.__exit__(None, None, None)


def forget_peak() -> None:
    """Let the kernel's record of this process's memory begin anew, where it allows that."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def written_bytes() -> int:
    """What this process has had written to disks."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_oublock * 512


def make_small(options: argparse.Namespace) -> None:
    """Set the constants that there are no options for."""
    for name in SET:
        if getattr(options, name) is not None:
            setattr(shrinker, name.upper(), getattr(options, name))
    if options.groups is not None:
        shrinker.grouped = partial(few_groups, n=options.groups)
    if options.rounds is not None:
        shrink._ROUNDS = ((1 << 60, options.rounds),)
    if options.types is not None:
        types._SUPER_BLOCKS = tuple(name for name in types._SUPER_BLOCKS if name in options.types)  # type: ignore[assignment]
        types._SMALL_BLOCKS = tuple(name for name in types._SMALL_BLOCKS if name in options.types)  # type: ignore[assignment]
    if options.no_plain:
        plain.PLAIN = ()  # type: ignore[assignment]
    if options.save_always:
        write.SYNC_S = 0.1
        Calibrator.run = partialmethod(Calibrator.run, save_every_s=0.0)  # type: ignore[assignment]


def few_groups(tensors: Sequence[WeightInfo], _most: int, n: int) -> list[tuple[str, ...]]:
    """All of them in `n` groups, as even as can be."""
    names = [info.name for info in tensors]
    size = -(-len(names) // n)
    return [tuple(names[start : start + size]) for start in range(0, len(names), size)]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Those that say how small."""
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--size", default="6G")
    parser.add_argument("--ram", default="2G")
    parser.add_argument("--prune", action="store_true", help="try cuts too")
    parser.add_argument("--threads", type=int)
    for name in SET:
        parser.add_argument("--" + name.replace("_", "-"), type=int)
    parser.add_argument("--groups", type=int, help="groups of tensors that are disturbed, instead of 64")
    parser.add_argument("--rounds", type=int, help="changes of the recipe that are tried")
    parser.add_argument("--types", nargs="+", help="only these types")
    parser.add_argument("--no-plain", action="store_true", help="no plain file to compare with")
    parser.add_argument(
        "--save-always", action="store_true", help="calibration and writing note all they did"
    )


def as_words(options: argparse.Namespace) -> list[str]:
    """add_options' options, as they are typed."""
    words = []
    for name, value in vars(options).items():
        known = name in (*SET, "text", "size", "ram", "threads", "groups", "rounds", "types")
        if name in ("prune", "no_plain", "save_always") and value:
            words.append("--" + name.replace("_", "-"))
        elif known and value is not None:
            words += ["--" + name.replace("_", "-"), *map(str, value if isinstance(value, list) else [value])]
    return words


def main() -> int:
    """Entry point; the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("out", type=Path)
    add_options(parser)
    options = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    make_small(options)
    size, ram = parse_size(options.size), parse_size(options.ram)
    began, phases = time.perf_counter(), Phases()
    try:
        request = ShrinkRequest(
            options.model,
            options.out,
            text=options.text,
            size=size,
            ram=ram,
            prune=options.prune,
            threads=options.threads,
        )
        with phases.phase("all else"):
            shrunk = shrink_with(request, ToldEngines(ram, options.threads, phases))
    except SixgigError as error:
        tell(error=str(error))
        return 1
    tell(
        seconds=time.perf_counter() - began,
        size_bytes=shrunk.output.size_bytes,
        kld_mean=shrunk.output.figures.kld_mean,
        types=dict(shrunk.types),
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
