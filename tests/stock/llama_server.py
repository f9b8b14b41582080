"""Starts llama-server as its users do, asks it one thing and reads how much memory it took."""

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from sixgig.pager.native import library_path

MIB = 1 << 20
STARTED_S, STEP_S = 90.0, 0.1
BASE = (
    "--host",
    "127.0.0.1",
    "--ctx-size",
    "512",
    "--parallel",
    "1",
    "--threads",
    "2",
    "--no-ui",
    "--offline",
)
PROMPT = [3 + i * i * 7 % 4000 for i in range(120)]


@dataclass
class Running:
    """log: the file that it writes what it says to."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def answer(self) -> tuple[list[int], list[float]]:
        """Greedy tokens after PROMPT, and the logarithms of their probabilities."""
        asked = {"prompt": PROMPT, "n_predict": 24, "temperature": 0, "n_probs": 1, "ignore_eos": True}
        answer = httpx.post(f"{self.url}/completion", json=asked, timeout=120).raise_for_status().json()
        steps = answer["completion_probabilities"]
        return [step["id"] for step in steps], [step["logprob"] for step in steps]

    def sleeps(self) -> bool:
        """Whether it has let go of its model."""
        return httpx.get(f"{self.url}/props").json()["is_sleeping"] is True

    def anonymous_bytes(self) -> int:
        """Memory of its own that it holds now: not the pages of files."""
        status = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("RssAnon"))


def start(server: Path, model: Path, log: Path, options: Sequence[str], experts: Path | None) -> Running:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    environment = os.environ.copy()
    if experts is not None:
        environment |= {"SIXGIG_EXPERTS": str(experts), "GGML_BACKEND_PATH": str(library_path())}
    command = [str(server), "-m", str(model), *BASE, "--port", str(port), *options]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
    return Running(process, f"http://127.0.0.1:{port}", log)


@contextlib.contextmanager
def running(
    server: Path, model: Path, log: Path, options: Sequence[str] = (), experts: Path | None = None
) -> Iterator[Running]:
    """The server once it answers, for the time of the block."""
    started = start(server, model, log, options, experts)
    try:
        deadline_s = time.monotonic() + STARTED_S
        while not _ready(started.url):
            assert started.process.poll() is None and time.monotonic() < deadline_s, started.said()[-2000:]
            time.sleep(STEP_S)
        yield started
    finally:
        started.process.kill()
        started.process.wait()


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health").status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def end_of(server: Path, model: Path, log: Path, options: Sequence[str], experts: Path) -> tuple[int, str]:
    """The exit status of a server that must not come up, and what it said."""
    started = start(server, model, log, options, experts)
    try:
        return started.process.wait(STARTED_S), started.said()
    finally:
        started.process.kill()
        started.process.wait()
