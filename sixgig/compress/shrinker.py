"""What a shrinking run knows of its source, each finding kept: calibration, errors by type, what matters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from hashlib import sha256
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from sixgig.calibration.calibrate import Calibrator, default_samples
from sixgig.calibration.calibration import Calibration
from sixgig.calibration.moments import accumulator_bytes
from sixgig.compress.choose import Recipe, header_bytes, smallest_bytes
from sixgig.compress.distortion import Distortion, Distortions, measure_distortions
from sixgig.compress.engines import Engines
from sixgig.compress.measuring import Figures, Yardstick
from sixgig.compress.sensitivity import SCRATCH_BYTES as NOISE_BYTES
from sixgig.compress.sensitivity import (
    Noise,
    Sensitivities,
    grouped,
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
from sixgig.modelfile import ModelFile
from sixgig.pruning.proposals import Proposal
from sixgig.pruning.structure import can_be_cut
from sixgig.weights.cut import CutWeights, cut_importance
from sixgig.weights.stored import Importance, StoredWeights, WeightInfo, Weights

CONTEXT = 512
CALIBRATION_WINDOWS, SEARCH_WINDOWS, JUDGING_WINDOWS = 160, 24, 100
# How many groups of tensors are disturbed, on how many windows: of a model held whole, and of a paged one.
GROUPS_HELD, WINDOWS_HELD, GROUPS_PAGED, WINDOWS_PAGED = 400, 4, 64, 1
_SETTINGS = "f16 kv, extra buffers off"


@dataclass(frozen=True)
class TextWindows:
    """Windows of the texts to calibrate, to search and to judge on."""

    calibration: Windows
    search: Windows
    held_out: Windows


@dataclass(frozen=True)
class Variant:
    """What types are chosen for and files are written of: a source's weights, whole or with a cut. Of one
    source those are equal whose cuts are. distortions: errors by tensor and type."""

    cut: Proposal | None
    weights: Weights = field(compare=False, repr=False)
    importance: Importance = field(compare=False, repr=False)
    distortions: Distortions = field(compare=False, repr=False)


class Shrinker:
    """What is known of one source on its texts, found when first asked for; many sizes may be asked of it.

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
        self._texts, self.engines, self.folder, self._threads = texts, engines, folder, threads

    @cached_property
    def windows(self) -> TextWindows:
        """Of each text. Raises UsageError for one that fills no window."""
        texts = self._texts
        with self.engines.open(self.source, CONTEXT) as model:

            def some(text: str, limit: int) -> Windows:
                return spread(cut(model.tokenize(text), CONTEXT, model.bos), limit)

            return TextWindows(
                some(texts.calibration, CALIBRATION_WINDOWS),
                some(texts.search, SEARCH_WINDOWS),
                some(texts.held_out, JUDGING_WINDOWS),
            )

    @property
    def notices(self) -> list[str]:
        """Warnings where the texts to search and to judge on are short, with how long they should be."""
        texts, known, found = self._texts, self.windows, list[str]()
        for what, text, windows, longer in (
            ("types are chosen", texts.search, known.search, "{all} of --text"),
            (
                "the result is judged",
                texts.held_out,
                known.held_out,
                "{part} of --held-out, or {all} of --text",
            ),
        ):
            words = few_tokens(what, len(windows) * windows.n_scored, len(windows))
            n_wanted = max(WINDOWS_WANTED, ceil(TOKENS_WANTED / windows.n_scored))
            part = 1000 * ceil(len(text) * n_wanted / len(windows) / 1000)
            if words:
                found.append(f"{words}: about {longer.format(part=part, all=8 * part)} characters")
        return found

    @property
    def reference_bytes(self) -> int:
        """What the source's predictions take on disk."""
        windows = (self.windows.search, self.windows.held_out)
        return sum(BaseShape(CONTEXT, self.source.n_vocab, len(each)).size_bytes for each in windows)

    @cached_property
    def calibration(self) -> Calibration:
        """Statistics of activations; one streamed pass, resumable."""
        work = Calibrator(
            self.source,
            self.windows.calibration,
            self.folder.path("calibration"),
            default_samples(self.source) if can_be_cut(self.source) else {},
            settings=_SETTINGS,
            digest=self._digest,
        )
        if work.complete:
            return Calibration.load(work.folder)
        beside = accumulator_bytes(self.source)
        with (
            self.engines.open(self.source, CONTEXT, work.collector, beside) as model,
            self.engines.progress("calibrating") as progress,
        ):
            return work.run(model.feed, progress)

    @cached_property
    def search(self) -> Yardstick:
        """What recipes are chosen by."""
        return self._yardstick(self.windows.search, "search")

    @cached_property
    def judge(self) -> Yardstick:
        """What the outcome is reported by."""
        return self._yardstick(self.windows.held_out, "held_out")

    def _yardstick(self, windows: Windows, name: str) -> Yardstick:
        yardstick = Yardstick(self.engines, self.source, windows, self.folder.path(f"{name}.logits"))
        yardstick.prepare(f"the source on the {name.replace('_', '-')} text")
        return yardstick

    @cached_property
    def whole(self) -> Variant:
        """The source with all its weights."""
        importance = self.calibration.importance  # a phase of its own, not amid the next
        return Variant(
            None, self.weights, importance, self._distortions(self.weights, importance, "distortions")
        )

    def cut(self, proposal: Proposal) -> Variant:
        """The source with a cut made. Raises UsageError where it is refused."""
        folder = self.folder.path("foldings")
        folder.mkdir(exist_ok=True)
        with self.engines.progress(f"cutting: {proposal}"):
            cut = proposal.make(self.weights, self.calibration, folder)
        weights, importance = CutWeights(self.weights, cut), cut_importance(self.whole.importance, cut)
        touched = cut.tensors.keys() | cut.replaced.keys()
        known = {name: each for name, each in self.whole.distortions.items() if name not in touched}
        name = "distortions-" + "-".join(str(proposal).split())
        return Variant(proposal, weights, importance, self._distortions(weights, importance, name, known))

    def _distortions(
        self,
        weights: Weights,
        importance: Importance,
        name: str,
        known: Mapping[str, Distortion] | None = None,
    ) -> Distortions:
        """Kept under `name`; what is `known` is taken."""

        def find() -> Any:
            with self.engines.progress("trying types") as progress:
                found = measure_distortions(weights, importance, self._threads, known, progress)
            return {key: asdict(distortion) for key, distortion in found.items()}

        return {key: Distortion(**value) for key, value in self.folder.once(name, find).items()}

    @property
    def sensitivities(self) -> Sensitivities:
        """What an error in each tensor does to the predictions."""
        return with_unreached(self.reached, self._matrices)

    @cached_property
    def reached(self) -> Sensitivities:
        """The same of those tensors that the text reaches."""
        held, distortions = self.engines.fits(self.source), self.whole.distortions
        reached = [info for info in self._matrices if self._is_reached(info)]
        groups = grouped(reached, GROUPS_HELD if held else GROUPS_PAGED)
        n_windows = min(WINDOWS_HELD if held else WINDOWS_PAGED, len(self.windows.search))
        noise, search = Noise([info.name for info in reached], distortions), self.search
        known = self.folder.load("sensitivities") or {}
        with (
            self.engines.open(self.source, CONTEXT, noise, SCRATCH_BYTES + NOISE_BYTES) as model,
            self.engines.progress("looking what matters") as progress,
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

    @staticmethod
    def head_bytes(weights: Weights) -> int:
        """Most that a file's header takes."""
        return header_bytes(weights, METADATA) + STORY_BYTES

    def smallest_bytes(self) -> int:
        """The smallest file there can be of all weights."""
        return smallest_bytes(self.weights, self.head_bytes(self.weights))

    def try_out(self, variant: Variant, recipe: Recipe, label: str) -> Figures:
        """What the recipe's file loses on the text to search on."""

        def find() -> Any:
            with self.written(variant, recipe, label) as path:
                return self.search.measure(path, f"measuring: {label}").to_json()

        return Figures.from_json(self.folder.once(f"tried-{recipe_digest(variant, recipe)}", find))

    @contextmanager
    def written(self, variant: Variant, recipe: Recipe, label: str) -> Iterator[Path]:
        """The recipe's file, in the work folder while the block runs."""
        path = self.folder.path("candidate.gguf")
        self.write(variant, recipe, path, f"writing: {label}")
        try:
            yield path
        finally:
            path.unlink()

    def write(
        self,
        variant: Variant,
        recipe: Recipe,
        path: Path,
        label: str,
        metadata: Mapping[str, object] | None = None,
    ) -> None:
        """The recipe's file; it appears whole."""
        identity = f"{self.calibration.progress.digest} {variant.cut or ''}".strip()
        metadata = {**METADATA, **(metadata or {})}
        job = Job(variant.weights, recipe.ggml_types(), variant.importance, metadata, identity)
        with self.engines.progress(label) as progress:
            write_model(job, path, self._threads, progress)


def spread(windows: Windows, limit: int) -> Windows:
    """At most `limit` windows from everywhere in a text, shuffled: the first few are spread as well."""
    order = np.random.default_rng(0).permutation(len(windows))[:limit]
    return Windows(windows.tokens[order], windows.bos)


METADATA: dict[str, object] = {"general.quantization_version": 2}
STORY_BYTES = 4096  # what the header may grow by when it tells how the file was made


def recipe_digest(variant: Variant, recipe: Recipe) -> str:
    """Tells the files apart that recipes make of one source."""
    known = (str(variant.cut or ""), sorted(recipe.types.items()))
    return sha256(repr(known).encode()).hexdigest()[:16]
