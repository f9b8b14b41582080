"""Fixtures: a browser, and the status page served for it; for a test module's `pytest_plugins`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from selenium.webdriver import Chrome

from tests.serve.chromium import CHROMIUM, DRIVER, StatusServer, complaints, emulate, open_chromium


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """One for all tests; skipped where Debian's packages chromium and chromium-driver are not installed."""
    if not (CHROMIUM.is_file() and DRIVER.is_file()):
        pytest.skip(
            "no /usr/bin/chromium and /usr/bin/chromedriver: apt-get install chromium chromium-driver"
        )
    driver = open_chromium(tmp_path_factory.mktemp("chromium"))
    yield driver
    driver.quit()


@pytest.fixture
def browser(chromium: Chrome) -> Iterator[Chrome]:
    """A wide, light window without anything logged yet."""
    emulate(chromium)
    chromium.get("about:blank")
    complaints(chromium)
    yield chromium
    chromium.get("about:blank")


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[], dict[str, Any]]], StatusServer]]:
    """`serve(status)`: a StatusServer that is stopped after the test."""
    servers: list[StatusServer] = []

    def start(status: Callable[[], dict[str, Any]]) -> StatusServer:
        servers.append(StatusServer(status))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()
