"""Where a GGUF's matrices come from: the recipes read backwards, to bring adapters back to a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from sixgig.families import Role
from sixgig.families.terms.config import Config
from sixgig.families.terms.recipe import Rule, pattern_of
from sixgig.modelfile import ModelFile, Tensor

Order = NDArray[np.intp]


@dataclass(frozen=True)
class Origin:
    """A matrix (of a stack: each one) in the tensor `name` that transformers 5 holds in memory.

    Its row i was row rows[i] of n_rows there, its column j column columns[j]. position: among the recipe's
    sources, which name a module's parameters in the order in which transformers registers them.
    """

    name: str
    position: int
    n_rows: int
    rows: Order
    columns: Order


class Origins:
    """Of one model's matrices. The sizes that orders depend on come from the GGUF's own metadata."""

    def __init__(self, model: ModelFile) -> None:
        self._by_source = next((recipe.by_source for recipe in model.family.recipes), {})
        self._config = _config(model)
        self._tensors = {tensor.name: tensor for tensor in model.tensors}

    def of(self, name: str) -> Origin | None:
        """The origin of a tensor of the model; None where transformers has no Linear or stack for it."""
        pattern, layer, _ = pattern_of(name)
        rule = self._rule(pattern)
        if rule is None or self._tensors[name].role in (Role.EMBEDDING, Role.ROUTER):
            return None
        n_rows = sum(tensor.shape[1] for tensor in self._siblings(rule, layer))
        n_columns, n_made = self._tensors[name].shape[:2]
        rows, columns = np.arange(n_made), np.arange(n_columns)
        if rule.transform.axis == 0:
            rows = rule.transform.order(n_rows, self._config)
        else:
            columns = rule.transform.order(n_columns, self._config)
        position = list(self._by_source).index(rule.source)
        return Origin(_numbered(rule.source, layer), position, n_rows, rows, columns)

    def _rule(self, target: str) -> Rule | None:
        """Experts one by one are how files keep them, not how transformers 5 does."""
        for rule in chain.from_iterable(self._by_source.values()):
            if rule.target == target and "{expert}" not in rule.source and not rule.transform.turns:
                return rule
        return None

    def _siblings(self, rule: Rule, layer: int | None) -> list[Tensor]:
        """All tensors made from the rule's source: its rows are theirs together."""
        names = (_numbered(one.target, layer) for one in self._by_source[rule.source])
        return [self._tensors[name] for name in names if name in self._tensors]


def _config(model: ModelFile) -> Config:
    """What transformations ask for, under the names that config.json has for it."""
    attention, recurrent = model.attention, model.attention.recurrent
    values = {
        "num_attention_heads": max(attention.n_heads),
        "num_key_value_heads": max(attention.n_kv_heads),
    }
    if recurrent is not None:
        values |= {
            "linear_num_key_heads": recurrent.group_count,
            "linear_num_value_heads": recurrent.time_step_rank,
            "linear_key_head_dim": recurrent.state_size,
            "linear_value_head_dim": recurrent.inner_size // max(recurrent.time_step_rank, 1),
        }
    return Config(values)


def _numbered(pattern: str, layer: int | None) -> str:
    return pattern.replace("{layer}", str(layer))
