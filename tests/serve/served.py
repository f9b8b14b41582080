"""`sixgig serve` as its users start it: a process on a free port, with several models."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np

from sixgig.energy import EnergyMonitor
from sixgig.engines import Budget, ModelCard
from sixgig.gateway.gateway import Gateway
from sixgig.hardware.machine import Absent
from sixgig.ledger import Ledger
from sixgig.modelfile import open_model
from sixgig.settings import Settings
from tests.serve.ollama_server import DEMO, rewritten
from tests.tiny.models import build

ROOT = Path(__file__).parents[2]
STARTED_S, STOPPED_S = 60, 30
_ADDRESS = re.compile(r"at (http://\S+)")
CALL, BEGINNING = "<tool_call>", "Copyright"
# Short form of the format in which Qwen and Hermes models are told of tools, and call them.
TOOL_TEMPLATE = """\
{%- if tools %}<|im_start|>system
You may call tools: {% for tool in tools %}{{ tool | tojson }}
{% endfor %}Call one as <tool_call>{"name": NAME, "arguments": ARGUMENTS}</tool_call>.<|im_end|>
{% endif %}
{%- for message in messages %}<|im_start|>{{ message.role }}
{{ message.content or '' }}
{%- for call in message.tool_calls or [] %}
{%- set asked = call.function %}
<tool_call>{"name": "{{ asked.name }}", "arguments": {{ asked.arguments | tojson }}}</tool_call>
{%- endfor %}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


@dataclass(frozen=True)
class Served:
    """A running server. log: what it said so far, a line an event."""

    url: str
    process: subprocess.Popen[str]
    log: list[str]

    def status(self) -> dict:
        return httpx.get(f"{self.url}/status.json").json()

    def until(self, condition: Callable[[dict], bool]) -> dict:
        """The first status for which that holds; they come once a second. pytest ends what waits for ever."""
        while not condition(status := self.status()):
            time.sleep(0.05)
        return status


@contextlib.contextmanager
def sixgig_serve(folder: Path, configuration: str, descriptors: int | None = None) -> Iterator[Served]:
    """The command with this configuration, its ledger below `folder`; it must end well when it is told to.

    descriptors: so many files may be open.
    """
    path = folder / "serve.toml"
    path.write_text(configuration)
    limited = [] if descriptors is None else ["prlimit", f"--nofile={descriptors}"]
    process = subprocess.Popen(
        [*limited, sys.executable, "-m", "sixgig", "serve", "--config", str(path), "--port", "0"],
        env=os.environ | {"PYTHONPATH": str(ROOT), "XDG_DATA_HOME": str(folder / "data")},
        stderr=subprocess.PIPE,
        text=True,
    )
    log: list[str] = []
    listening = threading.Event()
    reader = threading.Thread(target=_read, args=(process, log, listening))
    reader.start()
    try:
        assert listening.wait(STARTED_S) and process.poll() is None, "".join(log)
        yield Served(_address(log), process, log)
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOPPED_S) == 0, "".join(log)
    finally:
        process.kill()
        process.wait()
        reader.join()
        process.stderr.close()


@contextlib.contextmanager
def gateway_of(cards: Sequence[ModelCard], room_bytes: int) -> Iterator[Gateway]:
    """A gateway in this process, for make_app; not running yet."""
    folder = Path(tempfile.mkdtemp(prefix="sixgig-"))
    ledger, monitor = Ledger.open(folder / "ledger.db"), EnergyMonitor(Absent("none in a test"))
    try:
        yield Gateway(Settings(), cards, Budget(room_bytes), folder, ledger, monitor, threads=2)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def models(folder: Path) -> str:
    """The [models] of a configuration: a chat, one that embeds, one whose template knows tools, one slot."""
    paths = {
        "demo": DEMO,
        "embedder": build("qwen3", folder / "embedder.gguf", "Q8_0", n_layers=2),
        "tools": tool_caller(folder / "tools.gguf"),
        "single": DEMO,
    }
    extra = {"embedder": 'pooling = "mean"\ncontext = 512', "single": "parallel = 1\ncontext = 2048"}
    return "\n".join(
        f"[models.{name}]\npath = {json.dumps(str(path))}\n{extra.get(name, '')}"
        for name, path in paths.items()
    )


def tool_caller(path: Path) -> Path:
    """The demo model with TOOL_TEMPLATE; its last token is CALL, with which it now begins."""
    words = open_model(DEMO).metadata.array("tokenizer.ggml.tokens")
    changes = {"tokenizer.ggml.tokens": [*words[:-1], CALL], "tokenizer.chat_template": TOOL_TEMPLATE}
    tensors = open_model(rewritten(path, changes)).tensors
    head = next(tensor for tensor in tensors if tensor.name == "output.weight")
    rows = np.memmap(path, np.uint8, "r+", head.offset, (len(words), head.size_bytes // len(words)))
    rows[-1] = rows[words.index(BEGINNING)]
    rows[-1, -2:].view(np.float16)[:] *= 2  # the scale of a row's one block
    rows.flush()
    return path


def _read(process: subprocess.Popen[str], log: list[str], listening: threading.Event) -> None:
    for line in process.stderr:
        log.append(line)
        if "Application startup complete" in line:
            listening.set()
    listening.set()


def _address(log: list[str]) -> str:
    return next(found[1] for line in log if (found := _ADDRESS.search(line)))
