import pytest

from sixgig.errors import EngineError, ModelFileError
from sixgig.hardware import process_memory
from sixgig.inference import Engine, EngineOptions, measure
from sixgig.llamacpp import breakdown, evaluation_bytes, memory_breakdown

OPTIONS = EngineOptions(context=1024, ubatch=64, threads=2)


@pytest.mark.parametrize("architecture", ["qwen35moe", "gpt-oss", "deepseek2"])
@pytest.mark.parametrize("extra_buffers", [True, False])
def test_the_bytes_foretold_are_the_bytes_taken(tiny, architecture, extra_buffers):
    options = EngineOptions(context=1024, ubatch=64, threads=2, extra_buffers=extra_buffers)
    foretold = measure(tiny(architecture), options).buffers
    with Engine(tiny(architecture), options) as engine:
        assert memory_breakdown(engine.library.c, engine._context) == foretold
    size = tiny(architecture).stat().st_size
    assert 0.9 * size < sum(need.model_bytes for need in foretold) <= 1.1 * size
    assert any(need.context_bytes for need in foretold) and any(need.compute_bytes for need in foretold)


def test_graphs_that_appear_with_the_first_text_are_foretold(tiny):
    """Hybrids have room for 40 nodes a token of the micro-batch, in each of two graphs."""
    options = EngineOptions(context=5120, ubatch=2560, threads=2)
    with Engine(tiny("qwen35moe"), options) as engine:
        graphs = evaluation_bytes(engine.library.c, engine._context)
        buffers = memory_breakdown(engine.library.c, engine._context)
        touched = sum(need.context_bytes + need.compute_bytes for need in buffers)
        before = process_memory().anonymous_bytes
        engine.prefill([1 + n % 50 for n in range(5000)])
        grown = process_memory().anonymous_bytes - before
    assert 0.9 * graphs < grown < graphs + touched + (16 << 20)
    assert graphs > 2 * 40 * 2560 * 300


def test_the_context_grows_with_its_length(tiny):
    short, long = (
        sum(need.context_bytes for need in measure(tiny("llama"), EngineOptions(context=n)).buffers)
        for n in (1024, 4096)
    )
    assert long == pytest.approx(4 * short, rel=0.01)


def test_a_bad_file_is_a_model_file_error(tmp_path):
    (tmp_path / "x.gguf").write_bytes(b"GGUF" + bytes(20))
    with pytest.raises(ModelFileError):
        measure(tmp_path / "x.gguf", OPTIONS)


def test_a_library_without_the_table_says_so(monkeypatch, tiny):
    monkeypatch.setattr(breakdown, "_FUNCTION", "no_such_function")
    with pytest.raises(EngineError, match="no_such_function"):
        measure(tiny("llama"), OPTIONS)
