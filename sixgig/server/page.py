"""The status page and its assets, from the package. Nothing is built, nothing comes from anywhere else.

The page holds no data of its own: its script asks ``/status.json`` once a second.
"""

from __future__ import annotations

import os
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import PathLike, StaticFiles
from starlette.types import Scope

FOLDER = Path(__file__).with_name("page")

# Trusted types: the browser itself refuses to make markup out of text, a model's name for example.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    # Kept, but asked after each time: an upgraded server shows its own page at once.
    "Cache-Control": "no-cache",
}


class Page(StaticFiles):
    """The folder's files with ETag (304 where it still holds) and HEADERS."""

    def __init__(self) -> None:
        super().__init__(directory=FOLDER)

    def file_response(
        self, full_path: PathLike, stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        """As Starlette's, with HEADERS."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers.update(HEADERS)
        return response


def page_routes() -> list[BaseRoute]:
    """``/`` and, below ``/page``, what it loads."""
    page = Page()

    async def index(request: Request) -> Response:
        return await page.get_response("index.html", request.scope)

    return [Route("/", index), Mount("/page", page)]
