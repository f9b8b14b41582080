"""How positions turn queries and keys: config.json's rotary settings as llama.cpp has them, or a refusal.

Source: transformers' modeling_rope_utils for what they mean, llama.cpp's context for what it makes of keys.
"""

import math
from collections.abc import Callable
from enum import Flag, auto

import numpy as np
from numpy.typing import NDArray

from sixgig.errors import ModelFileError
from sixgig.families.terms.config import Config
from sixgig.families.terms.recipe import Extra, Keys
from sixgig.families.terms.transforms import require

_BETAS = {"beta_fast": 32.0, "beta_slow": 1.0}  # llama.cpp's, where a graph has no keys for them
_LONG = ("longrope", "su")  # the second its name in the first checkpoints
_FREQUENCIES = "rope_freqs.weight"
Frequencies = NDArray[np.float64]


class Takes(Flag):
    """What llama.cpp's graph of an architecture takes of stretched positions, beside factors in its keys.

    DIVISORS: a tensor of them, one a pair. LONG_AND_SHORT: two, by the length of the context. EDGES: which
    pairs YaRN divides. ALPHA: "dynamic" with an alpha, which the recipe sees to.
    """

    KEYS = 0
    DIVISORS = auto()
    LONG_AND_SHORT = auto()
    EDGES = auto()
    ALPHA = auto()


TENSORS = Takes.DIVISORS | Takes.LONG_AND_SHORT


def rotary_keys(config: Config, theta: float | None = None, takes: Takes = Takes.KEYS) -> Keys:
    """The base, `theta` where config.json names none, and how positions are stretched.

    ModelFileError for what the graph does not take. What it takes as tensors is `stretching`.
    """
    rope = config.rope
    keys: Keys = {"rope.freq_base": rope.number("rope_theta", default=theta)}
    kind = rope.text("rope_type", default="default")
    if kind in ("default", "mrope") or (kind == "llama3" and Takes.DIVISORS in takes):
        return keys
    if kind == "dynamic":
        if not (Takes.ALPHA in takes and rope.has("alpha")):
            rope.hear("factor")
            config.note(
                "rope_type is dynamic: carried up to max_position_embeddings, where it changes nothing"
            )
        return keys
    if kind == "linear":
        return keys | {"rope.scaling.type": kind, "rope.scaling.factor": rope.number("factor")}
    if kind == "yarn":
        by_tensor = Takes.DIVISORS in takes and _unsaid(rope, takes)
        return keys | (_as_tensor(config) if by_tensor else _yarn_keys(config, takes))
    if kind in _LONG and Takes.LONG_AND_SHORT in takes:
        return keys | _long_keys(config)
    what = f"config.json: rope_type {kind[:40]!r} cannot be carried over"
    numbers = "llama.cpp's graph of this architecture would turn positions by other angles"
    raise ModelFileError(what, numbers, "use another checkpoint, or a GGUF of the model")


def stretching(takes: Takes) -> Callable[[Config], Extra]:
    """Divisors of the rotary frequencies, one a pair, where tensors carry them; else nothing."""
    return lambda config: _tensors(config, takes)


def _tensors(config: Config, takes: Takes) -> Extra:
    rope = config.rope
    kind = rope.text("rope_type", default="default")
    if kind == "llama3":
        return {_FREQUENCIES: _llama3(config)}
    if kind == "yarn" and _unsaid(rope, takes):
        return {_FREQUENCIES: _yarn(config)}
    if kind in _LONG and Takes.LONG_AND_SHORT in takes:
        return {f"rope_factors_{one}.weight": _given(config, f"{one}_factor") for one in ("long", "short")}
    return {}


def sections(config: Config, n_rotary: int, default: list[int]) -> list[int]:
    """Counts of the pairs that mean time, height, width and nothing, for a head with `n_rotary` channels.

    transformers turns every pair by the position of text, whatever the counts; llama.cpp's interleaved kernel
    leaves pair p still unless p < 3 * counts[p % 3], and takes at most as many as channels in a head. Counts
    that leave one still are raised, or replaced where they do not add up; of a model that takes pictures, to
    which they mean something, those that do not add up are refused.
    """
    paired = n_rotary > 0 and n_rotary % 2 == 0 and n_rotary <= config.head_width
    require(
        paired, "config.json: rotary channels are no pairs", f"{n_rotary} of {config.head_width} in a head"
    )
    said = config.rope.items("mrope_section")
    counted = len(said) <= 4 and all(type(part) is int and 0 <= part < 2**16 for part in said)
    require(counted, "config.json: mrope_section is no list of counts", str(said)[:60])
    n_pairs, total = n_rotary // 2, sum(said)
    if any(said) and total != n_pairs and isinstance(config.outer.get("vision_config"), dict):
        what = "config.json: the sections of rotary positions do not add up"
        numbers = f"mrope_section is {said}, sum {total}, of {n_pairs} pairs of rotary channels"
        raise ModelFileError(what, numbers, "use another checkpoint or a GGUF")
    found = [*(said if any(said) else default), 0, 0, 0, 0][:4]
    if sum(found) <= config.head_width and _turn_all(found, n_pairs):
        return found
    needed = [*((n_pairs - first + 2) // 3 for first in range(3)), 0]
    return [max(pair) for pair in zip(found, needed, strict=True)] if total == n_pairs else needed


def _turn_all(counts: list[int], n_pairs: int) -> bool:
    sectors = [pair % sum(counts) for pair in range(n_pairs)]
    return all(sector < 3 * counts[sector % 3] for sector in sectors)


def attention_factor(config: Config) -> float:
    """What YaRN multiplies cosines and sines by."""
    rope, factor = config.rope, _factor(config)
    if rope.has("attention_factor"):
        return rope.number("attention_factor")
    scale, over = rope.number("mscale", default=0.0), rope.number("mscale_all_dim", default=0.0)
    return _mscale(factor, scale) / _mscale(factor, over) if scale and over else _mscale(factor, 1.0)


def _yarn_keys(config: Config, takes: Takes) -> Keys:
    """YaRN as keys. llama.cpp multiplies by 1 + ln(factor) / 10 itself."""
    rope, factor = config.rope, _factor(config)
    keys: Keys = {
        "rope.scaling.type": "yarn",
        "rope.scaling.factor": factor,
        "rope.scaling.original_context_length": _trained(config),
    }
    for name, value in _BETAS.items():
        found = rope.number(name, default=value) or value
        if Takes.EDGES in takes:
            keys[f"rope.scaling.yarn_{name}"] = found
        elif found != value:
            numbers = f"{name} is {found:g}, llama.cpp's graph of this architecture has {value:g}"
            raise ModelFileError("config.json: YaRN asks for other angles", numbers, "use another checkpoint")
    if not rope.flag("truncate", default=True):
        config.note("rope_parameters.truncate is false: llama.cpp rounds YaRN's range to whole pairs, always")
    beside = attention_factor(config) / _mscale(factor, 1.0)
    if not math.isclose(beside, 1.0, rel_tol=1e-6):
        keys["rope.scaling.attn_factor"] = beside
    return keys


def _as_tensor(config: Config) -> Keys:
    return {
        "rope.scaling.type": "none",
        "rope.scaling.attn_factor": attention_factor(config),
        "rope.scaling.original_context_length": _trained(config),
    }


def _unsaid(rope: Config, takes: Takes) -> bool:
    """Whether YaRN has settings for which llama.cpp has no key."""
    other = any((rope.number(name, default=value) or value) != value for name, value in _BETAS.items())
    return (other and Takes.EDGES not in takes) or not rope.flag("truncate", default=True)


def _long_keys(config: Config) -> Keys:
    """Of LongRoPE. llama.cpp divides by the factor of linear scaling too where one is there: none is."""
    trained, length = _trained(config), config.integer("max_position_embeddings")
    if length > trained:
        config.note(
            f"rope_type is longrope: llama.cpp turns positions by the long factors in a context of more than "
            f"{trained} tokens and by the short ones in any other; transformers goes by the text's length"
        )
    return {
        "rope.scaling.type": "longrope",
        "rope.scaling.attn_factor": _long_attention_factor(config),
        "rope.scaling.original_context_length": trained,
    }


def _long_attention_factor(config: Config) -> float:
    rope, trained = config.rope, _trained(config)
    factor = rope.number("factor", default=config.integer("max_position_embeddings") / max(trained, 1))
    if rope.has("attention_factor"):
        return rope.number("attention_factor")
    require(trained > 1, "config.json: LongRoPE has no length to start from", f"{trained} positions")
    return 1.0 if factor <= 1 else math.sqrt(1 + math.log(factor) / math.log(trained))


def _given(config: Config, name: str) -> NDArray[np.float32]:
    """Divisors that config.json lists, one a pair of the channels that are turned."""
    listed, n_pairs = config.rope.items(name), config.n_rotary // 2
    usable = len(listed) == n_pairs and all(
        not isinstance(one, bool) and isinstance(one, int | float) and 0 < one < 1e9 for one in listed
    )
    if not usable:
        numbers = f"{len(listed)} values for {n_pairs} pairs of channels"
        what = f"config.json: longrope's {name} is no list of divisors"
        raise ModelFileError(what, numbers, "use another checkpoint or a GGUF")
    return np.array(listed, np.float32)


def _factor(config: Config) -> float:
    rope = config.rope
    length = config.integer("max_position_embeddings")
    said = length / max(_trained(config), 1) if "factor" in rope.values else None  # where it is null
    factor = rope.number("factor", default=said)
    require(factor >= 1, "config.json: YaRN's factor is less than 1", f"{factor:g}")
    return factor


def _trained(config: Config) -> int:
    """Positions the model was trained with before they were stretched."""
    default = config.integer("max_position_embeddings")
    return config.rope.integer("original_max_position_embeddings", default=default)


def _mscale(factor: float, scale: float) -> float:
    return 1.0 if factor <= 1 else 0.1 * scale * math.log(factor) + 1.0


def _llama3(config: Config) -> NDArray[np.float32]:
    """Long waves are stretched by the factor, short ones not, those between in part."""
    rope = config.rope
    factor, low = rope.number("factor", default=8.0), rope.number("low_freq_factor", default=1.0)
    high, trained = rope.number("high_freq_factor", default=4.0), _trained(config)
    width, base = config.head_width, np.float32(rope.number("rope_theta", default=10000.0))
    waves = 2 * math.pi * base ** (np.arange(0, width, 2, dtype=np.float32) / np.float32(width))
    share = np.clip((trained / waves - low) / (high - low), 0, 1) if high != low else trained / waves > low
    divisors: NDArray[np.float32] = (1 / ((1 - share) / factor + share)).astype(np.float32)
    return divisors


def _yarn(config: Config) -> NDArray[np.float32]:
    """Pairs that turn often are kept, those that turn less than once divided, those between in part."""
    rope, width, factor = config.rope, config.head_width, _factor(config)
    base = rope.number("rope_theta", default=10000.0)

    def pair_of(turns: float) -> float:
        return width * math.log(_trained(config) / (turns * 2 * math.pi)) / (2 * math.log(base))

    ends = [pair_of(rope.number(name, default=value) or value) for name, value in _BETAS.items()]
    if rope.flag("truncate", default=True):
        ends = [math.floor(ends[0]), math.ceil(ends[1])]
    first, last = max(ends[0], 0), min(ends[1], width - 1)
    last += 0.001 if first == last else 0
    share = np.clip((np.arange(width // 2) - first) / (last - first), 0, 1)
    divisors: NDArray[np.float32] = (1 / (share / factor + (1 - share))).astype(np.float32)
    return divisors
