"""How much the model's predictions suffer from an error in each tensor, seen by adding noise to its products.

A tensor stored with relative squared error r adds about r times its power to the square of each product. So
noise of that power, put there while the model runs, does what storing it so would do, without writing
anything. Several levels of noise tell two parts apart: one that grows with r (A r) and one that grows with
its root, from routers that choose other experts. The latter's squares add up, the former's add: with errors
r_g everywhere the divergence is about sum A_g r_g + sqrt(sum C_g r_g).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean
from zlib import crc32

import numpy as np

from sixgig.compress.distortion import Distortions
from sixgig.families import Role
from sixgig.families.terms.names import inside_layer
from sixgig.weights.stored import Floats, WeightInfo

BLOCK_ELEMENTS = 1 << 18
SCRATCH_BYTES = 3 * 4 * BLOCK_ELEMENTS  # what noise takes while it is added
LEVELS = (0.25, 0.02, 0.002)  # of noise: about what 1, 3.4 and 5 bits a weight do


@dataclass(frozen=True)
class Sensitivity:
    """Of one tensor: nats per unit of relative squared error, and squared nats per unit of it."""

    linear: float
    routing: float


Sensitivities = dict[str, Sensitivity]


class Noise:
    """Disturbs the products of the weights named in `levels` (relative squared error by name)."""

    def __init__(self, weights: Collection[str], distortions: Distortions) -> None:
        self.weights, self._distortions = weights, distortions
        self._levels: Mapping[str, float] = {}
        self._random = np.random.default_rng(0)

    def set(self, levels: Mapping[str, float]) -> None:
        """From now on; the noise itself depends on the names alone."""
        self._levels = levels
        self._random = np.random.default_rng(crc32(" ".join(levels).encode()))

    def begin(self) -> None:
        """Nothing to do."""

    def wants(self, weight: str) -> bool:
        """Whether it is disturbed now."""
        return weight in self._levels

    def disturb(self, weight: str, outputs: Floats, looked_up: bool) -> None:
        """Add normal noise, a block at a time; of looked-up rows the power is their own."""
        power = _mean_square(outputs) if looked_up else self._distortions[weight].power
        scale = np.float32(sqrt(self._levels[weight] * power))
        for block in _blocks(outputs):
            block += scale * self._random.standard_normal(block.shape, np.float32)


def _blocks(values: Floats) -> Iterator[Floats]:
    """Views of rows that together are `values` [..., n], so many that copies stay small."""
    rows = max(1, BLOCK_ELEMENTS // values.shape[-1])
    for place in np.ndindex(values.shape[:-2]):
        for start in range(0, values.shape[-2], rows):
            yield values[place][start : start + rows]


def _mean_square(values: Floats) -> float:
    return sum(float(np.square(block).sum()) for block in _blocks(values)) / max(values.size, 1)


def grouped(tensors: Iterable[WeightInfo], most: int) -> list[tuple[str, ...]]:
    """Tensors that are disturbed together: each alone, or where that is more than `most`, bands of layers."""
    stems = dict[str, list[WeightInfo]]()
    for info in tensors:
        stems.setdefault(inside_layer(info.name), []).append(info)
    per_stem = max(1, most // max(1, len(stems)))
    return [
        tuple(info.name for info in band)
        for members in stems.values()
        for band in _bands(members, max(1, -(-len(members) // per_stem)))
    ]


def measure_sensitivities(
    noise: Noise,
    groups: Sequence[tuple[str, ...]],
    divergence: Callable[[], float],
    known: dict[str, float],
    keep: Callable[[dict[str, float]], object],
    progress: Callable[[float], object] = lambda fraction: None,
) -> Sensitivities:
    """Disturb one group after another; `divergence` runs the model with `noise` and gives nats a token.

    known: what was measured before, added to; keep: called after each group.
    """
    for number, names in enumerate(groups):
        for level in LEVELS:
            if _key(names, level) not in known:
                noise.set(dict.fromkeys(names, level))
                known[_key(names, level)] = divergence()
        keep(known)
        progress((number + 1) / len(groups))
    noise.set({})
    return {
        name: _sensitivity([known[_key(names, level)] for level in LEVELS], len(names))
        for names in groups
        for name in names
    }


def with_unreached(found: Sensitivities, tensors: Iterable[WeightInfo]) -> Sensitivities:
    """Of all `tensors`: those that the text did not reach (token prediction, images) are taken for as
    sensitive as the mean of their role, or of all where none of their role was reached."""
    tensors = list(tensors)
    reached: dict[Role | None, list[Sensitivity]] = {None: list(found.values())}
    for info in tensors:
        if info.name in found:
            reached.setdefault(info.role, []).append(found[info.name])
    means = {role: _mean(group) for role, group in reached.items() if group}
    unreached = {info.name: info.role for info in tensors if info.name not in found}
    nothing = Sensitivity(0.0, 0.0)
    return found | {name: means.get(role, means.get(None, nothing)) for name, role in unreached.items()}


def _mean(group: Sequence[Sensitivity]) -> Sensitivity:
    return Sensitivity(fmean(one.linear for one in group), fmean(one.routing for one in group))


def _key(names: Sequence[str], level: float) -> str:
    return f"{names[0]} {len(names)} {level}"


def marginal(sensitivities: Sensitivities, errors: Mapping[str, float]) -> dict[str, float]:
    """Nats per unit of error of each tensor, where all tensors have `errors` already."""
    routing = sqrt(sum(found.routing * errors.get(name, 0.0) for name, found in sensitivities.items()))
    return {
        name: found.linear + found.routing / (2 * max(routing, 1e-6)) for name, found in sensitivities.items()
    }


def expected(sensitivities: Sensitivities, errors: Mapping[str, float]) -> float:
    """Nats a token with `errors` everywhere."""
    known = [(found, errors.get(name, 0.0)) for name, found in sensitivities.items()]
    return sum(f.linear * r for f, r in known) + sqrt(sum(f.routing * r for f, r in known))


def _sensitivity(found: Sequence[float], n_names: int) -> Sensitivity:
    """Both parts, at least 0, by least squares of the relative deviation; shared evenly among the names."""
    levels, nats = np.array(LEVELS), np.maximum(np.array(found), 1e-9)
    terms = np.stack([levels, np.sqrt(levels)], axis=1) / nats[:, None]
    both = np.linalg.lstsq(terms, np.ones(len(levels)), rcond=None)[0]
    if (both < 0).any():
        alone = terms.sum(axis=0) / np.square(terms).sum(axis=0)
        misses = np.square(terms * alone - 1).sum(axis=0)
        both = alone * (misses == misses.min())
    return Sensitivity(float(both[0]) / n_names, float(both[1]) ** 2 / n_names)


def _bands(members: list[WeightInfo], size: int) -> list[list[WeightInfo]]:
    return [members[start : start + size] for start in range(0, len(members), size)]
