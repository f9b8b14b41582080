"""How a checkpoint in a Hugging Face folder becomes a GGUF of a family.

A pattern is a tensor's name with "{layer}" and "{expert}" for its first and second number.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sixgig.families.terms.config import Config
from sixgig.families.terms.transforms import AS_IS, Transform

Value = bool | int | float | str | list[int] | list[bool] | list[float]
Keys = dict[str, Value]
Extra = dict[str, NDArray[np.float32]]
Settled = Any  # a value, or a tuple of those that are allowed
_CALCULATED = (r"rotary_emb\.inv_freq$", r"\.attention\.(masked_)?bias$")  # constants of old releases
_ATTENTION = ("attn_q", "attn_k", "attn_v", "attn_output", "attn_q_a", "attn_kv_a_mqa")
BIASES = {
    "attention_bias": tuple(f"{stem}.bias" for stem in _ATTENTION),
    "mlp_bias": ("ffn_gate.bias", "ffn_up.bias", "ffn_down.bias"),
}
_NUMBER = re.compile(r"(?<=\.)(0|[1-9][0-9]{0,5})(?=\.|$)", re.ASCII)


@dataclass(frozen=True)
class Rule:
    """Tensors named like `source` end as `target`, "{expert}" in `source` stacking all experts in one."""

    source: str
    target: str
    transform: Transform = AS_IS


@dataclass(frozen=True)
class Recipe:
    """`names`: as config.json has them, "Class/type" where text of that model_type is of another family than
    the class's; `architecture` as GGUF does, filled in by the Family.

    `keys` gives metadata without the architecture's prefix; `extras` float32 tensors that are calculated from
    the configuration; `ignored` are regular expressions for tensors that are left out;
    `cutting` its own names for ways of cutting text; `special` tokens by use where no file names them.
    `settled` is what llama.cpp's graph takes for granted: config.json must agree or say nothing.
    `defaults`: what transformers' class takes for values that config.json does not have. `idle`: regular
    expressions for further names in config.json that change nothing in this architecture.
    `kinds`: what "layer_types" may call a layer. `flags`: tensors (name stems in a layer) that are there
    exactly where a value is true.
    """

    names: tuple[str, ...]
    rules: tuple[Rule, ...]
    keys: Callable[[Config], Keys]
    extras: Callable[[Config], Extra] = lambda config: {}
    ignored: tuple[str, ...] = ()
    settled: dict[str, Settled] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)
    idle: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ("full_attention", "sliding_attention")
    flags: dict[str, tuple[str, ...]] = field(default_factory=lambda: dict(BIASES))
    cutting: dict[str, str] = field(default_factory=dict)
    special: dict[str, str] = field(default_factory=dict)
    architecture: str = ""

    @cached_property
    def by_source(self) -> dict[str, list[Rule]]:
        """Rules by the pattern of what they take."""
        found: dict[str, list[Rule]] = {}
        for rule in self.rules:
            found.setdefault(rule.source, []).append(rule)
        return found

    def idles(self, name: str) -> bool:
        """Whether a value of config.json changes nothing in this architecture."""
        return any(re.fullmatch(pattern, name) for pattern in self.idle)

    def calculates(self, name: str) -> bool:
        """Whether a tensor is a constant that old releases have saved."""
        return any(re.search(pattern, name) for pattern in _CALCULATED)

    def ignores(self, name: str) -> bool:
        """Whether a tensor is left out on purpose."""
        return self.calculates(name) or any(re.search(pattern, name) for pattern in self.ignored)


def pattern_of(name: str) -> tuple[str, int | None, int | None]:
    """A tensor's pattern, its layer and its expert.

    "model.layers.3.mlp.experts.7.up_proj.weight" gives ("model.layers.{layer}.mlp...", 3, 7).
    """
    numbers = _NUMBER.findall(name)
    pattern = name
    for word in ("{layer}", "{expert}"):
        pattern = _NUMBER.sub(word, pattern, count=1)
    layer, expert = (int(number) for number in numbers[:1]), (int(number) for number in numbers[1:2])
    return pattern, next(layer, None), next(expert, None)
