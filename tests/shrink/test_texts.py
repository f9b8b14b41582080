"""A text dealt out: nothing lost, nothing twice, and never judged on what shaped the model."""

import re
from itertools import chain, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sixgig.compress.texts import ADVISED_CHARACTERS, BLOCK_CHARACTERS, SEPARATOR, divide
from sixgig.errors import UsageError
from sixgig.evaluate import overlap

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


@pytest.mark.parametrize("share", [0.0, 0.01, 0.04, 0.5])
def test_a_judging_text_loses_what_was_calibrated_on_and_nothing_else(share: float) -> None:
    """Headings and licences recur: what is left is judged on, and the user reads how much went."""
    text = text_of()
    shared, own = paragraphs("a", round(200 * share)), paragraphs("b", 200 - round(200 * share))
    held_out = "".join([*own, *shared]).upper()
    texts = divide(text, held_out)
    assert texts.held_out.split() == "".join(own).upper().split()
    assert (texts.held_out == held_out) == (share == 0)
    words = [f"{40 * len(shared)} of its 8000 words ({share:.1%}), 1 passage of"] if share else []
    assert [notice for notice in texts.notices if "left out" in notice] == [
        notice for notice in texts.notices if words and words[0] in notice and "judge" in notice
    ]


def test_a_judging_text_that_is_the_calibration_text_is_refused_with_the_numbers() -> None:
    text = text_of()
    numbers = r"(\d+) of its \1 words in .*; 0 characters are left, 2048 needed; .*--held-out"
    for held_out in (text, text.upper(), text + "\n\nand some words more"):
        with pytest.raises(UsageError, match="the text to judge on is part of the calibration text"):
            divide(text, held_out)
    with pytest.raises(UsageError, match=numbers):
        divide(text, text)


def test_a_judging_text_that_was_searched_on_is_refused() -> None:
    text = text_of()
    with pytest.raises(UsageError, match="part of the calibration text"):
        divide(text, divide(text, None).search)


def test_a_text_of_one_document_over_and_over_is_refused() -> None:
    with pytest.raises(UsageError, match="the text to search on is part of the calibration text"):
        divide(text_of(blocks=1) * 30, None)


LICENCE = " ".join(f"licence{number}" for number in range(150)) + "\n\n"


@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(1, 12), min_size=30, max_size=60), st.integers(0, 9))
def test_documents_with_a_common_header_are_dealt_out_without_it(sizes: list[int], seed: int) -> None:
    """Each part of its own words, but for the licence that each document begins with."""
    documents = ["".join(paragraphs(f"d{seed}n{number}-", size, 120)) for number, size in enumerate(sizes)]
    text = LICENCE.join(["", *documents])
    try:
        texts = divide(text, None)
    except UsageError as error:
        assert "too short" in str(error) and len(text) < 8 * (BLOCK_CHARACTERS + 2000)
        return
    assert not overlap(texts.calibration, texts.search)
    assert not overlap(texts.calibration + texts.search, texts.held_out)
    own = {word for document in documents for word in document.split()}
    dealt = [*texts.calibration.split(), *texts.search.split(), *texts.held_out.split()]
    assert sorted(word for word in dealt if word in own) == sorted(own), "nothing but the licence went"
    assert "licence" in texts.calibration


def test_a_text_of_which_three_words_in_a_hundred_recur_is_taken() -> None:
    """Forty words at the head of each document of 1,200: it was refused."""
    header = " ".join(f"header{number}" for number in range(40)) + "\n\n"
    documents = ["".join(paragraphs(f"d{number}-", 30)) for number in range(40)]
    texts = divide(header.join(["", *documents]), None)
    use = r"left out of the text to (search|judge) on: \d+ of its \d+ words \((\d\.\d)%\)"
    told = [re.match(use, notice) for notice in texts.notices if not notice.startswith("warning")]
    assert [found and found[1] for found in told] == ["search", "judge"]
    assert all(2 < float(found[2]) < 6 for found in told if found)


@pytest.mark.parametrize(("blocks", "warned"), [(12, True), (24, False)])
def test_a_text_shorter_than_advised_is_taken_with_a_warning_and_the_numbers(
    blocks: int, warned: bool
) -> None:
    text = text_of(blocks=blocks)
    assert (len(text) < ADVISED_CHARACTERS) == warned
    words = f"warning: the calibration text has {len(text)} characters, {ADVISED_CHARACTERS} or more"
    assert [notice[: len(words)] for notice in divide(text, None).notices] == [words] * warned


@pytest.mark.parametrize(
    ("text", "passages"), [("", 0), ("words", 1), ("\n\n" * 9, 1), ("x" * (8 * BLOCK_CHARACTERS), 1)]
)
def test_too_short_a_text_is_refused_with_the_numbers(text: str, passages: int) -> None:
    """Also a long one without paragraphs: there is nowhere to divide it."""
    numbers = rf"{len(text)} characters give {passages} passages?, 8 needed; .*empty line"
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
