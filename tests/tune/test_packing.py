"""What becomes of documents on the way to the steps: nothing lost, nothing twice, nothing leaks."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sixgig.errors import UsageError
from sixgig.finetune.packing import (
    NO_TARGET,
    MicroBatch,
    Steps,
    cut,
    digest,
    pack,
    require_apart,
    sample,
    split_held_out,
)
from sixgig.finetune.rendering import Document


def document(tokens, learn=None, example="", divisible=False):
    marks = np.array([False] + [True] * (len(tokens) - 1) if learn is None else learn, np.bool_)
    return Document(np.array(tokens, np.int32), marks, example, divisible)


def numbered(sizes):
    """Documents whose tokens stand nowhere else."""
    ends = list(itertools.accumulate(sizes, initial=0))
    return [document(range(*pair), example=str(at)) for at, pair in enumerate(itertools.pairwise(ends))]


def contents(micro_batches):
    """The documents as tuples of tokens."""
    return [
        tuple(batch.tokens[end - size : end].tolist())
        for batch in micro_batches
        for size, end in zip(batch.documents, np.cumsum(batch.documents), strict=True)
    ]


SIZES = st.lists(st.integers(2, 20), min_size=1, max_size=60)
EPOCHS, SEEDS = st.integers(0, 5), st.integers(0, 2**31)


@given(SIZES, st.integers(20, 64), SEEDS, EPOCHS)
def test_every_document_is_packed_whole_and_once(sizes, limit, seed, epoch):
    documents = numbered(sizes)
    packed = pack(documents, limit, seed, epoch)
    assert sorted(contents(packed)) == [tuple(each.tokens.tolist()) for each in documents]
    assert all(0 < len(batch.tokens) == sum(batch.documents) <= limit for batch in packed)
    assert all(batch.tokens.dtype == np.int32 for batch in packed)


@given(SIZES, st.integers(20, 64), SEEDS, EPOCHS)
def test_packing_is_a_function_of_seed_and_epoch(sizes, limit, seed, epoch):
    documents = numbered(sizes)
    first, again = (contents(pack(documents, limit, seed, epoch)) for _ in range(2))
    assert first == again


def test_seeds_and_epochs_give_other_orders_that_never_change():
    documents = numbered([2, 3, 4, 5, 6, 7])
    orders = {
        (seed, epoch): [batch.documents for batch in pack(documents, 9, seed, epoch)]
        for seed in range(3)
        for epoch in range(3)
    }
    assert len({tuple(order) for order in orders.values()}) > 3
    assert orders[0, 0] == [(6, 3), (5, 4), (7, 2)]  # what an interrupted run would go on with


def test_micro_batches_are_well_filled():
    sizes = np.random.default_rng(0).integers(10, 1000, 2000).tolist()
    packed = pack(numbered(sizes), 2048, 1, 0)
    assert sum(sizes) / (2048 * len(packed)) > 0.97


@given(SIZES, st.data())
def test_targets_are_the_next_tokens_of_the_same_document(sizes, data):
    documents = [
        document(each.tokens, [False, *data.draw(st.lists(st.booleans(), min_size=n - 1, max_size=n - 1))])
        for n, each in zip(sizes, numbered(sizes), strict=True)
    ]
    for batch in pack(documents, 40, 0, 0):
        expected = list[int]()
        ends = np.cumsum(batch.documents)
        for start, end in zip(ends - batch.documents, ends, strict=True):
            tokens, learn = batch.tokens[start:end], batch.learn[start:end]
            following = zip(tokens[1:], learn[1:], strict=True)
            expected += [int(token) if learnt else NO_TARGET for token, learnt in following] + [NO_TARGET]
        assert batch.targets.dtype == np.int64 and batch.targets.tolist() == expected


def test_no_target_reaches_into_the_next_document():
    batch = MicroBatch(np.arange(4, dtype=np.int32), np.ones(4, np.bool_), (1, 3))
    assert batch.targets.tolist() == [NO_TARGET, 2, 3, NO_TARGET]


@given(SIZES, st.integers(1, 4), SEEDS, st.integers(1, 3))
def test_steps_meet_each_document_once_an_epoch(sizes, per_step, seed, n_epochs):
    documents = numbered(sizes)
    steps = Steps(documents, 24, per_step, seed)
    met = contents(batch for step in range(steps.n_steps(n_epochs)) for batch in steps[step])
    packed = contents(batch for epoch in range(n_epochs) for batch in pack(documents, 24, seed, epoch))
    assert met[: len(packed)] == packed and len(packed) == n_epochs * len(documents)
    assert all(len(steps[step]) == per_step for step in range(3))
    assert steps.n_steps(0) == 0


@given(SIZES, st.integers(1, 4), SEEDS, st.integers(0, 40))
def test_a_step_is_the_same_whatever_was_asked_before(sizes, per_step, seed, step):
    documents = numbered(sizes)
    running, resumed = Steps(documents, 24, per_step, seed), Steps(documents, 24, per_step, seed)
    for earlier in range(step):
        running[earlier]
    assert contents(running[step]) == contents(resumed[step])
    assert running.epoch(step) == resumed.epoch(step)
    assert contents(resumed[0]) == contents(Steps(documents, 24, per_step, seed)[0])


@given(st.integers(2, 50), st.integers(2, 12))
def test_a_long_text_is_divided_and_each_token_is_learnt_once(size, most):
    text = document(range(size), divisible=True, example="a")
    done = cut([text], most)
    learnt = [int(token) for piece in done.documents for token in piece.tokens[piece.learn]]
    assert learnt == list(range(1, size))
    assert all(len(piece) <= most and not piece.learn[0] for piece in done.documents)
    assert (done.n_divided, done.notice) == (int(size > most), "")
    assert text.learn[1:].all()


def test_long_conversations_keep_their_beginnings_and_losses_are_told():
    answers = [False, True, False, False, True, True]
    documents = [document(range(6), answers), document(range(9), [False] * 8 + [True]), document(range(3))]
    done = cut(documents, 4)
    assert [piece.tokens.tolist() for piece in done.documents] == [[0, 1], [0, 1, 2]]
    assert (done.n_truncated, done.n_dropped, done.n_lost, done.n_lost_learnt) == (2, 1, 13, 3)
    assert done.notice == (
        "too long: 2 lose their ends, 13 tokens, 3 of them of answers; "
        "1 of these have no answer left and are left out"
    )


def test_nothing_left_to_learn_is_refused():
    with pytest.raises(UsageError, match="1 example, the shortest of 9 tokens, 4 fit"):
        cut([document(range(9), [False] * 8 + [True])], 4)
    with pytest.raises(UsageError, match="from 1 tokens at a time"):
        cut([document(range(9))], 1)


@given(SIZES.filter(lambda sizes: len(sizes) > 1), st.floats(0.01, 0.9), SEEDS)
def test_a_split_divides_whole_examples(sizes, share, seed):
    documents = numbered(sizes)
    training, held_out = split_held_out(documents, share, seed, most_tokens=100)
    assert training and held_out
    assert sorted(each.example for each in training + held_out) == sorted(each.example for each in documents)
    size = sum(map(len, held_out))
    assert len(held_out) == 1 or size <= min(100, share * sum(sizes))
    assert [each.example for each in split_held_out(documents, share, seed, 100)[1]] == [
        each.example for each in held_out
    ]


@given(SEEDS)
def test_what_is_equal_lands_on_one_side(seed):
    twins = [document([at, at + 1], example=str(at // 3)) for at in range(30)]
    training, held_out = split_held_out(twins, 0.3, seed)
    require_apart(training, held_out)
    with pytest.raises(UsageError, match="1 stand in both"):
        require_apart(training, [*held_out, training[0]])


def test_of_one_long_text_pieces_are_held_out():
    pieces = cut([document(range(100), divisible=True, example="a")], 10).documents
    training, held_out = split_held_out(pieces, 0.2, seed=0)
    assert len(training) + len(held_out) == len(pieces) and len(held_out) == 2
    with pytest.raises(UsageError, match="too few examples"):
        split_held_out(pieces[:1], 0.2, seed=0)
    with pytest.raises(UsageError, match="share of 1"):
        split_held_out(pieces, 1, seed=0)


@pytest.mark.parametrize(
    ("contents", "counted"),
    [
        ([0], "; 1 example; "),
        ([0] * 10, "; 10 copies of one example; "),
        ([0, 1, 1], "; 3 examples, 2 without"),
    ],
)
def test_too_few_examples_are_counted_with_their_copies(contents, counted):
    with pytest.raises(UsageError, match=counted):
        split_held_out([document([at, at + 1]) for at in contents], 0.1, seed=0, most_tokens=1)


def test_a_sample_is_bounded():
    documents = numbered([5] * 20)
    assert sum(map(len, sample(documents, 0, 32))) == 30
    assert sample(documents, 0, 1000) == documents
    assert len(sample(documents, 0, 3)) == 1


def test_the_digest_tells_tokens_marks_and_borders_apart():
    documents = [document([1, 2, 3, 4])]
    others = [
        [document([1, 2, 3, 5])],
        [document([1, 2, 3, 4], [False, True, True, False])],
        [document([1, 2]), document([3, 4])],
        [document([1, 2, 3, 4]), document([1, 2])],
    ]
    assert digest(documents) == digest([document([1, 2, 3, 4], example="elsewhere")])
    assert digest(documents) not in map(digest, others)
