"""For shrinking.py until it moves."""

from sixgig.inference import Vocabulary
from sixgig.jobs.window_logits import fitting_ubatch, logits_of, quantised_words

__all__ = ["fitting_ubatch", "logits_of", "quantised_words", "text_begin"]


def text_begin(vocabulary: Vocabulary) -> int | None:
    """Vocabulary.begin."""
    return vocabulary.begin
