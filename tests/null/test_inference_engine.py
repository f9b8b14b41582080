import ctypes
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sixgig.errors import BudgetError, EngineError, ModelFileError, ReadError, UsageError
from sixgig.inference import Engine, EngineOptions, Sampler, SamplingOptions
from sixgig.inference import engine as engine_module
from sixgig.llamacpp import load_library
from tests.tiny.models import DENSE, MIXTURES

PROMPT = [70, 80, 90, 100, 110, 120, 130, 140, 150, 160]
SMALL = EngineOptions(context=256, ubatch=32, threads=2)
ROOT = Path(__file__).resolve().parents[2]


def fresh_logits(path, tokens, options=SMALL):
    with Engine(path, options) as engine:
        engine.prefill(tokens)
        return engine.logits()


@pytest.mark.parametrize("architecture", [*MIXTURES, *DENSE])
def test_every_family_gives_finite_logits(tiny, architecture):
    with Engine(tiny(architecture), SMALL) as engine:
        assert engine.prefill(PROMPT) == len(PROMPT)
        logits = engine.logits()
        assert logits.shape == (engine.vocabulary.size,) and logits.dtype == np.float32
        assert np.isfinite(logits).all() and logits.std() > 0.1
        assert engine.tokens == PROMPT and engine.room == engine.context - len(PROMPT)
        assert not np.array_equal(engine.decode(99), logits)


def test_options_reach_the_context(tiny):
    with Engine(tiny("llama"), EngineOptions(context=300, ubatch=48, threads=1)) as engine:
        assert (engine.context, engine.ubatch) == (512, 48)
        assert engine._c.llama_n_batch(engine._context) == 48
        assert engine._c.llama_n_threads_batch(engine._context) == 1
        assert engine._c.llama_n_seq_max(engine._context) == 1


def test_a_quantised_cache_and_flash_attention_work(tiny):
    options = EngineOptions(context=256, threads=2, type_k="Q8_0", type_v="Q8_0", flash_attention="on")
    assert np.isfinite(fresh_logits(tiny("llama"), PROMPT, options)).all()


@pytest.mark.parametrize(
    "values",
    [{"context": 0}, {"ubatch": -1}, {"threads": 1000}, {"type_k": "Q9"}, {"flash_attention": "maybe"}],
)
def test_impossible_options_are_usage_errors(values):
    with pytest.raises(UsageError):
        EngineOptions(**values)


def test_a_quantised_v_cache_without_flash_attention_is_refused_in_the_engines_words(tiny):
    with pytest.raises(EngineError, match="quantized V cache requires flash_attn"):
        Engine(tiny("llama"), EngineOptions(context=256, type_v="Q8_0", flash_attention="off"))


def test_the_logits_of_every_position_agree_with_one_by_one(tiny):
    with Engine(tiny("qwen3moe"), EngineOptions(context=256, ubatch=4, threads=2, all_logits=True)) as engine:
        rows = engine.all_logits(PROMPT)
        assert rows.shape == (len(PROMPT), engine.vocabulary.size)
        engine.clear()
        steps = np.stack([engine.decode(token) for token in PROMPT])
    assert np.abs(rows - steps).max() < 0.05 * steps.std()


def test_progress_of_loading_and_prefill_rises_to_one(tiny):
    loading, prefill = [], []
    with Engine(tiny("llama"), SMALL, progress=loading.append) as engine:
        engine.prefill(PROMPT * 10, prefill.append)
    assert loading == sorted(loading) and loading[-1] == 1.0
    assert prefill == [0.32, 0.64, 0.96, 1.0]


def test_progress_false_stops_loading(tiny):
    with pytest.raises(EngineError, match=r"loading llama\.gguf was stopped"):
        Engine(tiny("llama"), SMALL, progress=lambda _fraction: False)


def test_an_interrupt_while_loading_comes_through(tiny):
    def interrupt(_fraction):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Engine(tiny("llama"), SMALL, progress=interrupt)


@pytest.mark.parametrize("architecture", ["llama", "gpt-oss", "qwen35moe"])
def test_prefixes_are_reused_only_where_the_memory_allows(tiny, architecture):
    base = [3 + i * 7 % 250 for i in range(100)]
    other = [*base[:90], 5, 6, 7, 8]
    with Engine(tiny(architecture), SMALL) as engine:
        engine.prefill(base)
        assert engine.prefill([*base, 9, 10]) == 2
        evaluated = engine.prefill(other)
        assert evaluated == (len(other) if architecture == "qwen35moe" else 4)
        reused = engine.logits()
    expected = fresh_logits(tiny(architecture), other)
    assert np.abs(reused - expected).max() < 0.05 * expected.std()


def test_a_sliding_window_left_behind_is_evaluated_again(tiny):
    base = [3 + i * 7 % 250 for i in range(200)]
    with Engine(tiny("gpt-oss"), SMALL) as engine:
        engine.prefill(base)
        engine.prefill([*base[:40], 9])
        reused = engine.logits()
    expected = fresh_logits(tiny("gpt-oss"), [*base[:40], 9])
    assert np.abs(reused - expected).max() < 0.05 * expected.std()


def test_the_same_prompt_again_gives_its_logits_again(tiny):
    with Engine(tiny("qwen35moe"), SMALL) as engine:
        engine.prefill(PROMPT)
        first = engine.logits()
        assert engine.prefill(PROMPT) == len(PROMPT)
        assert np.array_equal(engine.logits(), first)


def test_a_prompt_longer_than_the_context_names_the_numbers(tiny):
    with Engine(tiny("llama"), SMALL) as engine:
        trained = engine.trained_context
        message = f"300 tokens, 256 fit; raise it: --context {min(768, trained)}$"
        with pytest.raises(UsageError, match=message):
            engine.prefill([5] * 300)
        message = f"256 fit; raise it: --context {trained}$"
        with pytest.raises(UsageError, match=message):
            engine.prefill([5] * trained)
        message = (
            f"256 fit; shorten it: the model was trained for {trained} tokens, which --context {trained} "
        )
        with pytest.raises(UsageError, match=message):
            engine.prefill([5] * (trained + 1))
        engine.prefill([5] * 256)
        with pytest.raises(UsageError, match="1 token, 0 of 256"):
            engine.decode(5)
        with pytest.raises(UsageError, match="empty"):
            engine.prefill([])


class FailsOnce:
    """The C library, but its next llama_decode reports `status` after doing the work."""

    def __init__(self, c, status):
        self._c, self.status = c, status

    def __getattr__(self, name):
        return getattr(self._c, name)

    def llama_decode(self, context, batch):
        status, self.status = self.status, 0
        return self._c.llama_decode(context, batch) or status


def test_a_failed_evaluation_leaves_the_next_request_right(tiny):
    with Engine(tiny("qwen35moe"), SMALL) as engine:
        engine.prefill(PROMPT)
        expected = engine.logits()
        engine._c = FailsOnce(engine._c, -3)
        with pytest.raises(EngineError, match="computation failed"):
            engine.decode(5)
        assert engine.tokens == []
        assert engine.prefill(PROMPT) == len(PROMPT)
        assert np.array_equal(engine.logits(), expected)


def test_explain_says_what_happened(tiny):
    said = ReadError("cannot read an expert", "model.gguf at 4096, errno 5")
    with Engine(tiny("llama"), SMALL, explain=lambda: said) as engine:
        with pytest.raises(ReadError, match="errno 5"):
            engine.feed([10**6])
        assert np.isfinite(engine.decode(5)).all()


def test_invalid_tokens_are_an_engine_error_in_its_own_words(tiny):
    with Engine(tiny("llama"), SMALL) as engine, pytest.raises(EngineError, match="invalid token"):
        engine.feed([-7])


def test_abort_ends_the_request_and_no_more(tiny):
    with Engine(tiny("llama"), SMALL) as engine:
        engine.prefill(PROMPT)
        engine.abort()
        with pytest.raises(EngineError, match="stopped"):
            engine.decode(5)
        assert engine.tokens == PROMPT
        assert engine.prefill([*PROMPT, 5]) == 1


def test_abort_cuts_a_prompt_short(tiny):
    with Engine(tiny("qwen3moe"), EngineOptions(context=16384, ubatch=16384, threads=1)) as engine:
        timer = threading.Timer(0.3, engine.abort)
        timer.start()
        with pytest.raises(EngineError, match="stopped"):
            engine.prefill([3 + i % 250 for i in range(16000)])
        assert engine.tokens == []
        timer.join()
        assert engine.prefill(PROMPT) == len(PROMPT)


def test_the_hooks_are_called_in_order_and_a_stream_loads(tiny):
    libc, calls = ctypes.CDLL(None), []
    libc.fopen.restype, libc.fopen.argtypes = ctypes.c_void_p, (ctypes.c_char_p, ctypes.c_char_p)
    libc.fclose.argtypes = (ctypes.c_void_p,)
    stream = libc.fopen(bytes(tiny("qwen3moe")), b"rb")

    def source():
        calls.append("source")
        return stream

    def loaded():
        calls.append("loaded")
        libc.fclose(stream)

    with Engine(Path("a stream"), SMALL, source=source, loaded=loaded) as engine:
        engine.prefill(PROMPT)
        streamed = engine.logits()
    assert calls == ["source", "loaded"]
    assert np.array_equal(streamed, fresh_logits(tiny("qwen3moe"), PROMPT))


def test_the_parts_of_a_split_file_load(tmp_path, tiny):
    from tests.tiny.models import build

    build("qwen3moe", tmp_path / "split.gguf", max_tensors_per_file=20)
    parts = sorted(tmp_path.glob("*.gguf"))
    assert len(parts) > 1
    assert np.array_equal(fresh_logits(parts, PROMPT), fresh_logits(tiny("qwen3moe"), PROMPT))


def test_bad_paths_are_model_file_errors(tmp_path):
    (tmp_path / "bad.gguf").write_bytes(b"GGUX" + bytes(64))
    with pytest.raises(ModelFileError, match=r"cannot load bad\.gguf; .*magic"):
        Engine(tmp_path / "bad.gguf", SMALL)
    for path in (tmp_path, tmp_path / "absent.gguf"):
        with pytest.raises(ModelFileError, match="not a file"):
            Engine(path, SMALL)


class NoContext:
    """The C library on a machine without memory for a context."""

    def __init__(self, library):
        self._library = library

    def __getattr__(self, name):
        return getattr(self._library.c, name)

    def llama_init_from_model(self, _model, _params):
        self._library.log._receive(4, b"failed to allocate buffer for kv cache", None)


def test_a_context_beyond_memory_names_the_cure(tiny, monkeypatch):
    library = load_library()
    monkeypatch.setattr(engine_module, "load_library", lambda: replace(library, c=NoContext(library)))
    with pytest.raises(BudgetError, match="no memory for the context; 256 tokens; lower --context"):
        Engine(tiny("llama"), SMALL)


EXIT = """
import sys, threading, time
from pathlib import Path
from sixgig.inference import Engine, EngineOptions, Sampler, SamplingOptions
engine = Engine(Path(sys.argv[1]), EngineOptions(context=16384, ubatch=16384, threads=1))
work = lambda: engine.prefill([3 + i % 250 for i in range(16000)])
threading.Thread(target=work, daemon=True).start()
time.sleep(0.2)
"""

INTERRUPT = """
import os, signal, sys, threading
from pathlib import Path
from sixgig.inference import Engine, EngineOptions, abort_on_interrupt
with Engine(Path(sys.argv[1]), EngineOptions(context=16384, ubatch=16384, threads=1)) as engine:
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        with abort_on_interrupt(engine):
            engine.prefill([3 + i % 250 for i in range(16000)])
    except KeyboardInterrupt:
        last = engine._c.llama_memory_seq_pos_max(engine._cache._memory, 0)
        print("cut short" if last < 15999 else "too late", engine.prefill([5, 6, 7]))
"""


INTERRUPT_LOADING = """
import os, signal, sys
from pathlib import Path
from sixgig.inference import Engine, EngineOptions, Sampler, SamplingOptions
try:
    Engine(Path(sys.argv[1]), progress=lambda _fraction: os.kill(os.getpid(), signal.SIGINT))
except KeyboardInterrupt:
    print("interrupted")
"""


def run(code, *arguments):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_exit_during_an_evaluation_neither_hangs_nor_crashes(tiny):
    done = run(EXIT, tiny("qwen3moe"))
    assert done.returncode == 0, done.stderr


def test_ctrl_c_takes_effect_inside_an_evaluation(tiny):
    done = run(INTERRUPT, tiny("qwen3moe"))
    assert (done.stdout, done.stderr) == ("cut short 3\n", "")


def test_ctrl_c_while_loading_is_not_lost(tiny):
    done = run(INTERRUPT_LOADING, tiny("qwen3moe"))
    assert (done.stdout, done.stderr) == ("interrupted\n", "")


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), None])
def test_logits_that_are_no_numbers_are_an_error_and_the_next_request_works(tiny, monkeypatch, wrong):
    with Engine(tiny("llama"), EngineOptions(context=256, threads=1)) as engine:
        sampler = Sampler(engine, SamplingOptions(temperature=0))
        engine.prefill([70, 80, 90])
        logits = (
            engine.logits() if wrong is not None else np.full(engine.vocabulary.size, -np.inf, np.float32)
        )
        logits[7] = -np.inf if wrong is None else wrong
        with monkeypatch.context() as patch:
            patch.setattr(engine, "_row", lambda index: logits)
            with pytest.raises(EngineError, match=r"logits are no numbers.*after 3 tokens"):
                sampler.sample(engine)
        assert engine.tokens == []
        engine.prefill([70, 80, 90])
        assert sampler.sample(engine) == int(np.argmax(engine.logits()))
