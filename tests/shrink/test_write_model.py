"""The writer against the whole tensor quantised matrix by matrix; killed, resumed, and out of disk."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sixgig.compress import write as writing
from sixgig.compress.types import can_be_quantised
from sixgig.compress.write import Job, row_bytes, write_model
from sixgig.errors import ReadError
from sixgig.inference.engine import Engine
from sixgig.llamacpp.blocks import prepare, quantise_rows
from sixgig.modelfile import TYPE_BY_NAME, GgmlType, open_model, read_tensor
from sixgig.weights.stored import Floats, StoredWeights, WeightInfo
from tests.paged.engines import OPTIONS, logits_of
from tests.tiny.models import build

Tiny = Callable[..., Path]
ROOT = Path(__file__).parents[2]
SIZES = {"n_layers": 1, "n_experts": 4}
# By the end of the name: of every kind of tensor another type.
TYPES = {
    "token_embd": "Q8_0",
    "output": "Q6_K",
    "attn_q": "Q4_K",
    "attn_k": "IQ3_XXS",
    "ffn_gate_exps": "Q4_0",
    "ffn_up_exps": "Q2_K",
    "ffn_down_exps": "Q3_K",
}


def importance(name: str) -> Floats | None:
    """Different for every expert; of attention for all; none for the embedding."""
    if "embd" in name:
        return None
    shape = (SIZES["n_experts"], 256) if "exps" in name else (1, 256)
    return np.random.default_rng(len(name)).uniform(0.01, 9, shape).astype(np.float32)


def job(path: Path, types: Mapping[str, str] = TYPES, **metadata: object) -> Job:
    weights = StoredWeights(open_model(path))
    return Job(weights, {info.name: kind(info, types) for info in weights.tensors}, importance, metadata)


def kind(info: WeightInfo, types: Mapping[str, str]) -> GgmlType:
    stem = info.name.removesuffix(".weight").split(".")[-1]
    return TYPE_BY_NAME[types[stem]] if stem in types and can_be_quantised(info) else info.type


@pytest.fixture(scope="module")
def source(tiny: Tiny) -> Path:
    return tiny("qwen3moe", "F16", **SIZES)


@pytest.fixture(scope="module")
def whole(source: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file, written in one go."""
    out = tmp_path_factory.mktemp("whole") / "whole.gguf"
    write_model(job(source), out, 2)
    return out.read_bytes()


@cache
def expected(path: Path, name: str, type_name: str) -> bytes:
    """One tensor: each matrix whole, with its own importance."""
    weights = StoredWeights(open_model(path))
    info = next(info for info in weights.tensors if info.name == name)
    wanted, weighted = TYPE_BY_NAME[type_name], importance(name)
    if wanted == info.type:
        return weights.stored(name, 0, info.n_rows).tobytes()
    prepare(wanted.id)
    blocks = []
    for matrix in range(info.n_matrices):
        first = matrix * info.rows_per_matrix
        rows = weights.rows(name, first, first + info.rows_per_matrix)
        out = np.empty((len(rows), row_bytes(info.row_length, wanted)), np.uint8)
        row = None if weighted is None else np.ascontiguousarray(weighted[min(matrix, len(weighted) - 1)])
        quantise_rows(wanted.id, rows, row, out)
        blocks.append(out.tobytes())
    return b"".join(blocks)


# Less than a row, one row, rows that do not divide a matrix, a matrix, two of four, all.
@pytest.mark.parametrize("elements", [1, 256, 256 * 100, 256 * 256, 256 * 600, 1 << 30])
@pytest.mark.parametrize("threads", [1, 3])
def test_every_chunking_gives_the_bytes_of_whole_matrices(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, elements: int, threads: int
) -> None:
    if elements <= 256:  # a chunk a row: two kinds of tensor are enough
        types = {"attn_k": "Q4_0", "attn_q": "Q4_K"}
        monkeypatch.setattr(StoredWeights, "tensors", property(few))
    else:
        types = TYPES
    monkeypatch.setattr(writing, "CHUNK_ELEMENTS", elements)
    write_model(made := job(source, types), tmp_path / "out.gguf", threads)
    model = open_model_of(tmp_path / "out.gguf")
    assert {t[0] for t in model} == {info.name for info in made.weights.tensors}
    for name, type_name, raw in model:
        assert type_name == made.types[name].name
        assert raw == expected(source, name, type_name), name


def few(weights: StoredWeights) -> tuple[WeightInfo, ...]:
    """The attention of a layer, and a norm."""
    wanted = ("attn_k.weight", "attn_q.weight", "attn_norm.weight")
    infos = [replace_info(tensor) for tensor in weights.model.tensors if tensor.name.endswith(wanted)]
    return tuple(infos)


def replace_info(tensor: Any) -> WeightInfo:
    return WeightInfo(tensor.name, tensor.shape, tensor.type, tensor.role, tensor.layer)


def open_model_of(path: Path) -> list[tuple[str, str, bytes]]:
    """(name, type, bytes) of every tensor, by the gguf package."""
    from gguf import GGUFReader

    return [(t.name, t.tensor_type.name, t.data.tobytes()) for t in GGUFReader(path).tensors]


def test_tensors_whose_type_stays_are_copied_byte_for_byte(tiny: Tiny, tmp_path: Path) -> None:
    path = tiny("qwen3moe", "Q4_K", **SIZES)
    write_model(job(path, {"output": "Q2_K"}), tmp_path / "out.gguf", 2)
    before, after = open_model(path), open_model(tmp_path / "out.gguf")
    new = {tensor.name: tensor for tensor in after.tensors}
    for tensor in before.tensors:
        same = np.array_equal(read_tensor(before, tensor), read_tensor(after, new[tensor.name]))
        assert same == (tensor.name != "output.weight")


def test_each_expert_is_quantised_by_its_own_importances(source: Path, tmp_path: Path) -> None:
    name, told = "blk.0.ffn_down_exps.weight", []

    def changed(of: str) -> Floats | None:
        told.append(of)
        found = importance(of)
        if of == name and found is not None:
            found[2, ::3] *= 50
        return found

    for file, given in (("a", importance), ("b", changed)):
        write_model(replace(job(source), importance=given), tmp_path / file, 2)
    contents = [{n: raw for n, _, raw in open_model_of(tmp_path / file)} for file in "ab"]
    assert {n for n in contents[0] if contents[0][n] != contents[1][n]} == {name}
    experts = [np.frombuffer(each[name], np.uint8).reshape(SIZES["n_experts"], -1) for each in contents]
    assert [bool((a != b).any()) for a, b in zip(*experts, strict=True)] == [False, False, True, False]
    assert name in told


def test_the_output_loads_in_the_stock_engine(source: Path, tmp_path: Path) -> None:
    write_model(job(source, {}), tmp_path / "same.gguf", 2)
    write_model(job(source), tmp_path / "small.gguf", 2)
    logits = []
    for path in (source, tmp_path / "same.gguf", tmp_path / "small.gguf"):
        with Engine(path, OPTIONS) as engine:
            logits.append(logits_of(engine))
    assert np.array_equal(logits[0], logits[1])
    assert 0.3 < np.corrcoef(logits[0].ravel(), logits[2].ravel())[0, 1] < 1


def test_progress_rises_to_one_and_nothing_else_is_left(source: Path, tmp_path: Path, whole: bytes) -> None:
    told: list[float] = []
    write_model(job(source), tmp_path / "out.gguf", 2, told.append)
    assert told == sorted(told) and told[0] > 0 and 0.99 < told[-1] <= 1
    assert [path.name for path in tmp_path.iterdir()] == ["out.gguf"]
    assert (tmp_path / "out.gguf").read_bytes() == whole


# A process that writes in chunks of 64 rows, noting each as done, and kills itself at the n-th call of a
# function of os: before it, in the middle of a write, or after it. One import serves all: it forks.
DRIVER = """
import os, signal, sys
from pathlib import Path
from sixgig.compress import write as writing
from tests.shrink.test_write_model import job
from sixgig.compress.write import write_model

source, folder = Path(sys.argv[1]), Path(sys.argv[2])
writing.CHUNK_ELEMENTS, writing.SYNC_S = 256 * 64, 0.0

def killing(name, count, when):
    real, left = getattr(os, name), [count]
    def call(*arguments):
        left[0] -= 1
        if left[0] == 0 and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        if left[0] == 0 and when == "amid":
            descriptor, view, offset = arguments
            real(descriptor, view[:len(view) // 2], offset)
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*arguments)
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    setattr(os, name, call)

for point in sys.argv[3:]:
    name, count, when = point.split(",")
    child = os.fork()
    if child == 0:
        killing(name, int(count), when)
        write_model(job(source), folder / f"{point}.gguf", 2)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL, point
"""
POINTS = (
    "pwrite,1,before",
    "pwrite,1,amid",
    "pwrite,2,amid",
    "pwrite,40,before",
    "pwrite,60,amid",
    "fsync,30,before",
    "fsync,31,after",
    "replace,1,before",
    "replace,30,after",
    "replace,60,before",
)


def test_a_killed_writer_goes_on_and_ends_in_the_same_bytes(
    source: Path, tmp_path: Path, whole: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [sys.executable, "-c", DRIVER, str(source), str(tmp_path), *POINTS]
    subprocess.run(command, check=True, cwd=ROOT, timeout=100)
    monkeypatch.setattr(writing, "CHUNK_ELEMENTS", 256 * 64)
    made: list[int] = []
    real = writing.make_blocks
    monkeypatch.setattr(writing, "make_blocks", lambda *a: made.append(1) or real(*a))
    counts = {}
    for point in POINTS:
        out = tmp_path / f"{point}.gguf"
        assert not out.exists() and out.with_name(out.name + ".part").exists()
        made.clear()
        write_model(job(source), out, 2)
        assert out.read_bytes() == whole, point
        counts[point] = len(made)
    everything = counts["pwrite,1,before"]
    assert counts["pwrite,60,amid"] < counts["pwrite,40,before"] < everything, "what was done is kept"
    assert counts["replace,60,before"] < everything - 50
    # A note that was being replaced stays as a hidden file: nobody is left to remove it.
    assert {path.suffix for path in tmp_path.iterdir() if path.name[0] != "."} == {".gguf"}


def killed_after(out: Path, source: Path, chunks: int, monkeypatch: pytest.MonkeyPatch, made: Job) -> None:
    """The state that a kill after some noted chunks leaves."""

    def stop(fraction: float, left: list[int] = [chunks]) -> None:  # noqa: B006
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(writing, "SYNC_S", 0.0)
        patch.setattr(writing, "CHUNK_ELEMENTS", 256 * 64)
        write_model(made, out, 2, stop)


OTHERS: dict[str, tuple[dict[str, str], dict[str, object]]] = {
    "types": ({**TYPES, "attn_k": "Q5_0"}, {}),
    "metadata": (TYPES, {"note": "another"}),
}


@pytest.mark.parametrize("other", OTHERS)
def test_a_part_of_another_job_is_not_taken(
    source: Path, tmp_path: Path, whole: bytes, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    out = tmp_path / "out.gguf"
    types, metadata = OTHERS[other]
    killed_after(out, source, 30, monkeypatch, job(source, types, **metadata))
    write_model(job(source), out, 2)
    assert out.read_bytes() == whole


def test_a_part_that_another_job_overwrote_is_not_taken(
    source: Path, tmp_path: Path, whole: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed, begun as another job, killed before that one noted anything, and begun as the first again."""
    out = tmp_path / "out.gguf"
    killed_after(out, source, 30, monkeypatch, job(source))

    def stop(fraction: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_model(job(source, {**TYPES, "token_embd": "Q2_K"}), out, 2, stop)
    write_model(job(source), out, 2)
    assert out.read_bytes() == whole


@pytest.mark.parametrize("note", ["", "{", "[]", "3", '{"done": 100000}', '{"header": null, "done": 9}'])
def test_a_note_that_cannot_be_read_means_from_the_start(
    source: Path, tmp_path: Path, whole: bytes, note: str
) -> None:
    out = tmp_path / "out.gguf"
    (tmp_path / "out.gguf.part").write_bytes(b"\xff" * 2000)
    (tmp_path / "out.gguf.part.json").write_text(note)
    write_model(job(source), out, 2)
    assert out.read_bytes() == whole


def test_a_note_without_its_part_means_from_the_start(
    source: Path, tmp_path: Path, whole: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when that start is killed before it noted anything."""
    out = tmp_path / "out.gguf"
    killed_after(out, source, 30, monkeypatch, job(source))
    assert json.loads((tmp_path / "out.gguf.part.json").read_text())["done"] > 4096
    (tmp_path / "out.gguf.part").unlink()

    def stop(fraction: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_model(job(source), out, 2, stop)
    write_model(job(source), out, 2)
    assert out.read_bytes() == whole


@pytest.mark.parametrize("room", [0, 50_000, 300_000])
def test_a_full_disk_is_an_error_and_leaves_no_output(
    source: Path, tmp_path: Path, whole: bytes, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    real, out = os.pwrite, tmp_path / "out.gguf"

    def pwrite(descriptor: int, view: Any, offset: int) -> int:
        if offset >= room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, view[: room - offset], offset)  # short, as the kernel does

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", pwrite)
        with pytest.raises(OSError, match="No space left") as caught:
            write_model(job(source), out, 2)
    assert caught.value.errno == errno.ENOSPC and not out.exists()
    write_model(job(source), out, 2)
    assert out.read_bytes() == whole


def test_a_source_that_becomes_shorter_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = build("llama", tmp_path / "model.gguf", "F16", n_layers=1)
    size = path.stat().st_size
    monkeypatch.setattr(writing, "CHUNK_ELEMENTS", 256 * 64)
    with pytest.raises(ReadError, match="ends inside"):
        write_model(job(path), tmp_path / "out.gguf", 1, lambda fraction: os.truncate(path, size // 2))
    assert not (tmp_path / "out.gguf").exists()


def test_an_output_that_was_there_is_replaced_only_at_the_end(
    source: Path, tmp_path: Path, whole: bytes
) -> None:
    out = tmp_path / "out.gguf"
    out.write_text("before")
    write_model(job(source), out, 2, lambda fraction: out.read_text() == "before" or pytest.fail("too soon"))
    assert out.read_bytes() == whole
