"""What it costs that a file is first opened in a process of its own: once, and at every later start.

python -m bench.trial_cost MODEL [--rounds N]
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from sixgig.inference import EngineOptions
from sixgig.inference.dry_load import dry_load
from sixgig.inference.trial import require_openable
from sixgig.modelfile import open_model


def main() -> None:
    """Three medians in milliseconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    model, options = open_model(arguments.model), EngineOptions()
    with tempfile.TemporaryDirectory() as cache:
        os.environ["XDG_CACHE_HOME"] = cache
        record = Path(cache) / "sixgig" / "opened.txt"
        require_openable(model, options)
        times: dict[str, list[float]] = {"later start": [], "dry load": [], "first start": []}
        for _ in range(arguments.rounds):
            times["later start"].append(_seconds(lambda: require_openable(model, options)))
            times["dry load"].append(_seconds(lambda: dry_load(model, options)))
            record.unlink()
            times["first start"].append(_seconds(lambda: require_openable(model, options)))
    for name, found in times.items():
        print(f"{name:<12} {1e3 * median(found):8.2f} ms, best {1e3 * min(found):8.2f} ms")


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
