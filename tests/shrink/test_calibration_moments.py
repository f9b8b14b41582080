"""The statistics of a calibration against numpy on the very inputs that the engine reported."""

import numpy as np
import pytest

from sixgig.calibration.calibrate import Calibrator, default_samples, sample_layout, whole
from sixgig.calibration.moments import SCRATCH_BYTES, Collector, ExpertUse, Moments, accumulator_bytes
from sixgig.errors import EngineError, ModelFileError, UsageError
from sixgig.evaluate import cut
from sixgig.inference.engine import Engine
from sixgig.inference.options import EngineOptions
from sixgig.llamacpp.observe import Product
from sixgig.modelfile import open_model
from sixgig.modelfile.imatrix import read_imatrix, write_imatrix
from tests.shrink.capture import Capture
from tests.tiny.models import DENSE, MIXTURES

WINDOWS = cut([3 + i * i * 7 % 251 for i in range(100)], 24)
OPTIONS = EngineOptions(context=256, ubatch=16, threads=2, extra_buffers=False)


class Both:
    """Tells two observers."""

    def __init__(self, *observers):
        self.observers, self.weights = observers, observers[0].weights

    def begin(self):
        for observer in self.observers:
            observer.begin()

    def product(self, product):
        for observer in self.observers:
            observer.product(product)

    def weighted(self, layer, outputs, ids):
        for observer in self.observers:
            observer.weighted(layer, outputs, ids)

    def stream(self, layer, values):
        for observer in self.observers:
            observer.stream(layer, values)


def calibrated(path, folder, samples=None, options=OPTIONS):
    model = open_model(path)
    run = Calibrator(model, WINDOWS, folder, samples, "a text")
    capture = Capture(model)
    with Engine(path, options, observe=Both(run.collector, capture)) as engine:
        return run.run(feeding(engine)), capture


def feeding(engine):
    def feed(tokens):
        engine.clear()
        for start in range(0, len(tokens), engine.ubatch):
            engine.feed(tokens[start : start + engine.ubatch])

    return feed


@pytest.mark.parametrize("architecture", [*MIXTURES, *DENSE])
def test_moments_are_those_of_the_inputs(tiny, tmp_path, architecture):
    found, capture = calibrated(tiny(architecture), tmp_path)
    names = {name for name, *_ in capture.products}
    assert found.same_input.keys() == names and found.n_tokens == 96
    for name in names:
        moments = found.moments(name)
        for matrix in range(len(moments.counts)):
            rows = capture.inputs(name, matrix).astype(np.float64)
            assert moments.counts[matrix] == len(rows)
            if len(rows):
                assert np.allclose(moments.mean[matrix], rows.mean(axis=0), rtol=1e-4, atol=1e-6), name
                assert np.allclose(moments.variance[matrix], rows.var(axis=0), rtol=1e-4, atol=1e-6), name
                assert np.allclose(moments.importance[matrix], (rows**2).mean(axis=0), rtol=1e-5), name
            else:
                assert (moments.importance[matrix] == 1).all() and (moments.mean[matrix] == 0).all()


@pytest.mark.parametrize("architecture", MIXTURES)
def test_saliency_and_stream_are_those_of_the_outputs(tiny, tmp_path, architecture):
    path = tiny(architecture)
    found, capture = calibrated(path, tmp_path)
    assert set(found.experts) == {tensor.layer for tensor in open_model(path).routed_experts()}
    for layer, use in found.experts.items():
        told = [(outputs, ids) for number, outputs, ids in capture.outputs if number == layer]
        norms = np.concatenate([np.linalg.norm(outputs.astype(np.float64), axis=2) for outputs, _ in told])
        ids = np.concatenate([ids for _, ids in told])
        for expert in range(len(use.routed)):
            of_expert = norms[ids == expert]
            assert use.routed[expert] == len(of_expert)
            expected = (of_expert.mean(), of_expert.sum(), of_expert.max()) if len(of_expert) else (0, 0, 0)
            measured = (use.saliency[expert], use.norm_sums[expert], use.peaks[expert])
            assert np.allclose(measured, expected, rtol=1e-6)
    for layer, residual in enumerate(found.residual):
        values = np.concatenate([values for number, values in capture.streams if number == layer])
        assert np.isclose(residual, (values.astype(np.float64) ** 2).sum(axis=1).mean(), rtol=1e-9)


def test_weights_with_the_same_input_share_their_moments(tiny, tmp_path):
    found, _ = calibrated(tiny("qwen3moe"), tmp_path)
    gate, up, down = (found.same_input[f"blk.1.ffn_{part}_exps.weight"] for part in ("gate", "up", "down"))
    assert gate == up != down
    assert found.moments("token_embd.weight") is None and found.importance("nothing") is None


@pytest.mark.parametrize("architecture", [*MIXTURES, *DENSE])
def test_the_memory_announced_is_enough_and_not_far_off(tiny, tmp_path, architecture):
    model = open_model(tiny(architecture))
    found, _ = calibrated(tiny(architecture), tmp_path)
    parts = [*found.moments_by_first.values(), *found.experts.values()]
    held = sum(array.nbytes for part in parts for array in vars(part).values())
    assert held <= accumulator_bytes(model) - SCRATCH_BYTES <= 5 * held


def test_an_imatrix_of_it_has_its_importances(tiny, tmp_path):
    found, _ = calibrated(tiny("deepseek2"), tmp_path)
    write_imatrix(tmp_path / "it.gguf", found.to_imatrix())
    read = read_imatrix(tmp_path / "it.gguf")
    assert (read.chunk_count, read.chunk_size, read.datasets) == (4, 24, ("a text",))
    shapes = {tensor.name: tensor.shape for tensor in open_model(tiny("deepseek2")).tensors}
    assert read.entries.keys() == found.same_input.keys()
    for name in read.entries:
        assert np.array_equal(read.fitted(shapes).importance(name), found.importance(name)), name


def test_samples_are_inputs_and_all_of_them_while_there_is_room(tiny, tmp_path):
    path = tiny("qwen3moe")
    samples = default_samples(open_model(path), rows_of_one=20, rows_of_each=1000)
    found, capture = calibrated(path, tmp_path, samples)
    kinds = {name.split(".")[2] for name in samples}
    assert kinds == {"ffn_down_exps", "attn_output", "ffn_gate_inp"} and len(samples) == 12
    for name in samples:
        for matrix in range(len(found.seen[name])):
            rows = capture.inputs(name, matrix).astype(np.float16).astype(np.float32)
            kept = found.samples(name, matrix)
            assert kept.dtype == np.float32 and len(kept) == min(len(rows), 1000 if "exps" in name else 20)
            assert {row.tobytes() for row in kept} <= {row.tobytes() for row in rows}
            if "exps" in name:
                assert np.array_equal(kept, rows)
    assert found.samples("blk.0.attn_q.weight").shape == (0, 256)


def test_samples_do_not_depend_on_the_ubatch(tiny, tmp_path):
    """A model whose arithmetic does not depend on it either is not at hand: rows are compared by number."""
    layout = sample_layout(open_model(tiny("qwen3moe")), {"blk.0.attn_output.weight": 7})
    assert layout.size_bytes == 2 * 7 * layout.places["blk.0.attn_output.weight"].n_in
    path, name = tiny("qwen3moe"), "blk.0.attn_output.weight"
    chosen = []
    for ubatch in (5, 24):
        options = EngineOptions(context=256, ubatch=ubatch, threads=2, extra_buffers=False)
        found, capture = calibrated(path, tmp_path / str(ubatch), {name: 7}, options)
        rows = capture.inputs(name)
        kept = found.samples(name)
        chosen.append([int(np.abs(rows - row).max(axis=1).argmin()) for row in kept])
    assert chosen[0] == chosen[1] and len(set(chosen[0])) == 7


def test_a_text_shorter_than_a_window_is_a_usage_error():
    with pytest.raises(UsageError, match=r"too short for one window; 9 tokens, 24 needed; use a longer one"):
        cut(range(9), 24)


def test_bos_takes_the_place_of_the_first_token():
    windows = cut(list(range(10, 30)), 8, bos=1)
    assert whole(windows, 1) == [1, 19, 20, 21, 22, 23, 24, 25]


def test_many_small_sums_lose_nothing():
    """A million evaluations would lose what float32 cannot add; a thousand lose less than the bound says."""
    random, moments, rows = np.random.default_rng(1), Moments.empty(1, 3), []
    for _ in range(1000):
        rows.append(random.normal(100, 1, (4, 3)).astype(np.float32))
        moments.add(0, rows[-1])
    exact = (np.concatenate(rows).astype(np.float64) ** 2).sum(axis=0)
    assert np.abs(moments.squares[0] / exact - 1).max() < 1000 * 6e-8
    assert moments.counts[0] == 4000


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_activations_that_are_no_numbers_are_refused(value):
    with pytest.raises(ModelFileError, match="activations are no numbers"):
        Moments.empty(1, 2).add(0, np.array([[1, value]], np.float32))


def test_a_graph_that_changes_its_sharing_is_refused(tiny):
    collector = Collector(open_model(tiny("qwen3moe")))
    rows = np.ones((2, 256), np.float32)
    collector.begin()
    for name in ("attn_q", "attn_k"):
        collector.product(Product(f"blk.0.{name}.weight", rows, None, (1, 0)))
    collector.begin()
    with pytest.raises(EngineError, match="graph changed"):
        collector.product(Product("blk.0.attn_k.weight", rows, None, (1, 0)))


def test_the_peak_of_a_super_expert_stands_out():
    use = ExpertUse.empty(3)
    outputs = np.ones((4, 1, 16), np.float32)
    outputs[2] = 1000
    use.add(outputs, np.array([[0], [1], [1], [0]], np.int32))
    assert use.peaks.tolist() == [4, 4000, 0] and use.saliency.tolist() == [4, 2002, 0]
