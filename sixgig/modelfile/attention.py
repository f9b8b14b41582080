"""Attention numbers that llama.cpp asserts on: a wrong one would end the process, so it is refused here."""

from math import isfinite

from sixgig.families import Family
from sixgig.modelfile.counts import Counts
from sixgig.modelfile.hyperparameters import Hyperparameters
from sixgig.modelfile.metadata import Metadata

_MAX_WIDTH = 2**16
_MAX_WINDOW = 2**30


def check_attention(metadata: Metadata, family: Family, numbers: Hyperparameters) -> None:
    """ModelFileError unless head widths, rotary dimensions, windows and norms fit each other."""
    counts = Counts(metadata, family.architecture)
    _check_epsilon(counts)
    counts.one("attention.sliding_window", 0, _MAX_WINDOW, default=0)
    if counts.says("attention.key_length_mla"):
        _check_latent(counts)
    else:
        _check_heads(counts, family, numbers)
    if counts.says("ssm.time_step_rank"):
        _check_delta_net(counts)


def _check_epsilon(counts: Counts) -> None:
    for name in ("attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon"):
        value = counts.number(name, default=1e-6)
        counts.require(isfinite(value) and 0 <= value < 1, name, f"{value}, must be at least 0 and below 1")


def _check_heads(counts: Counts, family: Family, numbers: Hyperparameters) -> None:
    """Rotary dimensions are even and at most a head's width; some families rotate whole heads only."""
    n_heads = counts.most("attention.head_count", numbers.n_layers, 0, _MAX_WIDTH)
    width = counts.one("attention.key_length", 2, _MAX_WIDTH, default=numbers.n_embd // max(n_heads, 1))
    n_rotary = counts.one("rope.dimension_count", 2, width, default=width)
    counts.require(n_rotary % 2 == 0, "rope.dimension_count", f"{n_rotary} is odd")
    if family.rotates_whole_heads:
        value_width = counts.one("attention.value_length", 2, _MAX_WIDTH, default=width)
        counts.require(n_rotary == width, "rope.dimension_count", f"{n_rotary}, heads are {width} wide")
        counts.require(
            value_width == width, "attention.value_length", f"{value_width}, keys are {width} wide"
        )


def _check_latent(counts: Counts) -> None:
    """Multi-head latent attention: one cached head of the latent vector and the rotary dimensions."""
    head_width = counts.one("attention.key_length_mla", 3, _MAX_WIDTH)
    n_rotary = counts.one("rope.dimension_count", 2, head_width - 1)
    rank = counts.one("attention.kv_lora_rank", 1, _MAX_WIDTH)
    counts.one("attention.head_count_kv", 1, 1)
    counts.one("attention.key_length", rank + n_rotary, rank + n_rotary)
    counts.require(n_rotary % 2 == 0, "rope.dimension_count", f"{n_rotary} is odd")


def _check_delta_net(counts: Counts) -> None:
    """Value heads share key heads evenly and together are the inner width."""
    n_value_heads = counts.one("ssm.time_step_rank", 1, _MAX_WIDTH)
    n_key_heads = counts.one("ssm.group_count", 1, n_value_heads)
    inner = n_value_heads * counts.one("ssm.state_size", 1, _MAX_WIDTH)
    counts.one("ssm.inner_size", inner, inner)
    counts.one("full_attention_interval", 1, _MAX_WIDTH, default=1)
    divides = n_value_heads % n_key_heads == 0
    counts.require(divides, "ssm.group_count", f"{n_key_heads} does not divide {n_value_heads} value heads")
