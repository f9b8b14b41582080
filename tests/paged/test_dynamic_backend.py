"""The native library as llama.cpp itself loads it: ggml_backend_load, without our Python above it."""

import shutil
import subprocess
import sys

import numpy as np
import pytest

from sixgig.modelfile import open_model
from sixgig.pager.manifest import manifest
from tests.paged.dynamic import COMPUTE, run
from tests.paged.engines import share_of_experts, stock_logits


def test_it_registers_itself():
    done = run("print(name.decode())")
    assert done.stdout == "SIXGIG\n", done.stderr


def test_without_configuration_everything_is_as_without_it(tiny, tmp_path):
    path = tiny("qwen3moe")
    done = run(COMPUTE, path, tmp_path / "logits.npy")
    assert done.stdout == "SIXGIG no pager\n", done.stderr
    assert np.array_equal(np.load(tmp_path / "logits.npy"), stock_logits(path))


@pytest.mark.parametrize("options", [{}, {"max_tensors_per_file": 20}])
@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_manifest_pages_the_experts_of_a_stock_load(tiny, tmp_path, share, options):
    path = tiny("qwen3moe", "Q4_0", **options)
    (tmp_path / "experts").write_text(manifest(open_model(path), share_of_experts(path, share)))
    done = run(COMPUTE, path, tmp_path / "logits.npy", SIXGIG_EXPERTS=str(tmp_path / "experts"))
    name, misses = done.stdout.split() or ("", "0")
    assert name == "SIXGIG" and int(misses) > 0, done.stderr
    assert np.array_equal(np.load(tmp_path / "logits.npy"), stock_logits(path))


def test_a_manifest_of_another_file_computes_nothing(tiny, tmp_path):
    (tmp_path / "experts").write_text(manifest(open_model(tiny("qwen3moe")), 1 << 20))
    other = tiny("qwen3moe", "Q4_0", seed=5)
    done = run(COMPUTE, other, tmp_path / "logits.npy", SIXGIG_EXPERTS=str(tmp_path / "experts"))
    assert (
        done.returncode == 1 and "has other bytes" in done.stderr and not (tmp_path / "logits.npy").exists()
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "something else\n",
        "sixgig experts 1\n",
        "sixgig experts 1\ncache x\n",
        "sixgig experts 1\ncache 1000000 1 4\npart /nowhere\ntensor 0 0 0 4096 4 blk.0.ffn_up_exps.weight\n",
        "sixgig experts 1\ncache 1000000 1 4\ntensor 0 7 0 4096 4 blk.0.ffn_up_exps.weight\n",
        "sixgig experts 1\ncache 1000000 1 -4\npart /etc/passwd\ntensor 0 0 0 4096 4 a\n",
        "sixgig experts 1\ncache 1000000 1 4\npart /etc/passwd\ntensor 0 0 0 0 4 a\n",
    ],
)
def test_a_hostile_manifest_stops_the_program_in_words(tmp_path, text):
    (tmp_path / "experts").write_text(text)
    done = run("print(name.decode())", SIXGIG_EXPERTS=str(tmp_path / "experts"))
    assert (done.stdout, done.returncode) == ("", 1), done.stderr[-500:]
    assert "sixgig: not loaded: " in done.stderr


@pytest.fixture(scope="session")
def other_version(tmp_path_factory):
    """A library that says it is another ggml."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("needs a C compiler and LD_PRELOAD")
    folder = tmp_path_factory.mktemp("version")
    (folder / "v.c").write_text('const char * ggml_version(void) { return "9.9.9"; }\n')
    subprocess.run([compiler, "-shared", "-fPIC", "-o", "v.so", "v.c"], cwd=folder, check=True)
    return str(folder / "v.so")


def test_another_version_is_refused_and_both_are_named(other_version):
    code = """
print(name.decode())
try:
    load_native()
except SixgigError as error:
    print(type(error).__name__, error)
"""
    done = run(code, LD_PRELOAD=other_version)
    refused, error = done.stdout.splitlines()
    assert refused == "refused"
    assert error.startswith("EngineError ") and "0.26.0" in error and "9.9.9" in error


def test_this_version_matches():
    done = run("print(load_native().sixgig_interface_mismatch())")
    assert done.stdout == "None\n", done.stderr
