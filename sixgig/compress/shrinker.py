"""A shrinking run, step by step: calibrate, see what matters, choose, write, measure, correct, judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import cached_property
from hashlib import sha256
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from sixgig.calibration.calibrate import Calibrator, default_samples
from sixgig.calibration.calibration import Calibration
from sixgig.calibration.moments import accumulator_bytes
from sixgig.compress.choose import Recipe, choose, header_bytes, smallest_bytes
from sixgig.compress.distortion import Distortion, Distortions, measure_distortions
from sixgig.compress.engines import Engines
from sixgig.compress.measuring import Figures, Yardstick
from sixgig.compress.sensitivity import SCRATCH_BYTES as NOISE_BYTES
from sixgig.compress.sensitivity import (
    Noise,
    Sensitivities,
    expected,
    grouped,
    marginal,
    measure_sensitivities,
    with_unreached,
)
from sixgig.compress.texts import Texts
from sixgig.compress.types import can_be_quantised
from sixgig.compress.workfolder import WorkFolder
from sixgig.compress.write import Job, write_model
from sixgig.evaluate import SCRATCH_BYTES, BaseShape, Windows, cut, few_tokens
from sixgig.evaluate.intervals import TOKENS_WANTED, WINDOWS_WANTED
from sixgig.families import Role
from sixgig.families.terms.names import inside_layer
from sixgig.modelfile import ModelFile
from sixgig.pruning.structure import can_be_cut
from sixgig.weights.stored import Floats, Importance, StoredWeights, WeightInfo, Weights

CONTEXT = 512
CALIBRATION_WINDOWS, SEARCH_WINDOWS, JUDGING_WINDOWS = 160, 24, 100
# How many groups of tensors are disturbed, on how many windows: of a model held whole, and of a paged one.
GROUPS_HELD, WINDOWS_HELD, GROUPS_PAGED, WINDOWS_PAGED = 400, 4, 64, 1
_ROUNDS = 4
_SETTINGS = "f16 kv, extra buffers off"


@dataclass(frozen=True)
class Candidate:
    """A recipe that was written and measured on the search text. label: what is special about it."""

    label: str
    recipe: Recipe
    figures: Figures


class Shrinker:
    """One source, its texts, and a folder of findings; many sizes may be asked of it.

    Every finding is deterministic and kept: a run that was killed goes on where it was and ends in the same
    file. Memory: the engine's budget, or a few chunks of weights, never both.
    """

    def __init__(
        self,
        source: ModelFile,
        texts: Texts,
        engines: Engines,
        folder: WorkFolder,
        threads: int,
        digest: str,
    ) -> None:
        """digest: of what `source` was made of."""
        self.source, self.weights, self._digest = source, StoredWeights(source), digest
        self._texts, self._engines, self.folder, self._threads = texts, engines, folder, threads

    @cached_property
    def windows(self) -> dict[str, Windows]:
        """Of each text. Raises UsageError for one that fills no window."""
        limits = {
            "calibration": CALIBRATION_WINDOWS,
            "search": SEARCH_WINDOWS,
            "held_out": JUDGING_WINDOWS,
        }
        with self._engines.open(self.source, CONTEXT) as model:
            return {
                name: spread(cut(model.tokenize(getattr(self._texts, name)), CONTEXT, model.bos), limit)
                for name, limit in limits.items()
            }

    @property
    def notices(self) -> list[str]:
        """Warnings where the texts to search and to judge on are short, with how long they should be."""
        uses = {"search": ("types are chosen", "{all} of --text")}
        uses["held_out"] = ("the result is judged", "{part} of --held-out, or {all} of --text")
        found = []
        for name, (what, longer) in uses.items():
            windows = self.windows[name]
            words = few_tokens(what, len(windows) * windows.n_scored, len(windows))
            n_wanted = max(WINDOWS_WANTED, ceil(TOKENS_WANTED / windows.n_scored))
            part = 1000 * ceil(len(getattr(self._texts, name)) * n_wanted / len(windows) / 1000)
            if words:
                found.append(f"{words}: about {longer.format(part=part, all=8 * part)} characters")
        return found

    @property
    def reference_bytes(self) -> int:
        """What the source's predictions take on disk."""
        windows = (self.windows["search"], self.windows["held_out"])
        return sum(BaseShape(CONTEXT, self.source.n_vocab, len(each)).size_bytes for each in windows)

    @cached_property
    def calibration(self) -> Calibration:
        """Statistics of activations; one streamed pass, resumable."""
        work = Calibrator(
            self.source,
            self.windows["calibration"],
            self.folder.path("calibration"),
            default_samples(self.source) if can_be_cut(self.source) else {},
            settings=_SETTINGS,
            digest=self._digest,
        )
        if work.complete:
            return Calibration.load(work.folder)
        beside = accumulator_bytes(self.source)
        with (
            self._engines.open(self.source, CONTEXT, work.collector, beside) as model,
            self._engines.progress("calibrating") as progress,
        ):
            return work.run(model.feed, progress)

    @cached_property
    def search(self) -> Yardstick:
        """What recipes are chosen by."""
        return self._yardstick("search")

    @cached_property
    def judge(self) -> Yardstick:
        """What the outcome is reported by."""
        return self._yardstick("held_out")

    def _yardstick(self, name: str) -> Yardstick:
        yardstick = Yardstick(
            self._engines, self.source, self.windows[name], self.folder.path(f"{name}.logits")
        )
        yardstick.prepare(f"the source on the {name.replace('_', '-')} text")
        return yardstick

    @cached_property
    def distortions(self) -> Distortions:
        """Errors by tensor and type, of the source's tensors."""
        return self.distortions_of(self.weights, self.importance, "distortions")

    def distortions_of(
        self,
        weights: Weights,
        importance: Importance,
        name: str,
        known: Mapping[str, Distortion] | None = None,
    ) -> Distortions:
        """The like for other weights, kept under `name`; what is `known` is taken."""

        def find() -> Any:
            _ = self.calibration  # a phase of its own, not amid this one
            with self._engines.progress("trying types") as progress:
                found = measure_distortions(weights, importance, self._threads, known, progress)
            return {key: asdict(distortion) for key, distortion in found.items()}

        return {key: Distortion(**value) for key, value in self.folder.once(name, find).items()}

    def phase(self, label: str) -> AbstractContextManager[Callable[[float], object]]:
        """Tells whoever waits what is done meanwhile; takes the fraction."""
        return self._engines.progress(label)

    def importance(self, name: str) -> Floats | None:
        """Mean squared inputs of a weight."""
        return self.calibration.importance(name)

    @cached_property
    def sensitivities(self) -> Sensitivities:
        """What an error in each tensor that the text reaches does to the predictions."""
        held = self._engines.fits(self.source)
        reached = [info for info in self._matrices if self._is_reached(info)]
        groups = grouped(reached, GROUPS_HELD if held else GROUPS_PAGED)
        n_windows = min(WINDOWS_HELD if held else WINDOWS_PAGED, len(self.windows["search"]))
        noise, search = Noise([info.name for info in reached], self.distortions), self.search
        known = self.folder.load("sensitivities") or {}
        with (
            self._engines.open(self.source, CONTEXT, noise, SCRATCH_BYTES + NOISE_BYTES) as model,
            self._engines.progress("looking what matters") as progress,
            search.open_base() as base,
        ):
            return measure_sensitivities(
                noise,
                groups,
                lambda: search.divergence(model.logits_of, base, n_windows),
                known,
                lambda found: self.folder.save("sensitivities", found),
                progress,
            )

    @property
    def _matrices(self) -> list[WeightInfo]:
        return [info for info in self.weights.tensors if can_be_quantised(info)]

    def _is_reached(self, info: WeightInfo) -> bool:
        """Whether the text says anything about it: a product's input, or a table that tokens look up."""
        table = info.role is Role.EMBEDDING and info.layer is None
        return table or self.calibration.moments(info.name) is not None

    def recipe(
        self,
        weights: Weights,
        distortions: Distortions,
        budget_bytes: int,
        tilt: Mapping[str, float] | None = None,
        routing: bool = True,
    ) -> Recipe:
        """The best types by the costs where the recipe itself ends up: costs and recipe are found in turns.

        tilt: factors on the costs by a tensor's name without its layer. routing: count routers' changes.
        """
        head = header_bytes(weights, METADATA) + STORY_BYTES
        sensitivities = with_unreached(self.sensitivities, self._matrices)
        errors = dict.fromkeys(sensitivities, 0.01)
        for _ in range(_ROUNDS):
            costs = (
                marginal(sensitivities, errors)
                if routing
                else {name: found.linear for name, found in sensitivities.items()}
            )
            costs = {name: cost * (tilt or {}).get(inside_layer(name), 1.0) for name, cost in costs.items()}
            found = choose(weights, distortions, costs, budget_bytes, head)
            errors = {name: distortions[name].errors[kind] for name, kind in found.types.items()}
        return Recipe(found.types, found.size_bytes, expected(self.sensitivities, errors))

    def smallest_bytes(self, weights: Weights) -> int:
        """The smallest file there can be."""
        return smallest_bytes(weights, header_bytes(weights, METADATA) + STORY_BYTES)

    def try_out(
        self, label: str, recipe: Recipe, weights: Weights | None = None, importance: Importance | None = None
    ) -> Candidate:
        """Write the recipe's file in the folder, measure it on the search text, remove it."""
        key = f"tried-{digest(label.split(':')[0] if weights else '', recipe)}"

        def find() -> Any:
            path = self.folder.path("candidate.gguf")
            self.write(recipe, path, f"writing: {label}", weights, importance)
            figures = self.search.measure(path, f"measuring: {label}")
            path.unlink()
            return asdict(figures)

        return Candidate(label, recipe, Figures(**self.folder.once(key, find)))

    def write(
        self,
        recipe: Recipe,
        path: Path,
        label: str,
        weights: Weights | None = None,
        importance: Importance | None = None,
        metadata: Mapping[str, object] | None = None,
    ) -> None:
        """The recipe's file; it appears whole."""
        job = Job(
            weights or self.weights,
            recipe.ggml_types(),
            importance or self.importance,
            {**METADATA, **(metadata or {})},
            self.calibration.progress.digest,
        )
        with self._engines.progress(label) as progress:
            write_model(job, path, self._threads, progress)


def spread(windows: Windows, limit: int) -> Windows:
    """At most `limit` windows from everywhere in a text, shuffled: the first few are spread as well."""
    order = np.random.default_rng(0).permutation(len(windows))[:limit]
    return Windows(windows.tokens[order], windows.bos)


METADATA: dict[str, object] = {"general.quantization_version": 2}
STORY_BYTES = 4096  # what the header may grow by when it tells how the file was made


def digest(label: str, recipe: Recipe) -> str:
    """Tells recipes apart."""
    return sha256(repr((label, sorted(recipe.types.items()))).encode()).hexdigest()[:16]
