"""What a model's layers remember, as its metadata says it: heads, widths, windows, recurrent states.

Facts only: what a cache of them takes is the planner's matter. 0 or empty means that the file does not say.
"""

from dataclasses import dataclass

from sixgig.families import Family
from sixgig.modelfile.counts import Counts
from sixgig.modelfile.hyperparameters import Hyperparameters
from sixgig.modelfile.metadata import Metadata

_MAX_COUNT = 2**16
_MAX_LENGTH = 2**31 - 1
_MAX_WINDOW = 2**30


@dataclass(frozen=True)
class Latent:
    """Multi-head latent attention: `rank` and `n_rotary` are cached; the widths are a head's before that."""

    rank: int
    n_rotary: int
    key_length: int
    value_length: int


@dataclass(frozen=True)
class Recurrent:
    """The state of a recurrent layer (Mamba, Gated DeltaNet), under GGUF's names ssm.*."""

    conv_kernel: int
    state_size: int
    group_count: int
    time_step_rank: int
    inner_size: int


@dataclass(frozen=True)
class AttentionShape:
    """Per layer where it is a tuple of n_layers. No key-value head in a layer means no attention there.

    `key_length` and `value_length` are a head's width in elements, by default n_embd / heads of the first
    layer; those of sliding layers are the same unless said. `window` counts tokens, 0 without one.
    `window_period` p means that every p-th layer is not sliding; `window_layers` says it for each layer.
    `full_attention_interval` i means that every i-th layer attends and the others are recurrent;
    `recurrent_layers` says it for each layer. `conv_cache` is the length of a short convolution (LFM2).
    """

    n_heads: tuple[int, ...]
    n_kv_heads: tuple[int, ...]
    key_length: int
    value_length: int
    sliding_key_length: int
    sliding_value_length: int
    window: int
    window_period: int
    window_layers: tuple[bool, ...]
    latent: Latent | None
    recurrent: Recurrent | None
    recurrent_layers: tuple[bool, ...]
    full_attention_interval: int
    conv_cache: int


def read_attention_shape(metadata: Metadata, family: Family, numbers: Hyperparameters) -> AttentionShape:
    """The shape, each number within bounds; ModelFileError names the key that is not."""
    counts, n_layers = Counts(metadata, family.architecture), numbers.n_layers
    n_heads = counts.each("attention.head_count", n_layers, _MAX_COUNT, (0,) * n_layers)
    width = numbers.n_embd // n_heads[0] if n_heads[0] else 0
    key_length = counts.one("attention.key_length", 0, _MAX_LENGTH, width)
    value_length = counts.one("attention.value_length", 0, _MAX_LENGTH, width)
    period, layers = _pattern(counts, n_layers)
    return AttentionShape(
        n_heads=n_heads,
        n_kv_heads=counts.each("attention.head_count_kv", n_layers, _MAX_COUNT, n_heads),
        key_length=key_length,
        value_length=value_length,
        sliding_key_length=counts.one("attention.key_length_swa", 0, _MAX_LENGTH, key_length),
        sliding_value_length=counts.one("attention.value_length_swa", 0, _MAX_LENGTH, value_length),
        window=counts.one("attention.sliding_window", 0, _MAX_WINDOW, default=0),
        window_period=period,
        window_layers=layers,
        latent=_latent(counts),
        recurrent=_recurrent(counts),
        recurrent_layers=counts.flags("attention.recurrent_layers", n_layers),
        full_attention_interval=counts.one("full_attention_interval", 0, _MAX_COUNT, default=0),
        conv_cache=counts.one("shortconv.l_cache", 0, _MAX_COUNT, default=0),
    )


def _pattern(counts: Counts, n_layers: int) -> tuple[int, tuple[bool, ...]]:
    """Which layers slide: a period, or a flag for each layer."""
    name = "attention.sliding_window_pattern"
    if counts.is_array(name):
        return 0, counts.flags(name, n_layers)
    return counts.one(name, 0, _MAX_COUNT, default=0), ()


def _latent(counts: Counts) -> Latent | None:
    if not counts.says("attention.key_length_mla"):
        return None
    return Latent(
        rank=counts.one("attention.kv_lora_rank", 1, _MAX_COUNT),
        n_rotary=counts.one("rope.dimension_count", 0, _MAX_COUNT),
        key_length=counts.one("attention.key_length_mla", 1, _MAX_COUNT),
        value_length=counts.one("attention.value_length_mla", 0, _MAX_COUNT, default=0),
    )


def _recurrent(counts: Counts) -> Recurrent | None:
    if not counts.says("ssm.conv_kernel") and not counts.says("ssm.state_size"):
        return None
    names = ("conv_kernel", "state_size", "group_count", "time_step_rank", "inner_size")
    return Recurrent(*(counts.one(f"ssm.{name}", 0, _MAX_LENGTH, default=0) for name in names))
