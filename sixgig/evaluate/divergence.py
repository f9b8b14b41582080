"""How one model's predictions differ from a reference's, token by token.

Definitions of llama.cpp's perplexity tool: the divergence is the sum of p (ln p - ln q) over the
vocabulary, p the reference's; tokens with ln p of -16 or less are left out, below which the stored form
knows nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from sixgig.errors import ModelFileError
from sixgig.evaluate.log_probabilities import DEPTH, HEAD, Floats, Logits, Rows, log_sum_exp, unpack
from sixgig.evaluate.windows import Tokens

_CURE = "the file is damaged or of a kind the engine computes wrongly: fetch it again"


@dataclass(frozen=True)
class TokenFigures:
    """One value per scored token. nll, base_nll: -ln of the probability given to it, by model and reference.

    kld: divergence at that position. p_change: its probability by the model less that by the reference.
    same_top1: both thought the same token likeliest. All but nll are empty when there is no reference.
    """

    nll: Floats
    base_nll: Floats
    kld: Floats
    p_change: Floats
    same_top1: NDArray[np.bool_]


def nll_only(logits: Logits, targets: Tokens) -> TokenFigures:
    """Figures without a reference. logits: float32 [n, vocabulary]; targets: the tokens that came, [n].

    Makes copies of the logits: hand over few rows of a large vocabulary at a time (log_probabilities.chunks).
    """
    nothing = np.empty(0)
    return TokenFigures(_nll(logits, targets)[0], nothing, nothing, nothing, np.empty(0, np.bool_))


def compare(logits: Logits, targets: Tokens, base: Rows) -> TokenFigures:
    """Figures against the reference's stored rows, uint16 [n, row length]; else as nll_only()."""
    n_vocab = logits.shape[1]
    (nll, total), log_p = _nll(logits, targets), unpack(base, n_vocab)
    base_nll = -log_p[np.arange(len(targets)), targets]
    same = logits.argmax(axis=1) == base[:, HEAD : HEAD + n_vocab].argmax(axis=1)
    change = np.exp(-nll) - np.exp(-base_nll)
    return TokenFigures(nll, base_nll, _kld(log_p, logits, total), change, same)


def joined(parts: Sequence[TokenFigures]) -> TokenFigures:
    """Several figures as one, in order."""
    names = [field.name for field in fields(TokenFigures)]
    return TokenFigures(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def check_logits(logits: Logits) -> None:
    """ModelFileError where a row has a NaN or no finite largest logit."""
    n_broken = np.count_nonzero(~np.isfinite(logits.max(axis=1)))  # one NaN makes the largest NaN
    if n_broken:
        numbers = f"NaN or infinity at {n_broken} of {len(logits)} positions"
        raise ModelFileError("the model's predictions are no numbers", numbers, _CURE)


def check_figures(figures: TokenFigures) -> None:
    """ModelFileError where a token that came, or that the reference thinks possible, has probability 0."""
    for name, values in (("loss", figures.nll), ("divergence", figures.kld)):
        broken = np.count_nonzero(~np.isfinite(values))
        if broken:
            numbers = f"{broken} of {len(values)} tokens"
            raise ModelFileError(f"the model's {name} is not finite", numbers, _CURE)


def _kld(log_p: Floats, logits: Logits, total: Floats) -> Floats:
    """Divergence of each row; overwrites log_p. total: the rows' log_sum_exp."""
    counts = log_p > -DEPTH
    p = np.exp(log_p)
    log_p -= logits
    log_p += total[:, None]
    np.multiply(p, log_p, out=log_p, where=counts)
    summed: Floats = log_p.sum(axis=1, where=counts)
    return summed


def _nll(logits: Logits, targets: Tokens) -> tuple[Floats, Floats]:
    """-ln of what each row gives its target, and the rows' log_sum_exp."""
    total = log_sum_exp(logits)
    return total - logits[np.arange(len(targets)), targets], total
