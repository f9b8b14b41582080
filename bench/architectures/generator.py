"""The engine's own generator of tiny models, test-llama-archs: one or two files for each architecture."""

from __future__ import annotations

import argparse
import subprocess
from pathlib import Path

from bench.stock_server import GENERATOR, stock_program
from sixgig.errors import EngineError

SEED = 1  # of its weights: it takes a random one unless told


def parser(program: str, description: str, parts: tuple[str, str]) -> argparse.ArgumentParser:
    """The options of a table over its files."""
    found = argparse.ArgumentParser(prog=program, description=description)
    found.add_argument("--only", nargs="+", metavar="NAME", help="files by name, deepseek2-moe say")
    found.add_argument("--part", choices=parts, help="one of the two alone")
    found.add_argument("--generator", type=Path, help="a test-llama-archs of the pinned build")
    found.add_argument("--files", type=Path, help="a folder with its files; written there where it is empty")
    found.add_argument("--json", type=Path, help="write the rows here")
    return found


def generate(folder: Path, program: Path | None = None) -> list[Path]:
    """Its files, written into `folder` where none are yet; it is built first unless `program` names one.

    Raises EngineError with its last words.
    """
    if not (found := sorted(folder.glob("*.gguf"))):
        folder.mkdir(parents=True, exist_ok=True)
        command = [str(program or stock_program(GENERATOR)), "-o", str(folder), "-s", str(SEED)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise EngineError("the generator failed", (done.stdout + done.stderr)[-200:], "see above")
        found = sorted(folder.glob("*.gguf"))
    return found
