"""A program that loads as it likes: measures first, loads twice, maps files, or takes another model.

Either what was announced is paged or there is an error; never a model in memory that was to be paged.
"""

import numpy as np
import pytest

from sixgig.modelfile import open_model
from sixgig.pager.manifest import manifest
from tests.paged.dynamic import run
from tests.paged.engines import share_of_experts, stock_logits

PROGRAM = """
from dataclasses import replace
from sixgig.inference.dry_load import measure
from sixgig.llamacpp import structs
pager = environment_pager()
model, other, out = open_model(Path(sys.argv[1])), open_model(Path(sys.argv[2])), Path(sys.argv[3])

def compute(model=model, engine=None):
    with engine or Engine(model.parts, OPTIONS) as engine:
        logits = logits_of(engine)
    np.save(out, logits)
    counters = pager.counters()
    assert counters.misses > 0 and counters.peak_resident_bytes <= int(sys.argv[4]), counters
    pager.reset_counters()
"""


@pytest.fixture
def program(tiny, tmp_path):
    """Runs code after PROGRAM; gives the process, whether it computed, and whether that was right."""
    path, other = tiny("qwen3moe", "Q4_0"), tiny("llama")
    cache_bytes = share_of_experts(path, 0.25)
    (tmp_path / "experts").write_text(manifest(open_model(path), cache_bytes))

    def start(code, other=other):
        arguments = path, other, tmp_path / "logits.npy", cache_bytes
        done = run(PROGRAM + code, *arguments, SIXGIG_EXPERTS=str(tmp_path / "experts"))
        computed = (tmp_path / "logits.npy").exists()
        right = computed and np.array_equal(np.load(tmp_path / "logits.npy"), stock_logits(path))
        return done, computed, right

    return start


@pytest.mark.parametrize(
    "code",
    [
        "measure(model.parts, OPTIONS); compute()",
        "measure(model.parts, OPTIONS); measure(model.parts, replace(OPTIONS, context=256)); compute()",
        "compute(); out.unlink(); measure(model.parts, OPTIONS); compute()",
        "one = Engine(model.parts, OPTIONS); measure(model.parts, OPTIONS); compute(engine=one)",
        "one = Engine(model.parts, OPTIONS); logits_of(Engine(other.parts, OPTIONS)); compute(engine=one)",
    ],
    ids=["measured before", "measured twice", "loaded twice", "measured beside", "a dense one beside"],
)
def test_experts_are_paged_however_the_model_is_loaded(program, code):
    done, _computed, right = program(code)
    assert done.returncode == 0 and right, done.stderr[-1000:]


def test_experts_of_a_mapped_file_are_paged(program):
    mapped = "structs.LOAD_MODE_NONE = structs.LOAD_MODE_NONE + 1"
    done, _computed, right = program(f"{mapped}; compute()")
    assert done.returncode == 0 and right, done.stderr[-1000:]


def test_a_second_model_of_the_same_experts_is_refused_and_the_first_computes_on(program):
    done, _computed, right = program("""
one = Engine(model.parts, OPTIONS)
try:
    Engine(model.parts, OPTIONS)
except SixgigError as error:
    print(error)
compute(engine=one)
""")
    assert done.returncode == 0 and right, done.stderr[-1000:]
    assert "in use by another model of this process" in done.stderr and "cannot load" in done.stdout


def test_a_model_that_was_not_announced_gets_no_context(program):
    done, computed, _right = program("compute(other)")
    assert done.returncode == 1 and not computed
    assert "the engine does not page blk.0.ffn_" in done.stderr


def test_a_model_of_other_shapes_is_not_loaded(program, tiny):
    done, computed, _right = program("compute(other)", tiny("qwen3moe", "Q4_0", n_experts=16))
    assert done.returncode == 1 and not computed
    assert "has another size than in the file that was announced" in done.stderr


def test_a_program_that_measures_one_model_and_loads_another_stops_before_it_computes(program):
    done, computed, _right = program("measure(model.parts, OPTIONS); compute(other)")
    assert done.returncode == 1 and not computed
    assert "stopped: the engine has loaded blk.0.ffn_" in done.stderr
