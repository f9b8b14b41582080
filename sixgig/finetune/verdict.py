"""What a run came to: learnt, hardly, or learnt by heart; with numbers and what to do about it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean

from sixgig.finetune.schedule import FEWEST_STEPS
from sixgig.finetune.state import Progress
from sixgig.units import counted

Z_95 = 1.96
LEAST_GAIN, LEAST_FALL, OVER = 0.02, 0.05, 0.05  # shares of the loss before, or of the lowest
FEW_STEPS = FEWEST_STEPS // 3


class Outcome(StrEnum):
    """HARDLY: within the error of nothing, or next to nothing. OVERFITTED: it learnt, then the held-out loss
    rose while the training loss fell."""

    NOTHING = "changes nothing"
    HARDLY = "hardly learnt"
    OVERFITTED = "learnt, then overfitted"
    LEARNT = "learnt"


@dataclass(frozen=True)
class Verdict:
    """gain: nats a token by which the held-out loss fell. error: half of its 95% interval, over documents;
    None for a single one. fall: of the training loss, from the first tenth of the steps to the last; 0 of one
    step, which tells nothing.
    advice: what the user should know, "" where all is well.
    """

    outcome: Outcome
    gain: float
    error: float | None
    fall: float
    advice: str


def judge(run: Progress, length: str = "--epochs") -> Verdict:
    """Of a run that has been judged at least once; length: the option that decided how long it was."""
    before, (best_step, best) = run.held_out[0][1], run.best
    gain, error, fall = before - best, gain_error(run), _fall(run.losses)
    first = _mean(run.losses[: _tenth(run.losses)])
    if best_step == 0:
        return Verdict(Outcome.NOTHING, gain, error, fall, _nothing(run, fall, length))
    is_small = gain < max(error or 0.0, LEAST_GAIN * before)
    can_fall = len(run.losses) > 1
    if is_small or (can_fall and run.step < FEW_STEPS and fall < LEAST_FALL * first):
        return Verdict(Outcome.HARDLY, gain, error, fall, _hardly(run, gain, error, fall, length))
    last = run.held_out[-1][1]
    if last > best * (1 + OVER):
        words = (
            f"overfitted after step {best_step}: the held-out loss rose from {best:.4f} to {last:.4f}; "
            "the adapter is the one before that; more examples help, or a lower --rank"
        )
        return Verdict(Outcome.OVERFITTED, gain, error, fall, words)
    words = _few(run, length) if run.step < FEW_STEPS else ""
    return Verdict(Outcome.LEARNT, gain, error, fall, words)


def gain_error(run: Progress) -> float | None:
    """Half of the gain's 95% interval, nats a token: documents differ, tokens of one do not count apart.

    The linearised variance of a ratio of two sums (Cochran, Sampling Techniques, section 6.4).
    """
    n, n_tokens = len(run.judged), sum(run.judged)
    if n < 2:
        return None
    gains = [old - new for old, new in zip(run.nll_before, run.nll_best, strict=True)]
    gain = sum(gains) / n_tokens
    rest = sum((one - gain * count) ** 2 for one, count in zip(gains, run.judged, strict=True))
    return Z_95 * math.sqrt(n / (n - 1) * rest) / n_tokens


def _nothing(run: Progress, fall: float, length: str) -> str:
    what = "no step lowered the held-out loss: this adapter changes nothing"
    if fall > 0:
        return (
            f"{what}; the training loss fell by {fall:.4f}: what is held out is of another kind than the rest"
        )
    if len(run.losses) < 2:
        return f"{what}; one step tells little: try {_more_steps(length)} or a lower --learning-rate"
    return f"{what}, and the training loss did not fall: try a lower --learning-rate"


def _hardly(run: Progress, gain: float, error: float | None, fall: float, length: str) -> str:
    about = "" if error is None else f" {'within' if gain < error else 'with'} an error of {error:.4f}"
    trained = f", the training loss by {fall:.4f}" if len(run.losses) > 1 else ""
    losses = f"the held-out loss fell by {gain:.4f}{about}{trained}"
    cure = f"try {_more_steps(length)} or a higher --learning-rate"
    return f"hardly anything was learnt in {counted(run.step, 'step')}: {losses}; {cure}"


def _few(run: Progress, length: str) -> str:
    verb = "was" if run.step == 1 else "were"
    return (
        f"only {counted(run.step, 'step')} {verb} taken, {FEWEST_STEPS} are usual: "
        f"if the answers have not changed, give {_more_steps(length)}"
    )


def _more_steps(length: str) -> str:
    """A smaller batch makes more steps of an epoch; steps that were counted out it leaves as many."""
    return "more --steps" if length == "--steps" else "more --epochs or a smaller --batch"


def _fall(losses: list[float]) -> float:
    """From the first tenth of the steps to the last."""
    size = _tenth(losses)
    return _mean(losses[:size]) - _mean(losses[-size:])


def _tenth(losses: list[float]) -> int:
    return max(1, len(losses) // 10)


def _mean(values: list[float]) -> float:
    return fmean(values) if values else 0.0
