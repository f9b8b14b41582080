"""What a run is said to have come to."""

import numpy as np
import pytest

from sixgig.finetune.state import Progress
from sixgig.finetune.verdict import Outcome, gain_error, judge


def run_of(losses: list[float], held_out: list[float], spread: float = 0.0) -> Progress:
    """Held-out losses evenly spread over the steps; six documents of ten tokens, of which each gains by
    itself, up to `spread` nats a token more or less than all."""
    every = len(losses) // (len(held_out) - 1)
    best = min(held_out)
    apart = np.linspace(-spread, spread, 6)
    return Progress(
        step=len(losses),
        losses=losses,
        held_out=[(number * every, loss) for number, loss in enumerate(held_out)],
        judged=[10] * 6,
        nll_before=[10 * held_out[0]] * 6,
        nll_best=[10 * (best + more) for more in apart],
    )


FALLING = [4.0 - 0.05 * step for step in range(60)]
FLAT = [4.0] * 60


@pytest.mark.parametrize(
    ("run", "outcome", "words"),
    [
        (run_of(FALLING, [4.0, 3.0, 2.0, 1.5]), Outcome.LEARNT, ""),
        (run_of(FLAT, [4.0, 3.995, 3.99, 3.99]), Outcome.HARDLY, "hardly anything was learnt in 60 steps"),
        (run_of(FLAT, [4.0, 3.9, 3.8, 3.8], spread=1.0), Outcome.HARDLY, "within an error of 0.5"),
        (run_of(FALLING, [4.0, 2.0, 1.5, 1.9]), Outcome.OVERFITTED, "overfitted after step 40"),
        (run_of(FALLING, [4.0, 4.1, 4.2, 4.3]), Outcome.NOTHING, "of another kind"),
        (run_of(FLAT, [4.0, 4.1, 4.2, 4.3]), Outcome.NOTHING, "lower --learning-rate"),
        (run_of([4.0, 3.7, 3.4, 3.1], [3.6, 3.3, 3.1, 3.0, 2.97]), Outcome.LEARNT, "only 4 steps"),
    ],
)
def test_a_run_is_called_what_it_was(run: Progress, outcome: Outcome, words: str) -> None:
    verdict = judge(run)
    assert verdict.outcome is outcome
    assert words in verdict.advice and bool(words) == bool(verdict.advice)


@pytest.mark.parametrize("run", [run_of([4.0, 3.7, 3.4], [3.6, 3.3, 3.1]), run_of(FLAT, [4.0, 3.99, 3.99])])
def test_advice_names_the_option_that_decided_how_long_the_run_was(run: Progress) -> None:
    """A run of counted steps grows neither with --epochs nor with a smaller --batch."""
    assert "more --epochs or a smaller --batch" in judge(run).advice
    advice = judge(run, "--steps").advice
    assert "more --steps" in advice and "--epochs" not in advice and "--batch" not in advice


def test_one_step_is_judged_by_the_held_out_loss_alone() -> None:
    """Its training loss has nothing to fall from."""
    learnt = judge(run_of([4.0], [4.0, 3.6453], spread=0.01))
    assert learnt.outcome is Outcome.LEARNT and learnt.advice.startswith("only 1 step was taken")
    for held_out in ([4.0, 3.99], [4.0, 4.1]):
        advice = judge(run_of([4.0], held_out)).advice
        assert "training loss" not in advice and "more --epochs" in advice


def test_a_gain_beyond_its_error_is_not_said_to_be_within_it() -> None:
    advice = judge(run_of([4.0, 4.0, 4.0], [4.0, 3.9, 3.8, 3.8], spread=0.01)).advice
    assert "fell by 0.2000 with an error of 0.0" in advice and "within" not in advice


def test_the_error_is_that_of_a_bootstrap_over_documents() -> None:
    rng = np.random.default_rng(0)
    counts = rng.integers(5, 60, 40)
    before = counts * rng.normal(3.0, 0.5, 40)
    after = before - counts * rng.normal(0.4, 0.3, 40)
    run = Progress(judged=counts.tolist(), nll_before=before.tolist(), nll_best=after.tolist())
    drawn = rng.integers(0, 40, (4000, 40))
    gains = (before - after)[drawn].sum(1) / counts[drawn].sum(1)
    assert gain_error(run) == pytest.approx(1.96 * gains.std(), rel=0.1)


def test_one_document_has_no_error() -> None:
    assert gain_error(Progress(judged=[10], nll_before=[40.0], nll_best=[20.0])) is None
