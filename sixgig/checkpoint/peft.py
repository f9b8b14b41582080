"""A low-rank adapter as PEFT reads it, from one in GGUF's names and layout.

Source: peft 0.21, LoraConfig and lora.ParamWrapper, which adapts the stacks of experts that transformers 5
holds as parameters: A (experts * rank, n_in), expert by expert; B (n_out, rank * experts), the experts of one
rank side by side. Of two parameters of one module the last registered is the outer wrapper, and the other's
name has "base_layer" in it. Gate and up are one parameter: their ranks add up, B is block-diagonal. PEFT then
warns that rank_pattern and alpha_pattern matched no module; it looks at modules only, and applies them.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from struct import pack

import numpy as np

from sixgig.atomic import replace_file
from sixgig.checkpoint.origins import Origin, Origins
from sixgig.checkpoint.whole import whole_file
from sixgig.errors import UsageError
from sixgig.modelfile import ModelFile
from sixgig.modelfile.header import padded
from sixgig.modelfile.lora import Floats, Lora
from sixgig.modelfile.lora_fit import check_lora

_WEIGHT, _ALIGNMENT = ".weight", 8


@dataclass(frozen=True)
class Piece:
    """One pair of the adapter, and its place in the checkpoint. A [..., rank, n_in], B [..., n_out, rank]."""

    origin: Origin
    a: Floats
    b: Floats
    scale: float

    @property
    def rank(self) -> int:
        """Its own."""
        return int(self.a.shape[-2])


@dataclass(frozen=True)
class Adapted:
    """A module's weight or a parameter, with all pieces that adapt it."""

    name: str
    pieces: tuple[Piece, ...]

    @property
    def target(self) -> str:
        """What PEFT calls it: the module, or the parameter with its module."""
        return self.name.removesuffix(_WEIGHT)

    @property
    def module(self) -> str:
        """The module that is wrapped."""
        return self.target.rpartition(".")[0] if self.is_parameter else self.target

    @property
    def is_parameter(self) -> bool:
        """Whether it hangs on a module that is more than a matrix."""
        return not self.name.endswith(_WEIGHT)

    @property
    def rank(self) -> int:
        """Of all pieces together."""
        return sum(piece.rank for piece in self.pieces)

    @property
    def alpha(self) -> float:
        """What gives the first piece its scale; `factors` sees to the others."""
        return self.pieces[0].scale * self.rank

    @cached_property
    def shapes(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """A's and B's, as PEFT stores them."""
        piece = self.pieces[0]
        inner = self.rank * (len(piece.a) if piece.a.ndim == 3 else 1)
        return (inner, piece.a.shape[-1]), (piece.origin.n_rows, inner)

    def factors(self) -> tuple[Floats, Floats]:
        """A and B as PEFT stores them."""
        stack, first = self.pieces[0].a.shape[:-2], self.pieces[0]
        a = np.empty((*stack, self.rank, first.a.shape[-1]), np.float32)
        b = np.zeros((*stack, first.origin.n_rows, self.rank), np.float32)
        end = 0
        for piece in self.pieces:
            start, end = end, end + piece.rank
            a[..., start:end, piece.origin.columns] = piece.a
            b[..., piece.origin.rows, start:end] = piece.b * np.float32(piece.scale / first.scale)
        shape_a, shape_b = self.shapes
        return a.reshape(shape_a), (b.transpose(1, 2, 0) if stack else b).reshape(shape_b)


def write_peft(folder: Path, model: ModelFile, lora: Lora, base_name: str = "") -> str:
    """Writes adapter_model.safetensors and adapter_config.json into `folder`; each appears whole.

    The names are those of transformers' causal language models (AutoModelForCausalLM), not of models that see
    as well. `base_name`: of the base model at its hub. Returns a notice, empty where all was written: tensors
    that PEFT has no place for are left out, namely routers and what transformers does not hold as the recipes
    say. Memory: one tensor beside the adapter. Raises ModelFileError where the adapter is not for the model,
    UsageError where nothing is left or `folder` cannot be written.
    """
    check_lora(lora, model)
    adapted, left_out = _adapted(Origins(model), lora)
    numbers = f"{len(left_out)} of {len(lora.pairs)} tensors, such as {next(iter(left_out), '')}"
    if not adapted:
        raise UsageError("PEFT has no place for this adapter", numbers)
    config = json.dumps(_config(adapted, base_name), indent=2) + "\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_weights(folder / "adapter_model.safetensors", adapted)
        replace_file(folder / "adapter_config.json", config)
    except OSError as error:
        raise UsageError(f"cannot write {folder}", error.strerror or str(error)) from error
    return f"PEFT's files lack what PEFT has no place for: {numbers}" if left_out else ""


def _adapted(origins: Origins, lora: Lora) -> tuple[list[Adapted], list[str]]:
    """What is adapted, the parameters of a module as registered; and tensors that PEFT has no place for."""
    pieces: dict[str, list[Piece]] = {}
    left_out = []
    for name, (a, b) in lora.pairs.items():
        if (origin := origins.of(name)) is None:
            left_out.append(name)
        else:
            pieces.setdefault(origin.name, []).append(Piece(origin, a, b, lora.scale(name)))
    found = sorted(pieces.items(), key=lambda item: item[1][0].origin.position)
    return [Adapted(name, tuple(parts)) for name, parts in found], left_out


def _config(adapted: Sequence[Adapted], base_name: str) -> dict[str, object]:
    """LoraConfig's fields. Rank and alpha that most have are the default, others have patterns."""
    scales = [(one.target, one.rank, one.alpha) for one in adapted]
    (rank, usual_alpha), _ = Counter((r, a) for _, r, a in scales).most_common(1)[0]
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_name or None,
        "inference_mode": True,
        "bias": "none",
        "lora_dropout": 0.0,
        "r": rank,
        "lora_alpha": usual_alpha,
        "target_modules": [one.target for one in adapted if not one.is_parameter],
        "target_parameters": [one.target for one in adapted if one.is_parameter],
        "rank_pattern": {re.escape(target): r for target, r, _ in scales if r != rank},
        "alpha_pattern": {re.escape(target): a for target, _, a in scales if a != usual_alpha},
    }


def _write_weights(path: Path, adapted: Sequence[Adapted]) -> None:
    """Format: safetensors, eight bytes with the header's size, JSON, the data without holes."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for one, stem in zip(adapted, _stems(adapted), strict=True):
        for kind, shape in zip("AB", one.shapes, strict=True):
            start, end = end, end + 4 * prod(shape)
            header[f"{stem}.lora_{kind}.weight"] = {
                "dtype": "F32",
                "shape": shape,
                "data_offsets": [start, end],
            }
    raw = json.dumps(header).encode()
    raw = raw.ljust(padded(len(raw), _ALIGNMENT))
    with whole_file(path) as (file, _):
        file.write(pack("<Q", len(raw)) + raw)
        for one in adapted:
            for factor in one.factors():
                file.write(np.ascontiguousarray(factor, "<f4").data)


def _stems(adapted: Sequence[Adapted]) -> Iterator[str]:
    """The module that PEFT puts in each one's place."""
    wrapped = Counter(one.module for one in adapted if one.is_parameter)
    for one in adapted:
        wrapped[one.module] -= 1
        depth = wrapped[one.module] if one.is_parameter else 0
        yield f"base_model.model.{one.module}" + ".base_layer" * depth
