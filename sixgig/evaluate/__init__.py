"""The yardstick: perplexity and divergence from a reference, defined as by llama.cpp's perplexity tool."""

from sixgig.evaluate.base_file import BaseFile, BaseShape, BaseWriter, is_base_file
from sixgig.evaluate.divergence import TokenFigures
from sixgig.evaluate.evaluation import LogitsOf, evaluate
from sixgig.evaluate.intervals import Interval, few_tokens
from sixgig.evaluate.log_probabilities import SCRATCH_BYTES
from sixgig.evaluate.overlap import Overlap, Rest, overlap, rest
from sixgig.evaluate.score import Divergence, Ratio, Score, paired_ratio
from sixgig.evaluate.windows import Windows, cut

__all__ = [
    "SCRATCH_BYTES",
    "BaseFile",
    "BaseShape",
    "BaseWriter",
    "Divergence",
    "Interval",
    "LogitsOf",
    "Overlap",
    "Ratio",
    "Rest",
    "Score",
    "TokenFigures",
    "Windows",
    "cut",
    "evaluate",
    "few_tokens",
    "is_base_file",
    "overlap",
    "paired_ratio",
    "rest",
]
