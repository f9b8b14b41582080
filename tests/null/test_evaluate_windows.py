import pytest
from hypothesis import given
from hypothesis import strategies as st

from sixgig.errors import UsageError
from sixgig.evaluate import cut, overlap, rest


@given(st.lists(st.integers(0, 99), max_size=80), st.integers(4, 20), st.sampled_from([None, 7]))
def test_windows_do_not_overlap_and_score_the_second_half(tokens, context, bos):
    if len(tokens) < context:
        with pytest.raises(UsageError, match=f"{len(tokens)} tokens, {context} needed"):
            cut(tokens, context, bos)
        return
    windows = cut(tokens, context, bos)
    assert len(windows) == len(tokens) // context
    assert windows.n_scored == len(range(context // 2, context - 1))
    for number in range(len(windows)):
        whole = tokens[number * context : (number + 1) * context]
        fed, targets = windows.inputs(number), windows.targets(number).tolist()
        assert fed[1:] == whole[1:-1] and fed[0] == (whole[0] if bos is None else bos)
        assert targets == whole[context // 2 + 1 :] and len(targets) == windows.n_scored


def test_a_limit_takes_the_first_windows():
    windows = cut(range(100), 10, limit=3)
    assert windows.tokens.ravel().tolist() == list(range(30))
    assert len(cut(range(100), 10, limit=30)) == 10
    assert len(windows.leading(2)) == 2 and len(windows.leading(None)) == 3


@pytest.mark.parametrize(("context", "limit"), [(3, None), (1 << 25, None), (10, 0)])
def test_impossible_lengths_are_refused(context, limit):
    with pytest.raises(UsageError, match="not possible"):
        cut(range(100), context, limit=limit)


WORDS = [f"word{number}" for number in range(400)]


def test_texts_with_nothing_in_common():
    found = overlap(" ".join(WORDS[:200]), " ".join(WORDS[200:]))
    assert not found and found.share == 0 and found.example == ""


def test_a_shared_passage_is_found_whatever_its_case_and_spacing():
    passage = WORDS[100:150]
    first = " ".join(WORDS[:200])
    second = " ".join(WORDS[300:400]) + "\n\n" + "  ".join(passage).upper() + "\n" + " ".join(WORDS[200:250])
    found = overlap(first, second)
    assert found and found.n_words == 50 and found.share == 50 / 200
    assert found.example.lower().split() == passage[:32]


def test_a_passage_shorter_than_a_run_is_not():
    second = " ".join(WORDS[300:400] + WORDS[100:131] + WORDS[200:250])
    assert not overlap(" ".join(WORDS[:200]), second)


def test_a_short_text_is_looked_for_as_a_whole():
    text = " ".join(WORDS)
    assert overlap(text, " ".join(WORDS[5:9])).share == 1
    assert not overlap(text, "word5 word7") and not overlap(text, "") and not overlap("", text)


@given(st.lists(st.integers(0, 2), max_size=60), st.lists(st.integers(0, 2), max_size=60), st.integers(1, 6))
def test_overlap_is_what_comparing_every_run_gives(first, second, n_words):
    known, asked = [str(word) for word in first], [str(word) for word in second]
    size = min(n_words, len(known), len(asked))
    runs = {tuple(known[i : i + size]) for i in range(len(known) - size + 1)}
    covered = set[int]()
    for i in range(len(asked) - size + 1):
        if size and tuple(asked[i : i + size]) in runs:
            covered |= set(range(i, i + size))
    assert overlap(" ".join(known), " ".join(asked), n_words).n_words == len(covered)


TEXTS = st.lists(st.integers(0, 2), max_size=60)


@given(TEXTS, TEXTS, st.integers(1, 6))
def test_the_rest_shares_no_run_with_the_other_text(first, second, n_words):
    known, asked = (" ".join(f"w{word}" for word in words) for words in (first, second))
    found = rest(known, asked, n_words)
    assert not overlap(known, found.text, n_words), "also across what was taken out"
    assert found.n_words == len(second) and found.n_words - found.n_dropped == len(found.text.split())
    assert bool(found.n_dropped) == bool(found.n_passages) == bool(found.example)
    assert found.n_dropped >= overlap(known, asked, n_words).n_words


@given(st.lists(st.text(st.sampled_from("ab \n\t\u3000"), max_size=9), max_size=20), st.integers(1, 6))
def test_a_text_without_repeats_loses_nothing(pieces, n_words):
    """Not a space of it."""
    second = "".join(f"{piece}own{number}" for number, piece in enumerate(pieces))
    assert rest("other words here " * 9, second, n_words).text == second


def test_what_is_taken_out_leaves_a_gap_and_the_rest_as_it_was():
    shared, own = " ".join(WORDS[:40]), ["One,  two\n three", "four   five.\n"]
    found = rest("x " + shared.upper() + " y", f"{own[0]} {shared}\n{own[1]}")
    assert found.text == f"{own[0]}\n\nfour   five."
    assert (found.n_words, found.n_dropped, found.n_passages) == (45, 40, 1)
    assert found.example.split() == WORDS[:32]
