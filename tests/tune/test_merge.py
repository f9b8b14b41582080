"""A merged file against sums made here: exact in float32, ggml's own quantisation of the sum elsewhere."""

import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader
from gguf.quants import dequantize
from numpy.typing import NDArray

from sixgig.compress import write as writing
from sixgig.compress.merge import merge
from sixgig.compress.write import Job, row_bytes, write_model
from sixgig.errors import ModelFileError
from sixgig.families import Role
from sixgig.inference.adapters import Adapter
from sixgig.inference.engine import Engine
from sixgig.llamacpp.blocks import needs_importance, quantise_rows
from sixgig.modelfile import TYPE_BY_NAME, open_model
from sixgig.modelfile.lora import Lora, write_lora
from sixgig.weights.merged import MergedWeights
from sixgig.weights.stored import StoredWeights
from tests.paged.engines import OPTIONS, logits_of

Tiny = Callable[..., Path]
Floats = NDArray[np.float32]
SIZES = {"n_layers": 1, "n_experts": 4}
ADAPTED = ("attn_q", "attn_output", "ffn_gate_exps", "ffn_down_exps", "output")


def random_lora(path: Path, names: Sequence[str] = ADAPTED, size: float = 0.3) -> Lora:
    """Pairs for the tensors of these names, ranks 2 to 4; size: of the change, against the weights'."""
    random, alpha, pairs = np.random.default_rng(4), 5, {}
    for name, weights in values(path).items():
        if name.removesuffix(".weight").split(".")[-1] in names:
            *stack, n_out, n_in = weights.shape
            rank = 2 + n_out % 2 + len(stack)
            a = random.normal(0, n_in**-0.5, (*stack, rank, n_in)).astype(np.float32)
            b = random.normal(0, size * weights.std(), (*stack, n_out, rank)).astype(np.float32)
            pairs[name] = a, b * np.float32((n_in * rank) ** 0.5 / alpha)
    return Lora(open_model(path).architecture, alpha, pairs)


def product(lora: Lora, name: str) -> NDArray[np.float64]:
    """Without float32's rounding, one matrix at a time."""
    a, b = (factor.astype(np.float64) for factor in lora.pairs[name])
    return lora.alpha / a.shape[-2] * np.einsum("...or,...ri->...oi", b, a)


def values(path: Path) -> dict[str, Floats]:
    """By the gguf package."""
    return {t.name: dequantize(t.data, t.tensor_type) for t in GGUFReader(path).tensors}


def raw(path: Path) -> dict[str, tuple[str, bytes]]:
    return {t.name: (t.tensor_type.name, t.data.tobytes()) for t in GGUFReader(path).tensors}


def in_type(source: Path, out: Path, type_name: str) -> Path:
    """The model with every matrix of a layer in this type."""
    weights, kind = StoredWeights(open_model(source)), TYPE_BY_NAME[type_name]
    plain = (Role.NORM, Role.ROUTER)
    types = {info.name: info.type if info.role in plain else kind for info in weights.tensors}
    write_model(Job(weights, types, lambda name: None, {}), out, 2)
    return out


@pytest.fixture(scope="module")
def source(tiny: Tiny) -> Path:
    return tiny("qwen3moe", "F32", **SIZES)


# Rows that do not divide a matrix, a matrix and a half, everything at once.
@pytest.mark.parametrize("elements", [256 * 100, 256 * 384, 1 << 30])
def test_a_float32_file_holds_the_sum(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, elements: int
) -> None:
    """To float32's rounding; what is not adapted keeps its bytes."""
    monkeypatch.setattr(writing, "CHUNK_ELEMENTS", elements)
    lora = random_lora(source)
    merge(open_model(source), lora, tmp_path / "out.gguf", 2)
    before, after = values(source), values(tmp_path / "out.gguf")
    assert len(lora.pairs) == len(ADAPTED) and before.keys() == after.keys()
    for name, found in after.items():
        if name in lora.pairs:
            wanted = before[name] + product(lora, name)
            assert np.abs(found - wanted).max() < 1e-6 < 1e-2 < np.abs(found - before[name]).max(), name
        else:
            assert found.tobytes() == before[name].tobytes(), name


@pytest.mark.parametrize(
    "type_name",
    ["F16", "BF16", "Q8_0", "Q5_1", "Q4_K", "Q2_K", "IQ4_XS", "IQ3_S", "IQ2_XXS", "MXFP4", "TQ2_0"],
)
def test_each_type_holds_ggmls_quantisation_of_the_sum(source: Path, tmp_path: Path, type_name: str) -> None:
    """Also those that ggml does not quantise to without importances: all inputs count alike."""
    base, lora = in_type(source, tmp_path / "base.gguf", type_name), random_lora(source)
    assert merge(open_model(base), lora, tmp_path / "out.gguf", 2, same_types=True) == {}
    weights, kind = MergedWeights(StoredWeights(open_model(base)), lora), TYPE_BY_NAME[type_name]
    before, after = raw(base), raw(tmp_path / "out.gguf")
    assert before.keys() == after.keys()
    for info in weights.tensors:
        if info.name not in lora.pairs:
            assert after[info.name] == before[info.name]
            continue
        rows = StoredWeights(open_model(base)).rows(info.name, 0, info.n_rows)
        total = np.float32(rows + product(lora, info.name).reshape(rows.shape))
        assert np.abs(weights.rows(info.name, 0, info.n_rows) - total).max() < 1e-6
        wanted = np.empty((info.n_rows, row_bytes(info.row_length, kind)), np.uint8)
        alike = np.ones(info.row_length, np.float32) if needs_importance(kind.id) else None
        quantise_rows(kind.id, weights.rows(info.name, 0, info.n_rows), alike, wanted)
        assert after[info.name] == (type_name, wanted.tobytes()) != before[info.name]


def share_kept(base: Path, merged: Path, lora: Lora, name: str) -> float:
    """Of the change, along itself, over the whole tensor."""
    delta = product(lora, name)
    return float(((values(merged)[name] - values(base)[name]) * delta).sum() / (delta**2).sum())


# A change as large as tuning makes it, about a hundredth of the weights; and a far larger one.
@pytest.mark.parametrize("type_name", ["F16", "Q8_0", "Q6_K", "Q4_K", "IQ3_S", "MXFP4"])
@pytest.mark.parametrize("size", [0.01, 0.3])
def test_the_change_is_in_the_file(source: Path, tmp_path: Path, type_name: str, size: float) -> None:
    """In a larger type where its own rounds it away; what is not adapted keeps type and bytes."""
    base, lora = in_type(source, tmp_path / "base.gguf", type_name), random_lora(source, size=size)
    changed = merge(open_model(base), lora, tmp_path / "out.gguf", 2)
    before, after = raw(base), raw(tmp_path / "out.gguf")
    for name, (kind, stored) in after.items():
        assert kind == (changed[name].name if name in changed else before[name][0])
        assert name in lora.pairs or stored == before[name][1]
    assert changed.keys() <= lora.pairs.keys()
    assert bool(changed) == (size == 0.01 and type_name not in ("F16", "Q8_0")), changed
    assert all(share_kept(base, tmp_path / "out.gguf", lora, name) > 0.85 for name in lora.pairs)


def test_the_own_type_may_lose_it(source: Path, tmp_path: Path) -> None:
    """Why larger types are there: nearly all of it is gone."""
    base, lora = in_type(source, tmp_path / "base.gguf", "Q4_K"), random_lora(source, size=0.01)
    merge(open_model(base), lora, tmp_path / "out.gguf", 2, same_types=True)
    assert all(share_kept(base, tmp_path / "out.gguf", lora, name) < 0.1 for name in lora.pairs)


def test_an_adapter_that_was_not_trained_changes_nothing(source: Path, tmp_path: Path) -> None:
    base, lora = in_type(source, tmp_path / "base.gguf", "Q4_0"), random_lora(source, size=0)
    assert merge(open_model(base), lora, tmp_path / "out.gguf", 2) == {}
    assert raw(tmp_path / "out.gguf") == raw(base)


@pytest.mark.parametrize("architecture", ["qwen35moe", "llama", "phi3"])
def test_the_engine_computes_what_it_does_with_the_sum(tiny: Tiny, tmp_path: Path, architecture: str) -> None:
    """A file whose numbers are written over in place, and llama.cpp applying the adapter by itself."""
    path = tiny(architecture, "F32", n_layers=4)
    lora = random_lora(path, (*ADAPTED, "attn_qkv", "ssm_out", "ffn_up_shexp", "ffn_up"))
    merge(open_model(path), lora, tmp_path / "merged.gguf", 2)
    content = bytearray(path.read_bytes())
    for tensor in GGUFReader(path).tensors:
        if tensor.name in lora.pairs:
            total = (tensor.data + product(lora, tensor.name)).astype("<f4").tobytes()
            content[tensor.data_offset : tensor.data_offset + len(total)] = total
    (tmp_path / "numpy.gguf").write_bytes(content)
    write_lora(tmp_path / "lora.gguf", lora, "lora")
    adapter = Adapter.open(tmp_path / "lora.gguf", open_model(path))
    merged, by_numpy = logits(tmp_path / "merged.gguf"), logits(tmp_path / "numpy.gguf")
    assert np.abs(merged - by_numpy).max() < 2e-3 < 0.1 < np.abs(merged - logits(path)).max()
    assert np.abs(merged - logits(path, adapter)).max() < 2e-3


def logits(path: Path, adapter: Adapter | None = None) -> Floats:
    with Engine(path, OPTIONS, adapter=adapter) as engine:
        return logits_of(engine)


def test_a_split_model_becomes_one_file(tiny: Tiny, tmp_path: Path, source: Path) -> None:
    parts, lora = tiny("qwen3moe", "F32", max_tensors_per_file=5, **SIZES), random_lora(source)
    assert len(open_model(parts).parts) > 1
    for path, out in ((parts, "a"), (source, "b")):
        merge(open_model(path), lora, tmp_path / out, 2)
    assert raw(tmp_path / "a") == raw(tmp_path / "b")
    assert len(open_model(tmp_path / "a").parts) == 1


def test_a_part_of_another_adapter_is_not_taken(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor one of the same with another alpha."""
    lora = random_lora(source)
    pairs = {name: (a, 2 * b) for name, (a, b) in lora.pairs.items()}
    monkeypatch.setattr(writing, "SYNC_S", 0.0)
    merge(open_model(source), lora, tmp_path / "whole", 1)
    for number, other in enumerate((replace(lora, pairs=pairs), replace(lora, alpha=9))):
        out = tmp_path / f"{number}.gguf"

        def stop(fraction: float) -> None:
            if fraction > 0.9:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            merge(open_model(source), other, out, 1, stop)
        assert out.with_name(out.name + ".part.json").exists()
        merge(open_model(source), lora, out, 1)
        assert out.read_bytes() == (tmp_path / "whole").read_bytes()


def test_memory_is_bounded_by_chunks(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stack of experts is 8 MiB; chunks and samples are less."""
    path = tiny("qwen3moe", "F32", n_layers=1, n_experts=32)
    lora = random_lora(path, ("ffn_gate_exps",))
    monkeypatch.setattr(writing, "CHUNK_ELEMENTS", 256 * 64)
    merge(open_model(path), lora, tmp_path / "warm.gguf", 2)
    tracemalloc.start()
    merge(open_model(path), lora, tmp_path / "out.gguf", 2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


def pair(*shapes: tuple[int, ...]) -> tuple[Floats, Floats]:
    a, b = (np.ones(shape, np.float32) for shape in shapes)
    return a, b


WRONG = {
    "no such tensor": ("blk.7.attn_q.weight", pair((2, 256), (256, 2)), "no blk.7.attn_q.weight"),
    "other inputs": ("blk.0.attn_q.weight", pair((2, 128), (256, 2)), "other shapes"),
    "fewer experts": ("blk.0.ffn_up_exps.weight", pair((3, 2, 256), (3, 256, 2)), "other shapes"),
    "a norm": ("blk.0.attn_norm.weight", pair((2, 256), (1, 2)), "norm"),
    "a router": ("blk.0.ffn_gate_inp.weight", pair((2, 256), (4, 2)), "router"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    source: Path, tmp_path: Path, case: str
) -> None:
    name, factors, said = WRONG[case]
    with pytest.raises(ModelFileError, match=said):
        merge(open_model(source), Lora("qwen3moe", 2, {name: factors}), tmp_path / "out.gguf", 2)
    assert not any(tmp_path.iterdir())
