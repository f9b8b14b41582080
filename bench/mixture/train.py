"""Trains a mixture's experts, and its routers, which `sixgig tune` never does, by what tuning is made of."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.mixture.text import CONTEXT, Text, document
from sixgig.families import Role
from sixgig.finetune.adapter import Target, targets
from sixgig.finetune.choices import Part
from sixgig.finetune.footing import find_footing
from sixgig.finetune.net import build_net
from sixgig.finetune.packing import Steps, pack
from sixgig.finetune.session import Setup, open_trainer
from sixgig.finetune.state import Progress
from sixgig.finetune.train import Corpus, Recipe, Stepped, batches
from sixgig.hardware import process_memory
from sixgig.modelfile import ModelFile
from sixgig.modelfile.lora import Lora
from sixgig.planning import ProcessBytes, anatomy
from sixgig.planning.tuning import Batch, plan_tuning

MICRO_TOKENS = 2 * CONTEXT
MICRO_BATCHES = 1  # in a step: 1,024 tokens
CLIP, WARMUP_SHARE, EVALUATIONS = 1.0, 0.05, 2
JUDGED = 4  # held-out pieces that the run itself looks at
Say = Callable[[str], object]


@dataclass(frozen=True)
class Training:
    """How long, how strongly, within which memory. rate: AdamW's, at its peak."""

    steps: int
    rate: float
    rank: int
    seed: int
    threads: int
    ram_bytes: int

    @property
    def alpha(self) -> float:
        """The adapter's, twice its rank."""
        return 2.0 * self.rank


class _Teller:
    """A train.Listener in lines."""

    def __init__(self, say: Say) -> None:
        self._say = say

    def stepped(self, progress: Progress, step: Stepped) -> None:
        """As train.Listener."""
        self._say(f"step {progress.step}: loss {step.loss.mean:.4f}, {step.seconds:.1f} s")

    def evaluated(self, progress: Progress) -> None:
        """As train.Listener."""
        at, loss = progress.held_out[-1]
        self._say(f"after step {at}: held-out loss {loss:.4f}")


def routers(model: ModelFile) -> tuple[Target, ...]:
    """The routers' matrices, which `sixgig tune` leaves as they are."""
    return tuple(
        Target(tensor.name, tensor.shape)
        for tensor in model.tensors
        if tensor.role is Role.ROUTER and len(tensor.shape) == 2
    )


def train(mixture: ModelFile, text: Text, training: Training, say: Say) -> tuple[Lora, Progress]:
    """The adapter of the lowest held-out loss, on routers and experts, and how the run went.

    Experts that begin alike become different: each has factors of its own, and its own tokens.
    """
    wanted = (*routers(mixture), *targets(mixture, (Part.EXPERTS,)))
    n_weights = sum(target.n_weights(training.rank) for target in wanted)
    find_footing(training.threads)
    held = process_memory()
    process = ProcessBytes(held.anonymous_bytes + held.shared_bytes, held.file_bytes)
    batch = Batch(MICRO_BATCHES * MICRO_TOKENS, MICRO_TOKENS, n_weights)
    plan = plan_tuning(anatomy(mixture), batch, process, training.ram_bytes)
    setup = Setup(wanted, training.rank, training.alpha, training.seed, training.threads)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "state.safetensors")
        opened = open_trainer(
            build_net(mixture), plan, setup, _recipe(training), _corpus(text, training.seed), path, {}
        )
        with opened as (trainer, adapter, _):
            trainer.run(_Teller(say))
            return adapter.to_lora(mixture.architecture, trainer.best_tensors()), trainer.progress


def _recipe(training: Training) -> Recipe:
    return Recipe(
        optimiser="adamw",
        learning_rate=training.rate,
        weight_decay=0.0,
        steps=training.steps,
        warmup_steps=round(WARMUP_SHARE * training.steps),
        clip=CLIP,
        evaluate_every=max(1, training.steps // EVALUATIONS),
        patience=training.steps,
        save_every_s=inf,
    )


def _corpus(text: Text, seed: int) -> Corpus:
    steps = Steps([document(piece) for piece in text.learnt], MICRO_TOKENS, MICRO_BATCHES, seed)
    judged = pack([document(piece) for piece in text.held_out[:JUDGED]], MICRO_TOKENS, seed, 0)
    return Corpus(steps.__getitem__, batches(judged, MICRO_BATCHES))


def split(
    lora: Lora, before: list[NDArray[np.float32]], model: ModelFile
) -> tuple[Lora, list[NDArray[np.float32]]]:
    """The experts' part of an adapter, and the routers with theirs added: a merge leaves routers alone."""
    names = [target.name for target in routers(model)]
    after = []
    for name, router in zip(names, before, strict=True):
        a, b = lora.pairs[name]
        after.append((router + np.float32(lora.scale(name)) * (b @ a)).astype(np.float32))
    rest = {name: pair for name, pair in lora.pairs.items() if name not in names}
    return Lora(lora.architecture, lora.alpha, rest), after
