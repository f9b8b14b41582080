"""A server of the demo model in a process of its own, and the engine's socket behind it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

ROOT = Path(__file__).parents[2]
# An editable install finds this checkout's modules before any path: another checkout must do without it.
OWN_MODULES_FIRST = """\
import sys
sys.meta_path[:] = [finder for finder in sys.meta_path if "ScikitBuild" not in type(finder).__name__]
"""


@dataclass(frozen=True)
class Served:
    """base_url: the gateway's. pid: of the gateway."""

    base_url: str
    pid: int

    def engine_pid(self) -> int:
        """The one engine process."""
        return int(httpx.get(f"{self.base_url}/status.json").json()["models"][0]["pid"])

    def processor_s(self) -> float:
        """Processor time that the gateway's threads have taken so far, by the scheduler's own clock."""
        files = Path(f"/proc/{self.pid}/task").glob("*/schedstat")
        return sum(int(file.read_text().split()[0]) for file in files) / 1e9

    def engine_socket(self) -> str:
        """Where the engine listens: the Unix socket that it alone has bound."""
        connections = psutil.Process(self.engine_pid()).net_connections("unix")
        return next(str(c.laddr) for c in connections if str(c.laddr).endswith(".sock"))


@contextlib.contextmanager
def serving(*options: str, checkout: Path = ROOT) -> Iterator[Served]:
    """`sixgig serve` of a checkout with these options, at a free port, its ledger in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder, Path(folder, "log").open("w+") as log:
        Path(folder, "sitecustomize.py").write_text(OWN_MODULES_FIRST)
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "sixgig", "serve", "--port", "0", *options],
            stderr=log,
            env=os.environ
            | {
                "PYTHONPATH": os.pathsep.join([folder, str(checkout)]),
                "XDG_DATA_HOME": folder,
                "OMP_WAIT_POLICY": "passive",
            },
        )
        try:
            yield Served(_address(process, Path(folder, "log")), process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(90)


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """As the server says it, once it listens."""
    while process.poll() is None:
        found = re.search(r"http://[^\s]+:\d+", log.read_text())
        if found and _answers(found.group()):
            return found.group()
        time.sleep(0.05)
    raise RuntimeError(f"the server ended: {log.read_text()}")


def _answers(address: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"{address}/health").status_code == httpx.codes.OK
    return False
