"""What a calibration found, and its file: a GGUF file of arrays that also serves as the state of a run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sixgig.calibration.moments import Collector, Counts, Doubles, ExpertUse, Floats, Moments, Stream
from sixgig.calibration.samples import SampleLayout, read_samples
from sixgig.errors import ModelFileError
from sixgig.modelfile.arrays import Array, read_arrays, write_arrays
from sixgig.modelfile.imatrix import Imatrix

FILE, SAMPLES = "calibration.gguf", "samples.f16"
_KIND = "sixgig-calibration"
_STATE = "sixgig.calibration.state"
_SEEN = ".seen"
_MOMENTS = {"counts": np.int64, "sums": np.float32, "squares": np.float32}
_STREAM = {"counts": np.int64, "squares": np.float64}
_EXPERTS = {"expert_routed": np.int64, "expert_norms": np.float64, "expert_peaks": np.float32}
_CURE = "calibrate again"


@dataclass(frozen=True)
class Progress:
    """How far a run is. digest: of all that decides the result; text: what the windows were cut from."""

    digest: str
    n_done: int
    n_windows: int
    context: int
    text: str

    @property
    def complete(self) -> bool:
        """Whether all windows were read."""
        return self.n_done == self.n_windows


@dataclass(frozen=True)
class Calibration:
    """Statistics of one pass over a text, tokens weighted alike.

    same_input: for each weight that met inputs, the weight whose moments it shares. experts: by layer, absent
    where the family weights the experts' inputs. The arrays of a loaded one are views of its file.
    """

    progress: Progress
    same_input: Mapping[str, str]
    moments_by_first: Mapping[str, Moments]
    experts: Mapping[int, ExpertUse]
    stream: Stream
    sample_layout: SampleLayout
    seen: Mapping[str, Counts]
    samples_path: Path

    def moments(self, name: str) -> Moments | None:
        """The moments of a weight's inputs; None for one that met none (embeddings, norms)."""
        first = self.same_input.get(name)
        return None if first is None else self.moments_by_first[first]

    def importance(self, name: str) -> Floats | None:
        """Mean squared inputs, float32 [matrices, n_in], ones for a matrix never used; None as moments()."""
        moments = self.moments(name)
        return None if moments is None else moments.importance

    @property
    def residual(self) -> Doubles:
        """Mean squared norm of the stream after each layer, [layers]."""
        return self.stream.mean_square_norm

    @property
    def n_tokens(self) -> int:
        """Tokens read."""
        return self.progress.n_done * self.progress.context

    def samples(self, name: str, matrix: int = 0) -> Floats:
        """Inputs that a matrix met, float32 [n, n_in], a uniform sample of all, rounded to float16.

        No rows for a weight that was not sampled. Raises ModelFileError when the samples' file is damaged.
        """
        if name not in self.sample_layout.places:
            moments = self.moments(name)
            return np.empty((0, 0 if moments is None else moments.sums.shape[1]), np.float32)
        return read_samples(self.samples_path, self.sample_layout, self.seen, name, matrix)

    def to_imatrix(self) -> Imatrix:
        """The same as llama.cpp's imatrix tool would have found."""
        entries = {
            name: (
                self.moments_by_first[first].squares,
                self.moments_by_first[first].counts.astype(np.float32),
            )
            for name, first in self.same_input.items()
        }
        return Imatrix(entries, (self.progress.text,), self.progress.n_done, self.progress.context)

    @staticmethod
    def load(folder: Path) -> Calibration:
        """The calibration in a work folder, complete or not; ModelFileError where there is none."""
        path = folder / FILE
        header, arrays = read_arrays(path)
        if header.metadata.text("general.type") != _KIND:
            raise ModelFileError(f"{path} is no calibration", cure=_CURE)
        try:
            return _restored(folder, json.loads(header.metadata.text(_STATE) or ""), arrays)
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise ModelFileError(f"{path} is damaged", repr(error)[:200], _CURE) from error


def save(folder: Path, collector: Collector, progress: Progress) -> None:
    """Put the state of a run on disk, samples first; it replaces the one before whole or not at all."""
    arrays = dict[str, Array]()
    for name, moments in collector.moments.items():
        arrays |= _named(name, _MOMENTS, (moments.counts, moments.sums, moments.squares))
    for layer, use in collector.experts.items():
        arrays |= _named(f"blk.{layer}", _EXPERTS, (use.routed, use.norm_sums, use.peaks))
    arrays |= _named("stream", _STREAM, (collector.stream_sums.counts, collector.stream_sums.squares))
    places = {}
    if collector.samples is not None:
        collector.samples.sync()
        places = {name: astuple(place)[1:] for name, place in collector.samples.layout.places.items()}
        arrays |= {name + _SEEN: seen for name, seen in collector.samples.seen.items()}
    state = {
        "progress": asdict(progress),
        "same_input": collector.same_input,
        "experts": list(collector.experts),
        "samples": places,
    }
    write_arrays(folder / FILE, {"general.type": _KIND, _STATE: json.dumps(state)}, arrays)


def _named(name: str, parts: Iterable[str], values: Iterable[Array]) -> dict[str, Array]:
    return {f"{name}.{part}": array for part, array in zip(parts, values, strict=True)}


def _restored(folder: Path, state: dict[str, Any], arrays: Mapping[str, Array]) -> Calibration:
    """The calibration that save() wrote; KeyError, ValueError or TypeError where it is another file."""
    same_input: dict[str, str] = state["same_input"]
    layout = SampleLayout.of({name: tuple(place) for name, place in state["samples"].items()})
    return Calibration(
        Progress(**state["progress"]),
        same_input,
        {name: _moments(arrays, name) for name in same_input.values()},
        {int(layer): ExpertUse(*_parts(arrays, f"blk.{layer}", _EXPERTS)) for layer in state["experts"]},
        Stream(*_parts(arrays, "stream", _STREAM)),
        layout,
        {name: _checked(arrays[name + _SEEN], np.int64) for name in layout.places},
        folder / SAMPLES,
    )


def _moments(arrays: Mapping[str, Array], name: str) -> Moments:
    counts, sums, squares = _parts(arrays, name, _MOMENTS)
    if sums.shape != squares.shape or sums.shape[:-1] != counts.shape:
        raise ValueError(f"{name} has moments of different shapes")
    return Moments(counts, sums, squares)


def _parts(arrays: Mapping[str, Array], name: str, parts: Mapping[str, type[Any]]) -> list[Array]:
    return [_checked(arrays[f"{name}.{part}"], dtype) for part, dtype in parts.items()]


def _checked(array: Array, dtype: type[Any]) -> Array:
    if array.dtype != dtype:
        raise ValueError(f"{array.dtype} where {dtype.__name__} belongs")
    return array
