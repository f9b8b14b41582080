"""`--adapter`: the engine with a LoRA computes what the merged model does, paged or not, as planned."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader

from sixgig.cli.main import main
from sixgig.errors import BudgetError, ModelFileError, UsageError
from sixgig.hardware import process_memory
from sixgig.inference import Adapter, Engine
from sixgig.inference.load import open_engine
from sixgig.inference.request import PagingOptions
from sixgig.jobs.opening import demo_path
from sixgig.modelfile import open_model
from sixgig.modelfile.lora import Lora, read_lora
from sixgig.planning import footprint
from tests.tune.adapters import (
    ATTENTION,
    DELTA_NET,
    DENSE,
    ROUTED_EXPERTS,
    SHARED_EXPERT,
    merged,
    random_lora,
    written,
)
from tests.tune.variants import EXACT

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = replace(EXACT, context=256, ubatch=32)
PROMPT = tuple(3 + i * i * 7 % 251 for i in range(48))
EVERYTHING = ATTENTION + DELTA_NET + SHARED_EXPERT + ROUTED_EXPERTS
OTHERS = {"blk.9.attn_q.weight": (np.ones((2, 256), np.float32), np.ones((256, 2), np.float32))}
EXACT, EFFECT = 2e-5, 0.4  # of the logits' deviation
HALF = 2e-2  # of Gemma: the engine takes GELU from a table in float16


def all_logits(engine):
    return np.concatenate([engine.all_logits(PROMPT), engine.all_logits([9]), engine.all_logits([77])])


def engine_logits(path, adapter=None, options=OPTIONS, scale=1.0):
    model = open_model(path)
    opened = adapter and Adapter.open(adapter, model, scale)
    with Engine(model.parts, options, adapter=opened) as engine:
        return all_logits(engine)


def differences(one, other):
    """The largest of each position, in deviations of the logits."""
    return np.abs(one - other).max(axis=1) / other.std()


@pytest.mark.parametrize(
    ("architecture", "kinds"),
    [
        ("llama", ATTENTION + DENSE),
        ("qwen3moe", ATTENTION),
        ("qwen3moe", ROUTED_EXPERTS),
        ("qwen35moe", ATTENTION),
        ("qwen35moe", DELTA_NET),
        ("qwen35moe", SHARED_EXPERT),
        ("qwen35moe", ROUTED_EXPERTS),
        ("qwen35moe", EVERYTHING),
        ("qwen3moe", ("ffn_gate_inp.",)),
        ("llama", ("output.",)),
        ("qwen2", ATTENTION + DENSE),
        ("gemma3", ATTENTION + DENSE),
        ("mistral3", ATTENTION + DENSE),
        ("phi3", ("attn_qkv.", "attn_output.", "ffn_up.", "ffn_down.")),
    ],
)
def test_an_adapter_acts_as_the_merged_model(tiny, tmp_path, architecture, kinds):
    path = tiny(architecture, "F32")
    lora = random_lora(path, kinds)
    adapted = engine_logits(path, written(tmp_path / "lora.gguf", lora))
    expected = engine_logits(merged(tmp_path / "merged.gguf", path, lora))
    assert differences(engine_logits(path), expected).max() > EFFECT
    assert differences(adapted, expected).max() < (HALF if architecture == "gemma3" else EXACT)


@pytest.mark.parametrize("extra_buffers", [False, True])
@pytest.mark.parametrize(("type_name", "noise"), [("F16", 4e-3), ("Q4_0", 0.1)])
@pytest.mark.parametrize(
    ("architecture", "kinds"),
    [("llama", ATTENTION + DENSE), ("qwen3moe", EVERYTHING), ("qwen35moe", EVERYTHING)],
)
def test_on_a_quantised_base(tiny, tmp_path, architecture, kinds, type_name, noise, extra_buffers):
    """The median position: where two experts are nearly equal, the kernels' rounding chooses between them."""
    path = tiny(architecture, type_name)
    lora = random_lora(path, kinds, rank=8)
    options = replace(OPTIONS, extra_buffers=extra_buffers)
    adapted = engine_logits(path, written(tmp_path / "lora.gguf", lora), options)
    expected = engine_logits(merged(tmp_path / "merged.gguf", path, lora))
    assert np.median(differences(engine_logits(path, options=options), expected)) > 10 * noise
    assert np.median(differences(adapted, expected)) < noise


def test_alpha_zero_scales_by_one_and_scales_multiply(tiny, tmp_path):
    path = tiny("qwen3moe", "F32")
    lora = random_lora(path, ATTENTION + ROUTED_EXPERTS, alpha=0.0)
    assert {lora.scale(name) for name in lora.pairs} == {1.0}
    file = written(tmp_path / "lora.gguf", lora)
    expected = engine_logits(merged(tmp_path / "merged.gguf", path, lora))
    assert differences(engine_logits(path, file), expected).max() < EXACT
    halved = replace(lora, alpha=2.0)  # rank 4
    expected = engine_logits(merged(tmp_path / "halved.gguf", path, halved))
    assert differences(engine_logits(path, file, scale=0.5), expected).max() < EXACT
    assert np.array_equal(engine_logits(path, file, scale=0.0), engine_logits(path))
    for scale in (float("nan"), float("inf")):
        with pytest.raises(UsageError, match="cannot be scaled"):
            Adapter.open(file, open_model(path), scale)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("type_name", ["F32", "Q4_0"])
@pytest.mark.parametrize("architecture", ["qwen3moe", "qwen35moe"])
def test_paged_is_unpaged_to_the_last_bit(tiny, tmp_path, architecture, type_name, share):
    path = tiny(architecture, type_name)
    model, file = open_model(path), written(tmp_path / "lora.gguf", random_lora(path, EVERYTHING))
    cache = max(int(share * footprint.resident_bytes(model)), footprint.smallest_cache_bytes(model))
    ram_bytes = process_memory().resident_bytes + (1 << 29)  # beside what the tests themselves hold
    with open_engine(model, ram_bytes, OPTIONS, adapter=file) as engine:
        assert engine.pager is None
        expected = all_logits(engine)
    paging = PagingOptions(always=True, cache_bytes=cache)
    with open_engine(model, ram_bytes, OPTIONS, paging, adapter=file) as engine:
        paged, counters = all_logits(engine), engine.counters()
    assert np.array_equal(paged, expected)
    assert counters.bytes_read > 0 and (counters.evictions > 0) == (share < 1)
    assert counters.peak_resident_bytes <= cache
    n_evaluations = -(-len(PROMPT) // OPTIONS.ubatch) + 2
    assert counters.visits == 4 * n_evaluations  # an adapted layer is still one visit


def test_the_file_is_what_gguf_reads_and_what_is_read_back(tiny, tmp_path):
    lora = random_lora(tiny("qwen35moe"), EVERYTHING)
    file = written(tmp_path / "lora.gguf", lora)
    reader = GGUFReader(file)
    fields = {key: field.contents() for key, field in reader.fields.items()}
    assert (fields["general.type"], fields["adapter.type"]) == ("adapter", "lora")
    assert (fields["general.architecture"], fields["adapter.lora.alpha"]) == ("qwen35moe", 8.0)
    assert fields["general.name"] == "random"
    stored = {tensor.name: tensor.data for tensor in reader.tensors}
    again = read_lora(file)
    assert (again.architecture, again.alpha, len(stored)) == ("qwen35moe", 8.0, 2 * len(lora.pairs))
    for name, pair in lora.pairs.items():
        for kind, factor, read in zip("ab", pair, again.pairs[name], strict=True):
            assert np.array_equal(stored[f"{name}.lora_{kind}"], factor) and np.array_equal(read, factor)
            assert read.dtype == np.float32


RUN = """
import json, sys
from pathlib import Path
from sixgig.hardware import PeakSampler, process_memory
from sixgig.inference import EngineOptions
from sixgig.inference.load import open_engine
from sixgig.inference.request import PagingOptions
path, adapter, budget, always = sys.argv[1:]
with PeakSampler(0.002) as sampler:
    engine = open_engine(
        Path(path), int(budget), EngineOptions(context=512, ubatch=128, threads=2),
        PagingOptions(always=bool(int(always))), adapter=Path(adapter) if adapter else None,
    )
    with engine:
        for start in (3, 5):
            engine.clear()
            engine.prefill([start + i * i * 7 % 4000 for i in range(300)])
        engine.decode(7)
        held = process_memory().anonymous_bytes
after = process_memory().anonymous_bytes
peak = sampler.peak.total_bytes
print(json.dumps({"plan": engine.plan.to_json(), "peak": peak, "held": held, "after": after}))
"""


def measured(adapter, budget, always):
    command = [sys.executable, "-c", RUN, str(demo_path()), str(adapter), str(budget), str(int(always))]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("always", [False, True])
def test_the_plan_counts_the_adapter_and_closing_frees_it(tmp_path, always):
    file = written(tmp_path / "lora.gguf", random_lora(demo_path(), EVERYTHING, rank=64))
    size, budget = file.stat().st_size, 256 << 20
    assert size > 50 << 20
    plain, adapted = measured("", budget, always), measured(file, budget, always)
    tiers = {tier["name"]: tier["size_bytes"] for tier in adapted["plan"]["tiers"]}
    assert size < tiers["adapter"] < 1.05 * size
    predicted = [run["plan"]["predicted_peak_memory_bytes"] for run in (plain, adapted)]
    print(f"adapter {size}, predicted {predicted}, peaks {plain['peak']} {adapted['peak']}")
    assert adapted["peak"] <= predicted[1] + adapted["plan"]["margin_bytes"] <= budget
    assert adapted["peak"] - plain["peak"] <= predicted[1] - predicted[0] + (2 << 20)
    assert adapted["held"] - adapted["after"] > size


def test_an_adapter_larger_than_the_budget_is_refused_before_it_is_loaded(tmp_path):
    file = written(tmp_path / "lora.gguf", random_lora(demo_path(), ROUTED_EXPERTS, rank=64))
    with pytest.raises(BudgetError, match="adapter"):
        open_engine(demo_path(), 60 << 20, OPTIONS, adapter=file)


def test_a_file_that_changed_after_the_check_is_refused(tiny, tmp_path):
    path = tiny("llama", "F32")
    file = written(tmp_path / "lora.gguf", random_lora(path, ATTENTION))
    adapter = Adapter.open(file, open_model(path))
    written(file, random_lora(path, ATTENTION, rank=8))
    with pytest.raises(ModelFileError, match="changed while it was open"):
        Engine(path, OPTIONS, adapter=adapter)


def document(capsys, *arguments):
    assert main([*arguments, "--json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def test_run_writes_other_tokens_with_an_adapter_and_the_same_paged(capsys, tmp_path):
    file = written(tmp_path / "lora.gguf", random_lora(demo_path(), EVERYTHING, gain=1.0))
    asked = ("run", "-p", "PEP: 9999\nTitle: ", "-n", "16", "--temperature", "0", "--context", "256")
    plain = document(capsys, *asked)
    adapted = document(capsys, *asked, "--adapter", str(file))
    paged = document(capsys, *asked, "--adapter", str(file), "--always-page")
    assert adapted["token_ids"] != plain["token_ids"]
    assert len(paged["token_ids"]) == 16 and paged["mode"] == "paged"
    assert adapted["within_budget"] and paged["within_budget"]
    names = [tier["name"] for tier in adapted["plan"]["tiers"]]
    assert "adapter" in names and "adapter" not in [tier["name"] for tier in plain["plan"]["tiers"]]


def test_score_adapts_the_model_and_never_the_reference(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = written(tmp_path / "lora.gguf", random_lora(demo_path(), ATTENTION, gain=1.0))
    text = tmp_path / "text.txt"
    text.write_text("This PEP proposes a syntax for what has none, and says why it should have one. " * 12)
    asked = (
        "score",
        str(demo_path()),
        "--reference",
        str(demo_path()),
        "--text",
        str(text),
        "--context",
        "64",
    )
    adapted = document(capsys, *asked, "--adapter", str(file))
    assert adapted["kld_mean"] > 0.01
    plain = document(capsys, *asked)
    assert plain["reference"]["opened"] is None, "the cache holds the reference as it is without the adapter"
    assert abs(plain["kld_mean"]) < 1e-5 and plain["perplexity"] != adapted["perplexity"]


@pytest.mark.parametrize("verb", ["run", "score"])
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: folder / "none.gguf", "does not exist"),
        (lambda folder: folder, "is a directory"),
        (lambda folder: demo_path(), "is no adapter"),
        (lambda folder: written(folder / "l.gguf", Lora("llama", 1.0, OTHERS)), "another architecture"),
        (lambda folder: written(folder / "l.gguf", Lora("qwen35moe", 1.0, OTHERS)), "another model"),
    ],
)
def test_a_wrong_file_is_one_line_and_status_one(capsys, tmp_path, verb, make, words):
    more = ["-p", "x"] if verb == "run" else ["--text", __file__]
    assert main([verb, str(demo_path()), "--adapter", str(make(tmp_path)), *more]) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("error: ") and captured.err.count("\n") == 1
    assert words in captured.err
