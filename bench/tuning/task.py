"""What ours and its peers train on alike, and how a runner tells of it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.shrinking.driver import forget_peak
from sixgig.errors import UsageError
from sixgig.finetune.schedule import learning_rate
from sixgig.hardware import PeakSampler, process_memory
from sixgig.inference.tokenizer import open_tokenizer
from sixgig.modelfile import open_model

SETTINGS, TOKENS, INITIAL = "task.json", "tokens.npy", "initial"
CLIP, WARMUP_STEPS = 1.0, 1
INTERVAL_S = 0.02


@dataclass(frozen=True)
class Task:
    """One training: `steps` of `documents` documents of `context` tokens each, in tokens.npy of `work`.

    model: as GGUF; folder: the same weights as Hugging Face has them. The adapter to begin with is in
    `work`/initial, in PEFT's files.
    """

    model: str
    folder: str
    work: str
    steps: int
    documents: int
    context: int
    rank: int
    alpha: float
    rate: float
    seed: int
    threads: int

    def save(self) -> Path:
        """Into the work folder."""
        path = Path(self.work, SETTINGS)
        path.write_text(json.dumps(asdict(self)))
        return path

    @property
    def tokens(self) -> NDArray[np.int32]:
        """int32 [steps, documents, context]."""
        tokens: NDArray[np.int32] = np.load(Path(self.work, TOKENS))
        return tokens

    def rate_of(self, step: int) -> float:
        """The learning rate of step 0, 1, ..."""
        return learning_rate(step, self.steps, WARMUP_STEPS, self.rate)


def load_task(path: Path) -> Task:
    """What Task.save wrote."""
    return Task(**json.loads(path.read_text()))


def cut_tokens(task: Task, text: Path) -> None:
    """The text's first tokens to the work folder, every document full. UsageError where it is too short."""
    with open_tokenizer(open_model(Path(task.model))) as tokenizer:
        found = tokenizer.vocabulary.tokenize(text.read_text(), parse_special=False)
    shape = (task.steps, task.documents, task.context)
    needed = task.steps * task.documents * task.context
    if len(found) < needed:
        raise UsageError(f"{text} is too short", f"{len(found)} tokens, {needed} needed", "fewer --steps")
    np.save(Path(task.work, TOKENS), np.array(found[:needed], np.int32).reshape(shape))


@dataclass
class Told:
    """What a runner tells. imported_bytes: resident with everything imported, before the model is opened;
    opened_bytes: the peak until training begins; peak_bytes: that of training, all pages; of these
    peak_anonymous_bytes.
    """

    imported_bytes: int
    losses: list[float] = field(default_factory=list)
    step_seconds: list[float] = field(default_factory=list)
    opened_bytes: int = 0
    peak_bytes: int = 0
    peak_anonymous_bytes: int = 0
    more: dict[str, Any] = field(default_factory=dict)

    @contextmanager
    def training(self) -> Iterator[None]:
        """The block trains: its memory is watched."""
        self.opened_bytes = process_memory().peak_bytes
        forget_peak()
        with PeakSampler(INTERVAL_S) as sampler:
            self.began()
            yield
        self.peak_bytes, self.peak_anonymous_bytes = sampler.peak.total_bytes, sampler.peak.anonymous_bytes

    def began(self) -> None:
        """A step begins."""
        self._began_s = time.perf_counter()

    def stepped(self, loss: float) -> None:
        """A step is done, the next begins."""
        self.losses.append(loss)
        self.step_seconds.append(time.perf_counter() - self._began_s)
        self.began()

    def print(self) -> None:
        """One line of JSON."""
        json.dump(asdict(self), sys.stdout)
        print(flush=True)


def imported() -> Told:
    """Begin to tell, with everything imported."""
    return Told(process_memory().resident_bytes)
