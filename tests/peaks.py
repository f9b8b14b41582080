"""The peak of a child's memory, watched while it runs: wait4() counts what its parent held before exec."""

import re
import subprocess
import threading
from pathlib import Path

INTERVAL_S = 0.003
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB", re.MULTILINE)


class PeakWatch:
    """peak_bytes grows while the process runs; join() once it has ended."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.peak_bytes = 0
        self._status, self._ended = Path(f"/proc/{process.pid}/status"), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> "PeakWatch":
        """From now on."""
        self._thread.start()
        return self

    def join(self) -> int:
        """The peak."""
        self._ended.set()
        self._thread.join()
        return self.peak_bytes

    def _watch(self) -> None:
        while not self._ended.wait(INTERVAL_S):
            try:
                found = _PEAK.search(self._status.read_text())
            except OSError:
                return
            if found is not None:
                self.peak_bytes = max(self.peak_bytes, int(found[1]) * 1024)
