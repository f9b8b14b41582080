"""NVIDIA's management library, through nvidia-ml-py; what it refuses becomes an Absent with its words."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sixgig.hardware.machine import Absent


class Nvml:
    """The open library. Not thread-safe: one probe opens and closes it."""

    def __init__(self, library: Any) -> None:
        self._library = library

    def ask(self, query: str, *arguments: Any) -> Any:
        """The answer to one NVML query by its C name, or Absent; bytes come as text."""
        try:
            answer = getattr(self._library, query)(*arguments)
        except AttributeError:
            return Absent(f"this nvidia-ml-py has no {query}")
        except self._library.NVMLError as error:
            return Absent(f"the NVIDIA driver says: {error}")
        return answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer

    def constant(self, name: str) -> Any:
        """A constant of the library's header."""
        return getattr(self._library, name)

    def devices(self) -> list[Any]:
        """A handle for each GPU that the driver lets this user see."""
        count = self.ask("nvmlDeviceGetCount")
        if isinstance(count, Absent):
            return []
        handles = [self.ask("nvmlDeviceGetHandleByIndex", index) for index in range(count)]
        return [handle for handle in handles if not isinstance(handle, Absent)]


@contextmanager
def open_nvml() -> Iterator[Nvml | Absent]:
    """NVML while the block runs; Absent where there is no NVIDIA driver or it does not answer."""
    try:
        library = importlib.import_module("pynvml")
    except ImportError:
        yield Absent("nvidia-ml-py is not installed")
        return
    try:
        library.nvmlInit()
    except library.NVMLError as error:
        yield Absent(f"no NVIDIA driver answers: {error}")
        return
    try:
        yield Nvml(library)
    finally:
        Nvml(library).ask("nvmlShutdown")
