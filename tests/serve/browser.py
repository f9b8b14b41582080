"""Debian's chromium without a window, driven by selenium, and a server of the status page for it to look at."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from selenium import webdriver
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.support.wait import WebDriverWait
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sixgig.server.page import page_routes

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
WIDE, NARROW = (1280, 844), (390, 844)
PATIENCE_S = 20
FLAGS = (
    "--headless=new",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


class StatusServer:
    """The page with `status` as its document: a new one each poll. `key`: the only one it answers to."""

    def __init__(self, status: Callable[[], dict[str, Any]], key: str | None = None) -> None:
        self.status = status
        self._key = key
        self._port = 0
        self.start()

    @property
    def url(self) -> str:
        """Where the page is, stopped or not."""
        return f"http://127.0.0.1:{self._port}/"

    def start(self) -> None:
        """Listens when it returns, each time on the same port."""
        listener = socket.create_server(("127.0.0.1", self._port))
        self._port = listener.getsockname()[1]
        app = Starlette(routes=[*page_routes(), Route("/status.json", self._answer)])
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        self._thread = threading.Thread(target=self._server.run, args=([listener],), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Every connection is closed when it returns."""
        self._server.should_exit = True
        self._thread.join()

    async def _answer(self, request: Request) -> Response:
        if self._key is not None and request.headers.get("authorization") != f"Bearer {self._key}":
            return Response(status_code=401)
        return JSONResponse(self.status())


def open_chromium(profile: Path) -> Chrome:
    """`profile`: a fresh folder. What the page logs is kept for `get_log("browser")`."""
    options = ChromeOptions()
    options.binary_location = str(CHROMIUM)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in (*FLAGS, f"--user-data-dir={profile}", *(["--no-sandbox"] if os.getuid() == 0 else [])):
        options.add_argument(flag)
    return Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))


def emulate(browser: Chrome, size: tuple[int, int] = WIDE, scheme: str = "light", **media: str) -> None:
    """The size of the page in CSS pixels; the colour scheme; further media features by name."""
    width, height = size
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    wanted = {"prefers-color-scheme": scheme, **{name.replace("_", "-"): value for name, value in media.items()}}
    features = [{"name": name, "value": value} for name, value in wanted.items()]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def until(browser: Chrome, expression: str) -> Any:
    """Waits until the JavaScript expression is true, gives its value."""
    return WebDriverWait(browser, PATIENCE_S, 0.05).until(
        lambda driver: driver.execute_script(f"return {expression}"), f"never true: {expression}"
    )


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """One for all tests; skipped where Debian's packages chromium and chromium-driver are not installed."""
    if not (CHROMIUM.is_file() and DRIVER.is_file()):
        pytest.skip("no /usr/bin/chromium and /usr/bin/chromedriver: apt-get install chromium chromium-driver")
    driver = open_chromium(tmp_path_factory.mktemp("chromium"))
    yield driver
    driver.quit()


@pytest.fixture
def browser(chromium: Chrome) -> Iterator[Chrome]:
    """A wide, light window without anything logged yet."""
    emulate(chromium)
    chromium.get("about:blank")
    chromium.get_log("browser")
    yield chromium
    chromium.get("about:blank")


@pytest.fixture
def serve() -> Iterator[Callable[..., StatusServer]]:
    """`serve(status, key=None)`: a StatusServer that is stopped after the test."""
    servers: list[StatusServer] = []

    def start(status: Callable[[], dict[str, Any]], key: str | None = None) -> StatusServer:
        servers.append(StatusServer(status, key))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()
