"""The generator: valid files, the same for the same seed, and routing that is neither frozen nor random."""

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.synthetic.__main__ import main
from bench.synthetic.shape import ARCHITECTURES, PRESETS, Architecture, Shape
from bench.synthetic.writer import write_model
from bench.tokens import Stream, read_tokens, stream_for
from bench.tokens import main as tokens_main
from bench.verify_routing import listen, next_layer_share, report, trace_of
from sixgig.errors import UsageError
from sixgig.families import Role
from sixgig.modelfile import open_model, read_tensor

TINY = replace(PRESETS["tiny"], n_layers=4)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("synthetic")
    made = {name: folder / f"{name}.gguf" for name in ARCHITECTURES}
    for name in ARCHITECTURES:
        write_model(replace(TINY, architecture=name), made[name])
    return made


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_file_is_what_was_asked_for(files: dict[str, Path], architecture: Architecture) -> None:
    model = open_model(files[architecture])
    assert (model.architecture, model.n_layers) == (architecture, 4)
    assert (model.n_experts, model.n_experts_used) == (32, 4)
    assert model.n_vocab == 512
    assert {tensor.type.name for tensor in model.routed_experts()} == {"Q4_K"}
    assert not any(tensor.role == Role.OTHER for tensor in model.tensors)
    assert stream_for(files[architecture]).topics == TINY.dynamics.topics


def test_same_seed_same_bytes(files: dict[str, Path], tmp_path: Path) -> None:
    again, other = tmp_path / "again.gguf", tmp_path / "other.gguf"
    write_model(TINY, again)
    write_model(replace(TINY, seed=2), other)
    assert again.read_bytes() == files["qwen35moe"].read_bytes() != other.read_bytes()
    assert list(tmp_path.glob("*.part")) == []


def test_every_expert_is_different(files: dict[str, Path]) -> None:
    model = open_model(files["qwen35moe"])
    experts = [read_tensor(model, t).reshape(32, -1) for t in model.routed_experts()]
    assert len({row.tobytes() for tensor in experts for row in tensor}) == 32 * len(experts)


@pytest.mark.parametrize("type_name", ["Q4_0", "Q8_0", "Q6_K", "IQ2_XXS"])
def test_expert_types_and_alignment(tmp_path: Path, type_name: str) -> None:
    path = tmp_path / "m.gguf"
    write_model(replace(TINY, n_layers=1, expert_type=type_name, alignment=4096), path)
    model = open_model(path)
    assert {tensor.type.name for tensor in model.routed_experts()} == {type_name}
    assert all(tensor.offset % 4096 == 0 for tensor in model.tensors)


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    write_model(replace(TINY, n_layers=1), tmp_path / "warm.gguf")
    tracemalloc.start()
    size_bytes = write_model(replace(TINY, n_layers=1, n_embd=512, n_experts=512), tmp_path / "big.gguf")
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size_bytes > 110e6
    assert peak_bytes < 60e6


@pytest.mark.parametrize("name", [name for name in PRESETS if name.startswith("6")])
def test_measured_presets_have_page_multiple_experts(name: str) -> None:
    shape: Shape = PRESETS[name]
    assert shape.n_embd * shape.expert_width // 256 * 144 % 4096 == 0


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_routing_depends_on_the_token_with_locality(files: dict[str, Path], architecture: str) -> None:
    model = open_model(files[architecture])
    tokens = stream_for(files[architecture]).draw(120, seed=1)
    probe = listen(model, tokens)
    trace = trace_of(model, probe)
    figures = report(model, probe, trace)
    quarter = figures["hit_rates"]["lru"][2]
    assert 0.35 < quarter < 0.9
    assert figures["hit_rates"]["belady"][2] > quarter
    assert 0.25 <= figures["busiest_quarter_share"] < 0.7
    assert 0.7 < next_layer_share(model, probe) < 0.97
    assert len(trace.visits) == 120 * 4


def test_stream_is_repeatable_local_and_in_range() -> None:
    stream = Stream(n_vocab=4096, topics=64)
    ids = stream.draw(2000, seed=3)
    assert ids == stream.draw(2000, seed=3) != stream.draw(2000, seed=4)
    assert min(ids) >= 3 and max(ids) < 4096
    repeats = np.mean([token in ids[max(0, i - 16) : i] for i, token in enumerate(ids)])
    assert 0.5 < repeats < 0.9


def test_token_files(files: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "tokens"
    assert tokens_main([str(files["qwen3moe"]), str(out), "--count", "50"]) == 0
    assert read_tokens(out) == stream_for(files["qwen3moe"]).draw(50, seed=1)
    out.write_text("1 two")
    with pytest.raises(UsageError, match="one token id per line"):
        read_tokens(out)


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "m.gguf"
    words = ["--preset", "tiny", "--layers", "1", "--experts", "8", "--layer-scale", "0.2"]
    assert main([str(out), *words]) == 0
    assert open_model(out).n_experts == 8
    assert main([str(out), *words, "--vocabulary", "100"]) == 1
    assert "259 are needed" in capsys.readouterr().err
