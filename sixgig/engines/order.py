"""What an engine process is told to run, and what it says back: one JSON document a line, both ways."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class EngineOrder:
    """One model in one process. machine: a machine file, for a GPU's placement.

    socket: where it listens; at most 107 bytes, and it ends in ".sock", by which the server knows it.
    context: tokens of each of the `sequences` that are answered side by side. ram_bytes: for the whole
    process. threads: as EngineOptions'. pooling: it gives embeddings, and generates nothing.
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
    never_page: bool = False
    pooling: str | None = None
    adapter: str | None = None

    def line(self) -> bytes:
        """As the process reads it."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def parse(cls, line: bytes) -> EngineOrder:
        """What line() wrote."""
        return cls(**json.loads(line))
