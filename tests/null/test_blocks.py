"""ggml's quantisers and dequantisers against the gguf package's, type by type."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from gguf import GGMLQuantizationType
from gguf.quants import dequantize

from sixgig.compress.write import row_bytes
from sixgig.errors import EngineError
from sixgig.llamacpp.blocks import dequantise_rows, needs_importance, prepare, quantise_rows
from sixgig.modelfile import TYPE_BY_NAME

N_ROWS, LENGTH = 5, 512
QUANTISED = [
    "Q4_0",
    "Q4_1",
    "Q5_0",
    "Q5_1",
    "Q8_0",
    "Q2_K",
    "Q3_K",
    "Q4_K",
    "Q5_K",
    "Q6_K",
    "IQ1_S",
    "IQ1_M",
    "IQ2_XXS",
    "IQ2_XS",
    "IQ2_S",
    "IQ3_XXS",
    "IQ3_S",
    "IQ4_NL",
    "IQ4_XS",
    "TQ1_0",
    "TQ2_0",
    "MXFP4",
]
FLOATS = ("F32", "F16", "BF16")
# ggml builds tables of many seconds before it quantises to these.
SLOW = {"IQ1_S", "IQ1_M", "IQ2_XS", "IQ2_S"}
QUICK = [name for name in QUANTISED if name not in SLOW]
ONLY_WITH_IMPORTANCE = {"IQ1_S", "IQ2_XXS", "IQ2_XS"}


def values(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((N_ROWS, LENGTH), np.float32)


def importance() -> np.ndarray:
    return np.random.default_rng(1).uniform(0.1, 3, LENGTH).astype(np.float32)


def stored(name: str, rows: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    kind = TYPE_BY_NAME[name]
    prepare(kind.id)
    out = np.zeros((len(rows), row_bytes(rows.shape[1], kind)), np.uint8)
    quantise_rows(kind.id, rows, weights, out)
    return out


def back(name: str, blocks: np.ndarray) -> np.ndarray:
    out = np.full((len(blocks), LENGTH), np.nan, np.float32)
    dequantise_rows(TYPE_BY_NAME[name].id, blocks, out)
    return out


def by_gguf(name: str, blocks: np.ndarray) -> np.ndarray:
    raw = blocks.view(np.float16) if name == "F16" else blocks
    return np.asarray(dequantize(raw, GGMLQuantizationType(TYPE_BY_NAME[name].id)))


@pytest.mark.parametrize("name", [*QUICK, "F16", "BF16"])
def test_what_was_quantised_is_read_as_by_the_gguf_package(name: str) -> None:
    blocks = stored(name, values(), importance())
    found = back(name, blocks)
    assert np.allclose(found, by_gguf(name, blocks), rtol=1e-6, atol=1e-7)
    assert np.mean((found - values()) ** 2) < 0.8, "the blocks are of these values"


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", [*QUANTISED, "F16", "BF16"])
def test_any_bits_are_read_as_by_the_gguf_package(name: str) -> None:
    size = (64, row_bytes(LENGTH, TYPE_BY_NAME[name]))
    blocks = np.random.default_rng(2).integers(0, 256, size, np.uint8)
    found, expected = back(name, blocks), by_gguf(name, blocks)
    plain = np.isfinite(expected)
    assert plain.mean() > 0.5 and np.array_equal(plain, np.isfinite(found))
    assert np.allclose(found[plain], expected[plain], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", FLOATS)
def test_float_types_round_and_no_more(name: str) -> None:
    found = back(name, stored(name, values(), None))
    assert np.abs(found / values() - 1).max() <= {"F32": 0, "F16": 2**-11, "BF16": 2**-8}[name]
    assert np.array_equal(back(name, stored(name, found, None)), found)


def test_float32_is_copied_to_the_bit() -> None:
    odd = np.array([[0.0, -0.0, np.inf, -np.inf, 1e-42, 3.4e38]], np.float32)
    blocks, out = odd.view(np.uint8), np.empty_like(odd)
    dequantise_rows(TYPE_BY_NAME["F32"].id, blocks, out)
    assert out.tobytes() == odd.tobytes()


@pytest.mark.parametrize("name", QUANTISED)
def test_which_types_need_importances(name: str) -> None:
    assert needs_importance(TYPE_BY_NAME[name].id) == (name in ONLY_WITH_IMPORTANCE)


@pytest.mark.parametrize("name", ["Q4_K", "IQ3_S", "Q4_0"])
def test_importances_lower_the_weighted_error(name: str) -> None:
    weights = np.where(np.arange(LENGTH) % 7 == 0, 100.0, 0.01).astype(np.float32)
    errors = [
        ((back(name, stored(name, values(), given)) - values()) ** 2 * weights).sum()
        for given in (weights, None)
    ]
    assert errors[0] < 0.9 * errors[1]


@pytest.mark.parametrize("name", ["Q4_K", "IQ2_XXS", "Q8_0"])
def test_threads_give_what_one_row_at_a_time_gives(name: str) -> None:
    rows = [values(seed) for seed in range(8)]
    weights = importance()
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda each: stored(name, each, weights), rows))
    for each, found in zip(rows, together, strict=True):
        alone = np.concatenate([stored(name, each[at : at + 1], weights) for at in range(N_ROWS)])
        assert np.array_equal(found, alone)


def test_a_wrong_number_of_bytes_is_an_error() -> None:
    prepare(TYPE_BY_NAME["Q8_0"].id)
    out = np.zeros((N_ROWS, 2 * LENGTH), np.uint8)
    with pytest.raises(EngineError, match=rf"{N_ROWS * LENGTH // 32 * 34} of {N_ROWS * 2 * LENGTH}"):
        quantise_rows(TYPE_BY_NAME["Q8_0"].id, values(), None, out)


def test_a_type_that_is_no_weight_is_an_error() -> None:
    out = np.empty((1, LENGTH), np.float32)
    with pytest.raises(EngineError, match="cannot read storage type 26"):
        dequantise_rows(TYPE_BY_NAME["I32"].id, np.zeros((1, 4 * LENGTH), np.uint8), out)
