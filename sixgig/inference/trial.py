"""Files that the engine would end the process over, told before it is this one's turn to open them.

A file is opened once in a process of its own (llamacpp.trial); that it came through is remembered by its
fingerprint and header, the engine's version and the options, so that later starts do not wait. A record that
cannot be read or written costs time, nothing else.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from sixgig.atomic import replace_file
from sixgig.errors import BudgetError, ModelFileError
from sixgig.hardware.memory import available_bytes
from sixgig.inference.adapters import Adapter
from sixgig.inference.options import EngineOptions
from sixgig.llamacpp import WHEEL_VERSION, load_library
from sixgig.llamacpp.trial import OPENED
from sixgig.modelfile import ModelFile
from sixgig.modelfile.content import header_digest
from sixgig.units import format_bytes

LONGEST_S = 120.0  # opening a vocabulary of 250,000 takes a second; on a machine that is busy, some
# What opening may take besides an adapter: some vocabularies make the engine grow without end.
MOST_BYTES, MOST_POSITIONS, MOST_UBATCH = 2 << 30, 1 << 16, 512
MOST_REMEMBERED = 4096
_DIGEST_BYTES = 16
_PLACE = re.compile(r"^(?:.*/)?([\w.-]+\.\w+:\d+: )")  # a path of the machine that built the engine


def require_openable(
    model: ModelFile, options: EngineOptions | None = None, adapter: Adapter | None = None
) -> None:
    """ModelFileError where opening these files would end the process; nothing where the engine just refuses.

    options: with a context made as well; without, only what a tokenizer needs. BudgetError where there is no
    memory even for trying. Where no process can be started nothing is tried.
    """
    options = options and _heeded(options)
    digest = _digest(model, options, adapter)
    record = user_cache_path("sixgig") / "opened.txt"
    if digest in _remembered(record):
        return
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "sixgig.llamacpp.trial"],
            input=json.dumps(_order(model, options, adapter)).encode(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=os.environ | {"GGML_NO_BACKTRACE": "1"},
            timeout=LONGEST_S,
            check=False,
        )
    except OSError:
        return
    except subprocess.TimeoutExpired as error:
        raise _unusable(model, options, adapter, f"not done after {LONGEST_S:.0f} s") from error
    if done.returncode == OPENED:
        _remember(record, digest)
    elif done.returncode < 0:
        raise _dead(model, options, adapter, -done.returncode, _last_words(done.stderr))


def _heeded(options: EngineOptions) -> EngineOptions:
    """What decides how a graph is built, in main memory: no GPU has a say in what a file is.

    More positions or more tokens together make no other graph, but take memory.
    """
    return replace(
        options,
        context=min(options.context, max(256, MOST_POSITIONS // options.sequences)),
        ubatch=min(options.ubatch, MOST_UBATCH),
        threads=1,
        gpu_layers=0,
        host_tensors=(),
        extra_buffers=True,
        offload_products=True,
    )


def _order(model: ModelFile, options: EngineOptions | None, adapter: Adapter | None) -> dict[str, Any]:
    c = load_library().c
    model_params, context_params = c.llama_model_default_params(), c.llama_context_default_params()
    (options or EngineOptions()).apply_to_model(model_params)
    model_params.no_alloc = True
    if options is not None:
        options.apply_to_context(context_params)
    return {
        "parts": [str(part) for part in model.parts],
        "model": bytes(model_params).hex(),
        "context": bytes(context_params).hex() if options else None,
        "adapter": str(adapter.file.path) if adapter else None,
        "memory_bytes": MOST_BYTES
        + (adapter.bytes.held_bytes + adapter.bytes.loading_bytes if adapter else 0),
    }


def _digest(model: ModelFile, options: EngineOptions | None, adapter: Adapter | None) -> str:
    files = model.fingerprints, header_digest(model)
    parts = (WHEEL_VERSION, files, options, adapter and adapter.file.fingerprint)
    return hashlib.blake2b(repr(parts).encode(), digest_size=_DIGEST_BYTES).hexdigest()


def _remembered(record: Path) -> frozenset[str]:
    try:
        return frozenset(record.read_text("ascii").split())
    except (OSError, UnicodeDecodeError):
        return frozenset()


def _remember(record: Path, digest: str) -> None:
    try:
        record.parent.mkdir(parents=True, exist_ok=True)
        with record.open("ab", buffering=0) as file:
            file.write(f"{digest}\n".encode())  # one write: lines of several processes stay whole
        lines = record.read_text("ascii").split()
        if len(lines) > MOST_REMEMBERED:
            replace_file(record, "".join(f"{line}\n" for line in lines[-MOST_REMEMBERED // 2 :]))
    except (OSError, UnicodeDecodeError):
        return


def _dead(
    model: ModelFile, options: EngineOptions | None, adapter: Adapter | None, number: int, words: str
) -> ModelFileError | BudgetError:
    if number == signal.SIGKILL:  # never by itself: the system had no more
        numbers = f"{format_bytes(available_bytes())} available"
        return BudgetError(f"there is no memory to open {model.name}", numbers, "free some")
    name = next((one.name for one in signal.Signals if one == number), f"signal {number}")
    more = f" within {format_bytes(MOST_BYTES)}" if "std::bad_alloc" in words else ""
    return _unusable(model, options, adapter, (words or name) + more)


def _unusable(
    model: ModelFile, options: EngineOptions | None, adapter: Adapter | None, numbers: str
) -> ModelFileError:
    beside = f" with {adapter.file.path.name}" if adapter else ""
    what = f"llama.cpp cannot open {model.parts[0].name}{beside}"
    cure = "the file is damaged or of a kind that this engine does not run: convert it again, or take another"
    if options is not None and options.sequences > 1:  # some graphs need so many tokens for each sequence
        cure = f"try another number than {options.sequences} in parallel; else {cure}"
    return ModelFileError(what, numbers, cure)


def _last_words(said: bytes) -> str:
    """The assertion that failed, else what was thrown, else the last error that was logged; "" for none."""
    lines = [line.strip() for line in said.decode("utf-8", "replace").splitlines() if line.strip()]
    told = (
        [line for line in lines if _PLACE.match(line)]
        or [line for line in lines if line.startswith("what():")]
        or lines
    )
    return _PLACE.sub(r"\1", told[-1])[:300] if told else ""
