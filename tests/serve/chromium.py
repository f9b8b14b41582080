"""Debian's chromium without a window, driven by selenium, and a server of the status page for it to see."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
    """The page with what `status` gives as its document, a new one each poll."""

    def __init__(self, status: Callable[[], dict[str, Any]]) -> None:
        self.status = status
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

    async def _answer(self, _request: Request) -> Response:
        return JSONResponse(self.status())


def open_chromium(profile: Path) -> Chrome:
    """`profile`: a fresh folder. What the page logs is kept for `get_log("browser")`."""
    options = ChromeOptions()
    options.binary_location = str(CHROMIUM)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in (*FLAGS, f"--user-data-dir={profile}", *(["--no-sandbox"] if os.getuid() == 0 else [])):
        options.add_argument(flag)
    return Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))


def complaints(browser: Chrome) -> list[str]:
    """What the browser logged since the last call: errors, refused connections, violations of the policy."""
    entries: list[dict[str, Any]] = browser.get_log("browser")  # type: ignore[no-untyped-call]
    return [entry["message"] for entry in entries]


def emulate(browser: Chrome, size: tuple[int, int] = WIDE, scheme: str = "light", **media: str) -> None:
    """The size of the page in CSS pixels; the colour scheme; further media features by name."""
    width, height = size
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    wanted = {
        "prefers-color-scheme": scheme,
        **{name.replace("_", "-"): value for name, value in media.items()},
    }
    features = [{"name": name, "value": value} for name, value in wanted.items()]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def until(browser: Chrome, expression: str) -> Any:
    """Waits until the JavaScript expression is true, gives its value."""
    return WebDriverWait(browser, PATIENCE_S, 0.05).until(
        lambda driver: driver.execute_script(f"return {expression}"), f"never true: {expression}"
    )
