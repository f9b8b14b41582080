"""What the engine tells an observer: the right numbers, the same whether the experts are paged or not."""

import ctypes
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from sixgig.calibration.calibrate import Calibrator, default_samples
from sixgig.calibration.calibration import FILE, SAMPLES
from sixgig.errors import EngineError
from sixgig.evaluate import cut
from sixgig.inference.engine import Engine
from sixgig.inference.load import open_engine
from sixgig.inference.options import EngineOptions
from sixgig.inference.request import PagingOptions
from sixgig.llamacpp import load_library, observe
from sixgig.modelfile import dequantise, open_model, read_tensor
from tests.paged.engines import OPTIONS, PROMPT, share_of_experts
from tests.shrink.capture import Capture
from tests.tiny.models import DENSE, MIXTURES

PLAIN = replace(OPTIONS, all_logits=False)
ROOM = 4 << 30


def observed(path, tokens=PROMPT, options=PLAIN):
    capture = Capture(open_model(path))
    with Engine(open_model(path).parts, options, observe=capture) as engine:
        feed(engine, tokens)
    return capture


def observed_paged(path, share, read_ahead=True):
    capture = Capture(open_model(path))
    paging = PagingOptions(always=True, cache_bytes=share_of_experts(path, share), read_ahead=read_ahead)
    with open_engine(path, ROOM, PLAIN, paging, observe=capture) as engine:
        assert engine.pager is not None
        feed(engine, PROMPT)
    return capture


def feed(engine, tokens):
    for start in range(0, len(tokens), engine.ubatch):
        engine.feed(tokens[start : start + engine.ubatch])


def assert_same(first, second):
    assert len(first.products) == len(second.products) > 0
    for (name, a, i, _), (other, b, k, _) in zip(first.products, second.products, strict=True):
        assert name == other
        assert np.array_equal(a, b) and (i is k is None or np.array_equal(i, k)), name
    for attribute in ("outputs", "streams"):
        pairs = zip(getattr(first, attribute), getattr(second, attribute), strict=True)
        assert all(np.array_equal(a, b) for one, two in pairs for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("share", [0.0, 0.5])
@pytest.mark.parametrize("architecture", MIXTURES)
def test_paged_experts_are_observed_as_unpaged_ones(tiny, architecture, share):
    path = tiny(architecture)
    assert_same(observed(path), observed_paged(path, share))


@pytest.mark.parametrize("architecture", ["qwen35moe", "gpt-oss"])
def test_a_calibration_has_the_same_bits_paged_or_not(tiny, tmp_path, architecture):
    path = tiny(architecture)
    cache_bytes = share_of_experts(path, 0.25)
    for name, paging in (("unpaged", None), ("paged", PagingOptions(always=True, cache_bytes=cache_bytes))):
        model = open_model(path)
        run = Calibrator(model, cut(PROMPT, 40), tmp_path / name, default_samples(model, 16, 4))
        with open_engine(path, ROOM, PLAIN, paging, observe=run.collector) as engine:
            assert (engine.pager is not None) == (paging is not None)
            run.run(lambda tokens, engine=engine: (engine.clear(), engine.feed(tokens)))
    for file in (FILE, SAMPLES):
        assert (tmp_path / "paged" / file).read_bytes() == (tmp_path / "unpaged" / file).read_bytes()


@pytest.mark.parametrize("architecture", [*MIXTURES, *DENSE])
def test_every_matrix_meets_every_token(tiny, architecture):
    model = open_model(tiny(architecture))
    capture = observed(tiny(architecture))
    names = {name for name, *_ in capture.products}
    matrices = {t.name for t in model.tensors if len(t.shape) > 1 and not t.name.endswith(".bias")}
    assert matrices - names <= {"token_embd.weight"} | {t for t in matrices if "conv1d" in t}
    for name in names:
        tokens = sum(inputs.shape[0] for other, inputs, *_ in capture.products if other == name)
        assert tokens == len(PROMPT), name
    assert capture.evaluations == 2
    assert {layer for layer, _ in capture.streams} == set(range(model.n_layers))
    routed = {t.layer for t in model.routed_experts()}
    assert {layer for layer, *_ in capture.outputs} == routed


def test_inputs_and_outputs_are_those_of_the_layer(tiny):
    """Recomputed in numpy: router, gates, experts and their sum, from what the products met."""
    path = tiny("qwen3moe", "F32", n_layers=2)
    model, capture = open_model(path), observed(path, PROMPT[:20])
    weights = {t.name: dequantise(read_tensor(model, t), t) for t in model.tensors if t.layer == 1}
    inputs, ids = next((x, i) for name, x, i, _ in capture.products if name == "blk.1.ffn_gate_exps.weight")
    x = inputs[:, 0]
    logits = x @ weights["blk.1.ffn_gate_inp.weight"].T
    gates = np.take_along_axis(softmax(logits), ids, 1)
    gates /= gates.sum(axis=1, keepdims=True)
    gate, up, down = (weights[f"blk.1.ffn_{part}_exps.weight"][ids] for part in ("gate", "up", "down"))
    hidden = silu(np.einsum("tuon,tn->tuo", gate, x)) * np.einsum("tuon,tn->tuo", up, x)
    expected = gates[:, :, None] * np.einsum("tuon,tun->tuo", down, hidden)
    _, outputs, output_ids = next(found for found in capture.outputs if found[0] == 1)
    assert np.array_equal(ids, output_ids)
    assert np.abs(outputs - expected).max() < 1e-4 * np.abs(expected).max()
    met = next(x for name, x, *_ in capture.products if name == "blk.1.ffn_down_exps.weight")
    assert np.abs(met - hidden).max() < 1e-4 * np.abs(hidden).max()


def test_the_stream_is_what_the_final_norm_reads(tiny):
    path = tiny("llama", "F32")
    model, capture = open_model(path), observed(path, PROMPT[:20])
    norm = next(t for t in model.tensors if t.name == "output_norm.weight")
    _, stream = capture.streams[-1]
    epsilon = 1e-5
    normed = stream / np.sqrt((stream**2).mean(axis=1, keepdims=True) + epsilon)
    expected = normed * dequantise(read_tensor(model, norm), norm)
    head = next(x for name, x, *_ in reversed(capture.products))
    assert np.abs(head - expected).max() < 1e-3 * np.abs(expected).max()


def softmax(logits):
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def silu(values):
    return values / (1 + np.exp(-values))


def test_weights_with_one_input_name_one_source(tiny):
    sources = {}
    for name, _, _, source in observed(tiny("qwen3moe"), PROMPT[:8]).products:
        sources.setdefault(source, []).append(name.removesuffix(".weight").split(".")[-1])
    groups = sorted(sorted(group) for group in sources.values())
    assert ["ffn_gate_exps", "ffn_up_exps"] in groups and ["attn_k", "attn_q", "attn_v"] in groups
    assert ["ffn_down_exps"] in groups and ["ffn_gate_inp"] in groups


def test_inputs_weighted_before_the_experts_are_no_outputs():
    """Expert ids of an earlier evaluation do not make outputs of what comes before the products."""

    class Told(Capture):
        weights = ()

        def __init__(self):
            self.outputs, self.streams, self.products, self.evaluations = [], [], [], 0

    told, c = Told(), load_library().c
    observation = observe.Observation(c, told)
    with routed_graph(c) as (product, before):
        for _ in range(2):
            observation.begin()
            for node in (before, product):
                assert observation.callback(node, True, None)
                assert observation.callback(node, False, None)
    assert observation.take_error() is None and told.outputs == []


@contextmanager
def routed_graph(c):
    """A MUL_MAT_ID node of layer 0 and a node named as its weighted inputs: their addresses."""
    context = c.ggml_init(observe.InitParams(1 << 16, None, True))
    function, pointer = observe._function, ctypes.c_void_p
    new = function(c, "ggml_new_tensor_3d", pointer, pointer, ctypes.c_int, *[ctypes.c_int64] * 3)
    routed = function(c, "ggml_mul_mat_id", pointer, *[pointer] * 4)
    name = function(c, "ggml_set_name", pointer, pointer, ctypes.c_char_p)
    weight, inputs, ids = new(context, 0, 4, 3, 2), new(context, 0, 4, 1, 5), new(context, 26, 2, 5, 1)
    product, before = routed(context, weight, inputs, ids), new(context, 0, 4, 2, 5)
    name(product, b"ffn_moe_up-0")
    name(before, b"ffn_moe_weighted-0")
    buffer = c.ggml_backend_alloc_ctx_tensors_from_buft(context, c.ggml_backend_cpu_buffer_type())
    try:
        yield product, before
    finally:
        c.ggml_backend_buffer_free(buffer)
        c.ggml_free(context)


@pytest.mark.parametrize("where", ["begin", "product", "weighted", "stream"])
def test_what_an_observer_raises_comes_out_and_the_next_evaluation_is_right(tiny, where):
    path = tiny("qwen3moe")

    class Fussy(Capture):
        angry = True

    def refuse(self, *arguments):
        if self.angry:
            raise ZeroDivisionError(where)
        getattr(Capture, where)(self, *arguments)

    setattr(Fussy, where, refuse)
    capture = Fussy(open_model(path))
    with Engine(path, PLAIN, observe=capture) as engine:
        with pytest.raises(ZeroDivisionError, match=where):
            engine.feed(PROMPT[:16])
        assert engine.tokens == [] and len(capture.products) < 40
        capture.__init__(open_model(path))
        capture.angry = False
        engine.feed(PROMPT[:16])
    assert_same(capture, observed(path, PROMPT[:16]))


def test_views_are_read_only(tiny):
    class Writer(Capture):
        def product(self, product):
            product.inputs[0] = 0

    path = tiny("llama")
    engine = Engine(path, PLAIN, observe=Writer(open_model(path)))
    with engine, pytest.raises(ValueError, match="read-only"):
        engine.feed(PROMPT[:4])


def test_only_wanted_weights_are_told(tiny):
    path = tiny("qwen3moe")
    capture = Capture(open_model(path))
    capture.weights = ["blk.1.ffn_down_exps.weight"]
    with Engine(path, PLAIN, observe=capture) as engine:
        engine.feed(PROMPT[:8])
    assert [name for name, *_ in capture.products] == capture.weights
    assert len(capture.outputs) == 4


def test_observing_does_not_change_the_logits(tiny):
    path = tiny("qwen35moe")
    rows = []
    for capture in (None, Capture(open_model(path))):
        with Engine(path, OPTIONS, observe=capture) as engine:
            rows.append(engine.all_logits(PROMPT))
    assert np.array_equal(*rows)


def test_without_an_observer_there_is_no_callback(tiny):
    with Engine(tiny("llama"), EngineOptions(context=256)) as engine:
        assert engine._observation is None and not engine.options.all_logits


def test_a_library_with_other_tensors_is_refused(monkeypatch):
    class Shifted(observe.Tensor):
        _fields_ = (("more", ctypes.c_int64),)

    observe.check_tensor_layout(load_library().c)
    monkeypatch.setattr(observe, "Tensor", Shifted)
    with pytest.raises(EngineError, match=r"laid out differently.*size"):
        observe.check_tensor_layout(load_library().c)


def test_data_elsewhere_than_in_main_memory_is_refused(tiny):
    path = tiny("llama")
    engine = Engine(path, PLAIN, observe=Capture(open_model(path)))
    engine._observation._is_host = lambda buffer: False
    with engine, pytest.raises(EngineError, match="not in main memory"):
        engine.feed(PROMPT[:4])
