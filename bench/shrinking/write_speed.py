"""The final write pass against the quantisers' own speed, same rows, same threads, in turns.

    python -m bench.shrinking.write_speed MODEL [--types mixed Q8_0 ...] [--rounds 3] [--seconds 6]

"quantisers": ggml_quantize_chunk alone, on rows that lie in memory as float32, nothing kept.
"write": write_model with a recipe: the source is read from disk (its cached pages are dropped before),
converted, quantised, written and synced. "input/output": the same bytes read and written without any
arithmetic, by one thread: where this is slower than the quantisers, the disk sets the speed.
MODEL is a mixture of experts in BF16, F16 or F32; its routed experts' first matrices are the rows.
"mixed" is a recipe as the search chooses: gate IQ3_S, up IQ4_XS, down Q4_K.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np

from sixgig.calibration.moments import Moments
from sixgig.compress.write import CHUNK_ELEMENTS, Job, row_bytes, write_model
from sixgig.families import Role
from sixgig.hardware import this_processor
from sixgig.llamacpp.blocks import prepare, quantise_rows
from sixgig.modelfile import TYPE_BY_NAME, GgmlType, ModelFile, open_model
from sixgig.weights.stored import Floats, StoredWeights, WeightInfo

MIXED = {"ffn_gate_exps": "IQ3_S", "ffn_up_exps": "IQ4_XS", "ffn_down_exps": "Q4_K"}
TYPES = ("mixed", "Q8_0", "Q6_K", "Q4_K", "Q3_K", "IQ3_S", "IQ2_XXS")
MOST_ELEMENTS, PROBE_ELEMENTS = 1 << 28, 1 << 18
COPY_BYTES = 4 << 20
WANTED = 0.9


@dataclass(frozen=True)
class Turn:
    """Of one pass: seconds by the clock, and of processor time in all threads."""

    wall_s: float
    cpu_s: float


@dataclass(frozen=True)
class Result:
    """One recipe: its turns, in the order they ran."""

    recipe: str
    n_weights: int
    quantisers: list[Turn]
    write: list[Turn]
    copy: list[Turn]

    @property
    def ratio(self) -> float:
        """Speed of writing by the quantisers' own: median over the pairs of turns."""
        pairs = zip(self.quantisers, self.write, strict=True)
        return median(alone.wall_s / write.wall_s for alone, write in pairs)

    @property
    def cpu_ratio(self) -> float:
        """The like by processor time: what else the write pass computes, whoever else uses the machine."""
        pairs = zip(self.quantisers, self.write, strict=True)
        return median(alone.cpu_s / write.cpu_s for alone, write in pairs)

    def speed(self, turns: list[Turn]) -> float:
        """Weights a second, median."""
        return self.n_weights / median(turn.wall_s for turn in turns)


class LeadingExperts(StoredWeights):
    """Routed experts of a model, of each tensor the first `n` matrices."""

    def __init__(self, model: ModelFile, n: int, layers: int) -> None:
        super().__init__(model)
        routed = [info for info in StoredWeights(model).tensors if info.role is Role.ROUTED_EXPERT]
        chosen = [info for info in routed if (info.layer or 0) < layers]
        self._leading = tuple(replace(info, shape=(*info.shape[:2], n)) for info in chosen)

    @property
    def tensors(self) -> tuple[WeightInfo, ...]:  # type: ignore[override]
        """Those only."""
        return self._leading


class Bench:
    """One model and as many threads as compute."""

    def __init__(self, model: ModelFile, out: Path, threads: int) -> None:
        self.model, self.out, self.threads = model, out, threads

    def run(self, recipe: str, rounds: int, seconds: float) -> Result:
        """Turns of all three, one after the other."""
        job, rows = self.job(recipe, seconds), None
        rows = [(info, job.weights.rows(info.name, 0, info.n_rows)) for info in job.weights.tensors]
        result = Result(recipe, sum(values.size for _, values in rows), [], [], [])
        for _ in range(rounds):
            result.quantisers.append(timed(lambda: self.quantise(job, rows)))
            forget(self.model.parts)
            result.write.append(timed(lambda: write_model(job, self.out, self.threads)))
            forget(self.model.parts)
            result.copy.append(timed(lambda: self.copy(job, self.out.stat().st_size)))
            self.out.unlink()
        return result

    def job(self, recipe: str, seconds: float) -> Job:
        """As many experts as the quantisers take about `seconds` for."""
        types = {info.name: type_of(recipe, info) for info in LeadingExperts(self.model, 1, 1).tensors}
        layer = LeadingExperts(self.model, 1, 1).tensors
        one_s = sum(info.n_elements / speed(types[info.name], info) for info in layer) / self.threads
        one = sum(info.n_elements for info in layer)
        n = int(max(1, min(seconds / one_s, MOST_ELEMENTS / one, self.model.n_experts)))
        weights = LeadingExperts(self.model, n, 1)
        moments = {info.name: inputs(info, self.model.n_experts) for info in weights.tensors}
        return Job(weights, types, lambda name: moments[name].importance, {})

    def quantise(self, job: Job, rows: list[tuple[WeightInfo, Floats]]) -> None:
        """All of them, in pieces of a chunk."""
        importance = {info.name: job.importance(info.name) for info, _ in rows}

        def piece(info: WeightInfo, values: Floats, matrix: int) -> None:
            kind, weight = job.types[info.name], importance[info.name]
            blocks = np.empty((len(values), row_bytes(info.row_length, kind)), np.uint8)
            quantise_rows(kind.id, values, None if weight is None else weight[matrix], blocks)

        with ThreadPoolExecutor(self.threads) as pool:
            list(pool.map(lambda each: piece(*each), pieces(rows)))

    def copy(self, job: Job, out_bytes: int) -> None:
        """Read what the job reads and write as much as it writes."""
        buffer = np.zeros(COPY_BYTES, np.uint8)
        with self.out.open("wb", buffering=0) as file:
            total = sum(info.n_rows for info in job.weights.tensors)
            for info, first, last in spans(job):
                job.weights.stored(info.name, first, last)
                left = round(out_bytes * (last - first) / total)
                while left:
                    left -= file.write(buffer[: min(left, COPY_BYTES)].data)
            os.fsync(file.fileno())


def pieces(rows: list[tuple[WeightInfo, Floats]]) -> Iterator[tuple[WeightInfo, Floats, int]]:
    """(tensor, rows, matrix): as many rows as a chunk of the write pass has."""
    for info, values in rows:
        step = max(1, CHUNK_ELEMENTS // info.row_length)
        for matrix in range(info.n_matrices):
            whole = values[matrix * info.rows_per_matrix : (matrix + 1) * info.rows_per_matrix]
            for first in range(0, len(whole), step):
                yield info, whole[first : first + step], matrix


def spans(job: Job) -> Iterator[tuple[WeightInfo, int, int]]:
    """(tensor, first row, last row) of the same size."""
    for info in job.weights.tensors:
        step = max(1, CHUNK_ELEMENTS // info.row_length)
        for first in range(0, info.n_rows, step):
            yield info, first, min(first + step, info.n_rows)


def type_of(recipe: str, info: WeightInfo) -> GgmlType:
    """What a recipe stores a tensor in."""
    return TYPE_BY_NAME[MIXED[info.name.split(".")[2]] if recipe == "mixed" else recipe]


def speed(kind: GgmlType, info: WeightInfo) -> float:
    """Weights a second of one thread, roughly."""
    prepare(kind.id)
    rows = max(1, PROBE_ELEMENTS // info.row_length)
    values = np.random.default_rng(0).standard_normal((rows, info.row_length), np.float32)
    blocks = np.empty((rows, row_bytes(info.row_length, kind)), np.uint8)
    importance = np.ones(info.row_length, np.float32)
    spent = timed(lambda: quantise_rows(kind.id, values, importance, blocks))
    return values.size / spent.cpu_s


def inputs(info: WeightInfo, n_experts: int) -> Moments:
    """Invented statistics of a tensor's inputs, for all experts of the model."""
    shape = (n_experts, info.row_length)
    squares = np.random.default_rng(1).lognormal(0.0, 1.0, shape).astype(np.float32)
    return Moments(np.full(n_experts, 100), np.zeros(shape, np.float32), squares)


def timed(work: Callable[[], object]) -> Turn:
    """What it took."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Turn(time.perf_counter() - wall, time.process_time() - cpu)


def forget(parts: tuple[Path, ...]) -> None:
    """Drop the files' cached pages, as in a model larger than memory; others' stay."""
    for path in parts:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def line(result: Result) -> str:
    """One row of the table."""
    speeds = [result.speed(turns) / 1e6 for turns in (result.quantisers, result.write, result.copy)]
    verdict = "" if result.ratio >= WANTED else "  below"
    return (
        f"{result.recipe:10s}{result.n_weights / 1e6:8.0f}M"
        + "".join(f"{each:13.1f}M/s" for each in speeds)
        + f"{result.ratio:10.2f}{result.cpu_ratio:10.2f}{verdict}"
    )


def to_json(result: Result) -> Mapping[str, object]:
    """All turns."""
    return {**asdict(result), "ratio": result.ratio, "cpu_ratio": result.cpu_ratio}


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--types", nargs="+", default=TYPES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0, help="of a turn, about")
    parser.add_argument("--threads", type=int, default=this_processor().cores)
    parser.add_argument("--out", type=Path, help="file written and removed; beside the model unless named")
    parser.add_argument("--json", type=Path, help="where to put all turns")
    options = parser.parse_args()
    out = options.out or options.model.with_name(options.model.name + ".write-speed")
    bench = Bench(open_model(options.model), out, options.threads)
    print(
        f"{options.threads} threads; weights a second; ratio: write by quantisers, by clock and by CPU time"
    )
    print(
        f"{'recipe':10s}{'weights':>9s}{'quantisers':>16s}{'write':>16s}{'in/out':>16s}{'ratio':>10s}{'CPU':>10s}"
    )
    found = []
    for recipe in options.types:
        found.append(bench.run(recipe, options.rounds, options.seconds))
        print(line(found[-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps([to_json(each) for each in found], indent=1))


if __name__ == "__main__":
    main()
