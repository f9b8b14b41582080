"""How an architecture's checkpoint becomes a GGUF: a declaration, one per architecture name.

A pattern is a tensor's name with "{layer}" and "{expert}" for its first and second number.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sixgig.checkpoint.config import Config
from sixgig.checkpoint.transforms import AS_IS, Transform

Value = bool | int | float | str | list[int] | list[bool] | list[float]
Keys = dict[str, Value]
Extra = dict[str, NDArray[np.float32]]
_CALCULATED = (r"rotary_emb\.inv_freq$", r"\.attention\.(masked_)?bias$")  # constants of old releases
_NUMBER = re.compile(r"(?<=\.)(0|[1-9][0-9]{0,5})(?=\.|$)", re.ASCII)


@dataclass(frozen=True)
class Rule:
    """Tensors named like `source` end as `target`, "{expert}" in `source` stacking all experts in one."""

    source: str
    target: str
    transform: Transform = AS_IS


@dataclass(frozen=True)
class Recipe:
    """`architecture` as GGUF names it, `names` as config.json does.

    `keys` gives metadata without the architecture's prefix; `extras` float32 tensors that are calculated from
    the configuration; `ignored` are regular expressions for tensors that are left out;
    `cutting` its own names for ways of cutting text; `special` tokens by use where no file names them.
    `settled` is what llama.cpp's graph takes for granted: config.json must agree or say nothing.
    """

    architecture: str
    names: tuple[str, ...]
    rules: tuple[Rule, ...]
    keys: Callable[[Config], Keys]
    extras: Callable[[Config], Extra] = lambda config: {}
    ignored: tuple[str, ...] = ()
    settled: dict[str, bool | int | float | str | None] = field(default_factory=dict)
    cutting: dict[str, str] = field(default_factory=dict)
    special: dict[str, str] = field(default_factory=dict)

    @cached_property
    def by_source(self) -> dict[str, list[Rule]]:
        """Rules by the pattern of what they take."""
        found: dict[str, list[Rule]] = {}
        for rule in self.rules:
            found.setdefault(rule.source, []).append(rule)
        return found

    def ignores(self, name: str) -> bool:
        """Whether a tensor is left out on purpose."""
        return any(re.search(pattern, name) for pattern in (*_CALCULATED, *self.ignored))


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
