"""Pictures of the status page, light and dark, of a made-up busy server.

python -m bench.status_pictures [--out docs/pictures] [--narrow]

Needs Debian's chromium and chromium-driver. Writes status-light.png and status-dark.png; with --narrow also
status-narrow-*.png, 390 pixels wide.
"""

from __future__ import annotations

import argparse
import base64
import tempfile
from pathlib import Path

from selenium.webdriver import Chrome

from tests.serve.chromium import NARROW, WIDE, StatusServer, emulate, open_chromium, until
from tests.serve.statuses import busy

PIXELS_PER_POINT = 2


def take(browser: Chrome, url: str, size: tuple[int, int], scheme: str, path: Path) -> None:
    """The whole page, however long, once its first figures are there."""
    emulate(browser, size, scheme, prefers_reduced_motion="reduce")
    browser.get(url)
    until(browser, "document.querySelectorAll('#charts .line').length > 0")
    height = browser.execute_script("return document.documentElement.scrollHeight")
    clip = {"x": 0, "y": 0, "width": size[0], "height": height, "scale": PIXELS_PER_POINT}
    shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
    path.write_bytes(base64.b64decode(shot["data"]))


def main() -> None:
    """As the module says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"))
    parser.add_argument("--narrow", action="store_true")
    chosen = parser.parse_args()
    sizes = {"": WIDE} | ({"narrow-": NARROW} if chosen.narrow else {})
    server = StatusServer(busy)
    with tempfile.TemporaryDirectory(prefix="sixgig-") as profile:
        browser = open_chromium(Path(profile))
        for name, size in sizes.items():
            for scheme in ("light", "dark"):
                take(browser, server.url, size, scheme, chosen.out / f"status-{name}{scheme}.png")
        browser.quit()
    server.stop()


if __name__ == "__main__":
    main()
