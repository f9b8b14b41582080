"""What an engine process is told to run, and what it says back: one JSON document a line, both ways."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class EngineOrder:
    """One model in one process. socket: where it listens. machine: a machine file, for a GPU's placement.

    context: tokens of each of the `sequences` that are answered side by side. ram_bytes: for the whole
    process. pooling: it gives embeddings, and generates nothing.
    """

    name: str
    model: str
    socket: str
    ram_bytes: int
    context: int
    sequences: int
    threads: int
    ubatch: int = 512
    vram_bytes: int = 0
    machine: str | None = None
    always_page: bool = False
    pooling: str | None = None
    adapter: str | None = None

    def line(self) -> bytes:
        """As the process reads it."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def parse(cls, line: bytes) -> EngineOrder:
        """What line() wrote."""
        return cls(**json.loads(line))
