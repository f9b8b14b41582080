"""A text dealt out: nothing lost, nothing twice, and never judged on what shaped the model."""

from itertools import chain, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sixgig.compress.texts import BLOCK_CHARACTERS, SEPARATOR, divide
from sixgig.errors import UsageError

N_BLOCKS = 24


def paragraphs(seed: str, count: int, length: int = 40) -> list[str]:
    """Each of its own words."""
    return [" ".join(f"{seed}{number}w{word}" for word in range(length)) + "\n\n" for number in range(count)]


def text_of(seed: str = "a", blocks: int = N_BLOCKS) -> str:
    made = paragraphs(seed, blocks * 40)
    assert sum(map(len, made)) > blocks * BLOCK_CHARACTERS
    return "".join(made)


@settings(max_examples=20, deadline=None)
@given(st.integers(8, 40), st.integers(5, 400))
def test_parts_are_disjoint_and_together_the_text(blocks: int, length: int) -> None:
    count = -(-blocks * (BLOCK_CHARACTERS + 4000) // (8 * length))
    whole = paragraphs("p", max(count, 60), length)
    try:
        texts = divide("".join(whole), None)
    except UsageError:
        assert len("".join(whole)) < 8 * (BLOCK_CHARACTERS + max(map(len, whole)))
        return
    parts = [texts.calibration, texts.search, texts.held_out]
    places = [[number for number, piece in enumerate(whole) if piece in part] for part in parts]
    assert sorted(chain(*places)) == list(range(len(whole))), "each paragraph in one part, none cut"
    assert sum(map(len, parts)) == len("".join(whole))
    for part, place in zip(parts, places, strict=True):
        assert part == "".join(whole[number] for number in place), "in their order"


def test_shares_are_six_one_and_one_of_eight() -> None:
    texts = divide(text_of(), None)
    sizes = [len(part) for part in (texts.calibration, texts.search, texts.held_out)]
    assert [size / sum(sizes) for size in sizes] == pytest.approx([0.75, 0.125, 0.125], abs=0.03)


def test_every_part_has_every_domain() -> None:
    """A text of three thirds: each part holds some of each."""
    texts = divide("".join(text_of(seed, 16) for seed in ("law", "code", "poem")), None)
    for part in (texts.calibration, texts.search, texts.held_out):
        assert all(seed in part for seed in ("law", "code", "poem"))


def test_a_text_to_judge_on_leaves_all_of_the_other_to_calibrate() -> None:
    text, other = text_of(), text_of("other", 2)
    texts = divide(text, other)
    assert texts.held_out == other
    assert len(texts.calibration) + len(texts.search) == len(text)
    assert len(texts.search) / len(text) == pytest.approx(1 / 8, abs=0.03)


@pytest.mark.parametrize(("share", "refused"), [(0.0, False), (0.01, False), (0.04, True), (1.0, True)])
def test_a_judging_text_that_was_calibrated_on_is_refused(share: float, refused: bool) -> None:
    """Above one word in fifty; headings and licences recur."""
    text = text_of()
    shared, own = paragraphs("a", round(200 * share)), paragraphs("b", 200 - round(200 * share))
    held_out = "".join([*own, *shared]).upper()
    if not refused:
        assert divide(text, held_out).held_out == held_out
        return
    with pytest.raises(UsageError, match=r"part of the calibration text; .*% of its words.*--held-out"):
        divide(text, held_out)


def test_a_judging_text_that_was_searched_on_is_refused() -> None:
    text = text_of()
    with pytest.raises(UsageError, match="part of the calibration text"):
        divide(text, divide(text, None).search)


@pytest.mark.parametrize(
    ("text", "passages"), [("", 0), ("words", 1), ("\n\n" * 9, 1), ("x" * (8 * BLOCK_CHARACTERS), 1)]
)
def test_too_short_a_text_is_refused_with_the_numbers(text: str, passages: int) -> None:
    """Also a long one without paragraphs: there is nowhere to divide it."""
    numbers = rf"{len(text)} characters give {passages} passages, 8 needed; .*empty line"
    with pytest.raises(UsageError, match=rf"too short; {numbers}; .*--text"):
        divide(text, None)


def test_separators_of_documents_end_paragraphs() -> None:
    pieces = [piece.strip() for piece in paragraphs("a", 40 * N_BLOCKS)]
    texts = divide(SEPARATOR.join(pieces), None)
    whole = texts.calibration + texts.search + texts.held_out
    assert SEPARATOR not in whole and all(piece in whole for piece in pieces[:50])


def test_blocks_are_of_the_size_said() -> None:
    """Search blocks lie eight apart: what is between two of them is seven blocks."""
    text = text_of()
    search = divide(text, None).search
    starts = [at for at in range(len(text)) if text.startswith("\n\n", at)]
    places = [text.index(piece) for piece in search.split("\n\n") if piece]
    gaps = [b - a for a, b in pairwise(places) if b - a > BLOCK_CHARACTERS]
    assert starts and all(gap >= 7 * BLOCK_CHARACTERS for gap in gaps)
