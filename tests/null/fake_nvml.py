"""A pynvml module that answers from a table; what it has no answer for is refused, as by an old driver."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

MIB = 1 << 20
GTX_1060: dict[str, Any] = {
    "nvmlDeviceGetName": "NVIDIA GeForce GTX 1060 6GB",
    "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=6144 * MIB, free=5900 * MIB),
    "nvmlDeviceGetCudaComputeCapability": (6, 1),
    "nvmlDeviceGetMaxPcieLinkGeneration": 3,
    "nvmlDeviceGetMaxPcieLinkWidth": 16,
    "nvmlDeviceGetMemoryBusWidth": 192,
    "nvmlDeviceGetMaxClockInfo": 4004,
    "nvmlDeviceGetPowerUsage": 30_000,
}


@dataclass
class FakeNvml:
    """cards: answers by query, one table a card. driver None: there is no library to open."""

    cards: list[dict[str, Any]]
    driver: str | None = "580.95.05"
    NVML_CLOCK_MEM: int = 2
    closed: list[bool] = field(default_factory=list)

    class NVMLError(Exception):
        pass

    def install(self, monkeypatch: pytest.MonkeyPatch) -> "FakeNvml":
        monkeypatch.setitem(__import__("sys").modules, "pynvml", self)
        return self

    def nvmlInit(self) -> None:
        if self.driver is None:
            raise self.NVMLError("NVML Shared Library Not Found")

    def nvmlShutdown(self) -> None:
        self.closed.append(True)

    def nvmlDeviceGetCount(self) -> int:
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> dict[str, Any]:
        return self.cards[index]

    def nvmlSystemGetDriverVersion(self) -> str | None:
        return self.driver

    def __getattr__(self, query: str) -> Any:
        if not query.startswith("nvmlDeviceGet"):
            raise AttributeError(query)

        def answer(card: dict[str, Any], *_arguments: Any) -> Any:
            if query not in card:
                raise self.NVMLError("Not Supported")
            return card[query]

        return answer
