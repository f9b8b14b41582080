"""Figures against a slow oracle: every token by itself, in float64, from the same stored reference."""

import math
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sixgig.errors import ModelFileError, UsageError
from sixgig.evaluate import BaseFile, BaseWriter, cut, evaluate, paired_ratio
from sixgig.evaluate.log_probabilities import CHUNK_VALUES, chunks, pack, row_length, unpack

CONTEXT, N_VOCAB, N_WINDOWS = 16, 301, 9


def model(seed: int, sharpness: float = 3.0, block: int = 3):
    """Logits that depend on seed and window, handed over in blocks."""

    def logits_of(tokens, first):
        random = np.random.default_rng([seed, *tokens])
        logits = (sharpness * random.standard_normal((len(tokens) - first, N_VOCAB))).astype(np.float32)
        for start in range(0, len(logits), block):
            yield logits[start : start + block]

    return logits_of


def mixed(share: float):
    """The first model with some of another one."""
    one, other = model(1), model(2)
    return lambda tokens, first: (
        (1 - share) * a + np.float32(share) * b
        for a, b in zip(one(tokens, first), other(tokens, first), strict=True)
    )


@pytest.fixture(scope="module")
def windows():
    tokens = np.random.default_rng(0).integers(N_VOCAB, size=CONTEXT * N_WINDOWS + 5)
    return cut(tokens.tolist(), CONTEXT, bos=1)


@pytest.fixture(scope="module")
def base_path(windows, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("base") / "reference.logits"
    with BaseWriter(path, windows, N_VOCAB) as writer:
        evaluate(windows, model(1), writer=writer)
    return path


def oracle(path: Path, logits_of, bos: int) -> dict[str, float]:
    """Everything from the file's bytes and the model's logits, one token at a time."""
    raw = path.read_bytes()
    context, n_vocab, count = struct.unpack("<3i", raw[8:20])
    at = 20
    tokens = np.frombuffer(raw, "<i4", context * count, at).reshape(count, context)
    at += 4 * context * count
    nll, base, kld, change, same = [], [], [], [], []
    for window in tokens:
        first = context // 2
        fed = [bos, *window[1:-1].tolist()]
        logits = np.concatenate(list(logits_of(fed, first))).astype(np.float64)
        for place in range(context - 1 - first):
            scale, lowest = np.frombuffer(raw, "<f4", 2, at).astype(np.float64)
            values = np.frombuffer(raw, "<u2", n_vocab, at + 8)
            at += 2 * (2 * ((n_vocab + 1) // 2) + 4)
            log_p = scale * values + lowest
            log_q = logits[place] - math.log(sum(math.exp(x) for x in logits[place]))
            target = window[first + 1 + place]
            nll.append(-log_q[target])
            base.append(-log_p[target])
            kld.append(sum(math.exp(p) * (p - q) for p, q in zip(log_p, log_q, strict=True) if p > -16))
            change.append(math.exp(log_q[target]) - math.exp(log_p[target]))
            same.append(int(np.argmax(log_q)) == int(np.argmax(log_p)))
    assert at == len(raw)
    n = len(nll)
    ordered = sorted(kld)

    def error(values):
        mean = sum(values) / n
        return math.sqrt((sum(v * v for v in values) / n - mean * mean) / (n - 1))

    def rank(share):
        place = share * (n - 1)
        low = int(place)
        return ordered[low] + (place - low) * (ordered[min(low + 1, n - 1)] - ordered[low])

    perplexity, base_perplexity = math.exp(sum(nll) / n), math.exp(sum(base) / n)
    rms = math.sqrt(sum(c * c for c in change) / n)
    top1 = sum(same) / n
    return {
        "perplexity": perplexity,
        "perplexity_error": perplexity * error(nll),
        "base_perplexity": base_perplexity,
        "base_perplexity_error": base_perplexity * error(base),
        "kld_mean": sum(kld) / n,
        "kld_error": error(kld),
        "kld_median": rank(0.5),
        "kld_p90": rank(0.9),
        "kld_p95": rank(0.95),
        "kld_p99": rank(0.99),
        "kld_p999": rank(0.999),
        "kld_max": ordered[-1],
        "same_top1": top1,
        "same_top1_error": math.sqrt(top1 * (1 - top1) / (n - 1)),
        "rms_p_change": rms,
        "rms_p_change_error": error([c * c for c in change]) / (2 * rms),
        "log_ratio": sum(nll) / n - sum(base) / n,
        "log_ratio_error": error([a - b for a, b in zip(nll, base, strict=True)]),
        "n_tokens": n,
        "n_windows": count,
    }


@pytest.mark.parametrize("share", [0.02, 0.3, 1.0])
def test_every_figure_is_the_oracles(windows, base_path, share):
    with BaseFile(base_path) as base:
        score = evaluate(windows, mixed(share), base=base)
    expected = oracle(base_path, mixed(share), bos=1)
    assert {name: score.to_json()[name] for name in expected} == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_a_model_hardly_differs_from_its_own_stored_reference(windows, base_path):
    with BaseFile(base_path) as base:
        score = evaluate(windows, model(1, block=5), base=base)
    assert score.divergence is not None and score.divergence.same_top1 == 1
    assert abs(score.divergence.kld_mean) < 1e-5


def test_without_a_reference_there_is_only_perplexity(windows):
    fractions = list[float]()
    score = evaluate(windows, model(1), progress=fractions.append)
    assert score.divergence is None and score.to_json()["kld_mean"] is None
    assert score.n_tokens == N_WINDOWS * 7 and score.windows.tolist() == np.repeat(range(9), 7).tolist()
    assert fractions == sorted(fractions) and fractions[-1] == 1


def test_uniform_predictions_have_the_vocabulary_as_perplexity(windows):
    flat = lambda tokens, first: [np.zeros((len(tokens) - first, N_VOCAB), np.float32)]  # noqa: E731
    score = evaluate(windows, flat)
    assert score.perplexity == pytest.approx(N_VOCAB) and score.perplexity_error == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_predictions_that_are_no_numbers_are_an_error(windows, value):
    def broken(tokens, first):
        for logits in model(1)(tokens, first):
            logits[-1, 5] = value
            yield logits

    with pytest.raises(ModelFileError, match=r"no numbers.*at 1 of 3 positions"):
        evaluate(windows, broken)


def test_a_token_of_no_probability_is_an_error(windows):
    def excluding(tokens, first):
        return [np.full((len(tokens) - first, N_VOCAB), -np.inf, np.float32) + np.eye(1, N_VOCAB, dtype="f4")]

    def one_hot(tokens, first):
        logits = np.full((len(tokens) - first, N_VOCAB), -np.inf, np.float32)
        logits[:, 0] = 1
        return [logits]

    with np.errstate(all="ignore"), pytest.raises(ModelFileError):
        evaluate(windows, excluding)
    with (
        np.errstate(all="ignore"),
        pytest.raises(ModelFileError, match="the model's loss is not finite"),
    ):
        evaluate(windows, one_hot)


def test_another_vocabulary_and_another_text_are_refused(windows, base_path):
    with BaseFile(base_path) as base:
        base.check_vocabulary(N_VOCAB)
        with pytest.raises(ModelFileError, match="301 tokens in the reference's, 302"):
            base.check_vocabulary(302)
        other = cut([*windows.tokens.ravel().tolist()[:20], *[3] * 100], CONTEXT, bos=1)
        with pytest.raises(ModelFileError, match=r"of another text.*token 2\d is"):
            evaluate(other, model(1), base=base)
        with pytest.raises(ModelFileError, match="windows of 16 tokens in the file, of 8"):
            evaluate(cut(windows.tokens.ravel().tolist()[:40], 8), model(1), base=base)
        more = cut([*windows.tokens.ravel().tolist(), *range(CONTEXT)], CONTEXT, bos=1)
        with pytest.raises(ModelFileError, match=r"too few windows.*9 in the file, 10 to score"):
            evaluate(more, model(1), base=base)


@given(st.integers(0, 2**32), st.integers(1, 40), st.floats(0.01, 30))
def test_packing_keeps_log_probabilities_within_a_step(seed, n_vocab, spread):
    logits = (spread * np.random.default_rng(seed).standard_normal((3, n_vocab))).astype(np.float32)
    rows = pack(logits)
    assert rows.shape == (3, row_length(n_vocab)) and rows.dtype == np.uint16
    exact = logits.astype(np.float64)
    exact -= np.log(np.exp(exact).sum(axis=1, keepdims=True))
    floor = exact.max(axis=1, keepdims=True) - 16
    assert np.abs(unpack(rows, n_vocab) - np.maximum(exact, floor)).max() < 16 / 65535 / 2 + 1e-5


def test_equal_and_excluded_tokens_are_packed_too():
    assert np.allclose(unpack(pack(np.ones((1, 4), np.float32)), 4), np.log(0.25), atol=1e-6)
    logits = np.array([[0, -np.inf, -40, 0]], np.float32)
    assert np.allclose(unpack(pack(logits), 4), np.log(0.5) + np.array([0, -16, -16, 0]), atol=1e-3)


def test_chunks_cover_all_rows_and_stay_small():
    for n_rows, n_vocab in ((1, 10), (700, 4096), (5, 3 * CHUNK_VALUES)):
        slices = list(chunks(n_rows, n_vocab))
        assert [i for one in slices for i in range(n_rows)[one]] == list(range(n_rows))
        assert all(len(range(n_rows)[one]) * n_vocab <= max(n_vocab, CHUNK_VALUES) for one in slices)


def test_a_paired_ratio_covers_the_truth_and_repeats_itself():
    random = np.random.default_rng(5)
    windows = np.repeat(np.arange(60), 20)
    weight = random.lognormal(size=60)[windows]
    first = 2.0 * weight * random.lognormal(sigma=0.2, size=1200)
    second = weight * random.lognormal(sigma=0.2, size=1200)
    ratio = paired_ratio(first, second, windows)
    assert ratio.lower < 2.0 < ratio.upper and ratio.lower < ratio.mean < ratio.upper
    assert ratio.upper - ratio.lower < 0.2  # what windows have in common cancels
    assert ratio == paired_ratio(first, second, windows) != paired_ratio(first, second, windows, seed=1)
    assert paired_ratio(second, second, windows).upper == pytest.approx(1)


def test_there_is_no_ratio_to_nothing():
    with pytest.raises(UsageError, match="no ratio"):
        paired_ratio([1.0, 2.0], [0.0, 0.0], [0, 1])
