"""Architectures that the engine knows and none here declares: they open, run, page and plan on its word."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gguf import PoolingType

from sixgig.cli.main import main
from sixgig.errors import ModelFileError
from sixgig.hardware import load_machine
from sixgig.inference import EngineOptions
from sixgig.inference.dry_load import checkpoint_bytes, dry_load, engine_bytes, engine_figures
from sixgig.inference.load import open_engine
from sixgig.inference.request import PagingOptions
from sixgig.jobs import machines
from sixgig.modelfile import ModelFile, open_model
from sixgig.planning import Budgets, Placement, Planner, Task, Tier, anatomy, footprint, plan_work
from sixgig.planning.needs import estimated_process
from tests.tiny import encoders
from tests.tiny.renamed import renamed

Tiny = Callable[..., Path]
GIB = 1 << 30
OPTIONS = EngineOptions(context=256, ubatch=32, threads=1, extra_buffers=False)
PROMPT = [70, 80, 90, 100, 75, 85]


@pytest.fixture(scope="module")
def mixture(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    """A Mellum: routed experts whose widths stand in an array, sliding windows."""
    changes = {"expert_feed_forward_length": [256] * 4, "attention.sliding_window": 64}
    path = tmp_path_factory.mktemp("undeclared") / "mellum.gguf"
    model = open_model(renamed(tiny("qwen3moe", "Q8_0"), path, "mellum", changes))
    assert not model.family.declared
    return model


def undeclared(model: ModelFile) -> ModelFile:
    """The same, as if no file declared its family."""
    return replace(model, family=replace(model.family, declared=False), declared_shape=None)


def logits(model: ModelFile, paging: PagingOptions) -> list[np.ndarray]:
    with open_engine(model, None, OPTIONS, paging) as engine:
        engine.prefill(PROMPT)
        return [engine.logits(), *(engine.decode(token) for token in (71, 81, 91))]


def test_a_mixture_pages_to_the_bits_that_it_has_in_memory(mixture: ModelFile) -> None:
    assert mixture.hyperparameters.expert_feed_forward_length == 256
    whole = logits(mixture, PagingOptions(never=True))
    for cache in (footprint.smallest_cache_bytes(mixture), footprint.resident_bytes(mixture) // 4):
        assert np.array_equal(whole, logits(mixture, PagingOptions(always=True, cache_bytes=cache)))


def test_what_announces_experts_and_has_none_runs_as_the_dense_model_it_is(
    tiny: Tiny, tmp_path: Path
) -> None:
    changes = {"expert_count": 2, "expert_used_count": 2}
    model = open_model(renamed(tiny("llama", "Q8_0"), tmp_path / "ernie.gguf", "ernie4_5", changes))
    assert not model.routed_bytes
    assert np.isfinite(logits(model, PagingOptions())).all()


def test_a_plan_of_it_has_the_engines_own_bytes(mixture: ModelFile) -> None:
    task = Task(context=1024, ubatch=64)
    planner = Planner(load_machine("cpu-box-2c-24g"), mixture, task, figures=engine_figures(mixture, task, 2))
    plan = planner.plan(Budgets(GIB))
    engine = engine_bytes(dry_load(mixture, EngineOptions(1024, 64, 2)))
    tiers = {need.use.label: need.size_bytes for need in plan.memory.at(Tier.RAM)}
    assert plan.confirmed and plan.memory.mode == "unpaged"
    assert tiers["dense weights"] == engine.weights_bytes
    assert (tiers["KV cache"], tiers["compute buffers"]) == (engine.context_bytes, engine.compute_bytes)


def test_it_is_placed_in_main_memory_where_there_is_a_gpu_and_the_plan_says_why(mixture: ModelFile) -> None:
    machine, task = load_machine("gtx-1060-6g-24g"), Task(context=256, ubatch=32)
    figures = engine_figures(mixture, task, 2)
    plan = Planner(machine, mixture, task, figures=figures).plan(Budgets(GIB, 5 * GIB))
    assert plan.placement == Placement() and "what a GPU would hold is not known" in plan.where


def test_a_header_alone_is_refused_by_name_with_what_works(mixture: ModelFile) -> None:
    with pytest.raises(ModelFileError, match=r"no declaration of 'mellum'.*fetch the file"):
        Planner(load_machine("cpu-box-2c-24g"), mixture, Task()).plan(Budgets(GIB))


def test_shrinking_is_planned_with_the_engines_bytes_and_tuning_is_refused(mixture: ModelFile) -> None:
    machine, parts = load_machine("cpu-box-2c-24g"), anatomy(mixture)
    task = Task("shrink", context=256, ubatch=32)
    process = estimated_process(parts, task)
    engine = engine_figures(mixture, task, 2)(Placement(), "paged")
    plan = plan_work(machine, parts, task, process, GIB, engine)
    assert any(need.size_bytes == engine.compute_bytes for need in plan.at(Tier.RAM))
    with pytest.raises(
        ModelFileError, match="architecture mellum cannot be tuned: no declaration of its blocks"
    ):
        plan_work(machine, parts, replace(task, kind="tune"), process, GIB)


@pytest.mark.parametrize("architecture", ["qwen35moe", "gpt-oss", "deepseek2"])
def test_what_cannot_be_cut_back_is_the_same_by_the_engines_word_as_by_the_declaration(
    architecture: str, tiny: Tiny
) -> None:
    model = open_model(tiny(architecture))
    for options in (OPTIONS, EngineOptions(context=700, ubatch=64, threads=1, sequences=3)):
        assert checkpoint_bytes(undeclared(model), options) == checkpoint_bytes(model, options)


def test_a_local_file_is_planned_from_the_command_line(
    mixture: ModelFile, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machines, "this_machine", lambda *_, **__: load_machine("cpu-box-2c-24g"))
    assert main(["plan", str(mixture.parts[0]), "--ram", "1G", "--context", "512", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["recommended"]["confirmed_by_engine"]
    assert main(["plan", str(mixture.parts[0]), "--ram", "1G", "--no-dry-load"]) == 1
    assert "no declaration of 'mellum'" in capsys.readouterr().err


def test_a_diffusion_model_is_refused_by_name_before_it_is_loaded(tiny: Tiny, tmp_path: Path) -> None:
    model = open_model(renamed(tiny("llama", "Q8_0"), tmp_path / "llada.gguf", "llada", {}))
    with pytest.raises(ModelFileError, match=r"is a diffusion model \(llada\)"):
        open_engine(model, None, OPTIONS)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: encoders.bert(path, PoolingType.MEAN), r"embedding model \(bert\).*/v1/embeddings"),
        (encoders.bert, r"embedding model \(bert\).*its section says how it pools"),
        (lambda path: encoders.bert(path, PoolingType.RANK), r"reranking model \(bert\)"),
        (lambda path: encoders.t5(path, decodes=False), r"embedding model \(t5encoder\)"),
        (encoders.t5, r"an encoder before its decoder \(t5\)"),
    ],
)
def test_what_generates_no_text_is_refused_by_what_it_is(
    make: Callable[[Path], Path], words: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelFileError, match=words):
        open_engine(make(tmp_path / "model.gguf"), None, OPTIONS)


@pytest.mark.parametrize("verb", [["run", "-p", "a"], ["bench"], ["score", "--text"]])
def test_a_file_that_says_it_gives_embeddings_is_refused_by_every_verb_of_text(
    verb: list[str], tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Made of a model that generates: the engine would."""
    text = tmp_path / "text.txt"
    text.write_text("a text " * 500)
    path = renamed(tiny("qwen3", "Q8_0"), tmp_path / "embedder.gguf", "qwen3", {"pooling_type": 3})
    more = [str(text)] if verb[0] == "score" else []
    assert main([verb[0], str(path), "--ram", "1G", *verb[1:], *more]) == 1
    assert "is an embedding model (qwen3)" in capsys.readouterr().err.splitlines()[-1]


def test_an_encoder_reads_one_text_at_a_time(tmp_path: Path) -> None:
    path = encoders.t5(tmp_path / "t5.gguf", decodes=False)
    options = EngineOptions(context=256, ubatch=256, threads=1, pooling="mean", sequences=2)
    with pytest.raises(ModelFileError, match=r"one text at a time; 2 in parallel asked for; --parallel 1"):
        open_engine(path, None, options)
