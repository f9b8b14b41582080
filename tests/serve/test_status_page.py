"""The status page in a browser: live, honest about what is absent, and unmoved by hostile names."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from matplotlib.image import imread
from selenium.webdriver import ActionChains, Chrome, Keys

from sixgig.server.page import FOLDER
from tests.serve.chromium import NARROW, WIDE, StatusServer, complaints, emulate, until
from tests.serve.statuses import GIB, busy, empty, model, tiers

pytest_plugins = ["tests.serve.browser"]

Serve = Callable[[Callable[[], dict[str, Any]]], StatusServer]
HOSTILE = (
    "<script>window.broken = 1</script>",
    "<img src=x onerror='window.broken = 1'>",
    "</title><b>bold</b>&amp;",
    "x" * 3000,
    "\u05e0\u05de\u05d5\u05da\u202egnp.exe",
    "__proto__",
    "two\nlines",
    "",
)
# Of every element with text of its own, its contrast with the nearest background (WCAG 2).
PALE_TEXT = """
    const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const light = (color) => color.slice(0, 3).map((v) => linear(v / 255))
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0.05);
    const parts = (color) => color.match(/[0-9.]+/g).map(Number);
    const behind = (node) => {
        for (let one = node; one; one = one.parentElement) {
            const color = parts(getComputedStyle(one).backgroundColor);
            if (color.length === 3 || color[3] > 0) return color;
        }
    };
    const contrast = (node) => {
        const style = getComputedStyle(node);
        const text = parts(node instanceof SVGElement ? style.fill : style.color);
        const [low, high] = [text, behind(node)].map(light).sort((a, b) => a - b);
        return high / low;
    };
    const own = (node) => [...node.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    const shown = [...document.body.querySelectorAll('*')].filter((n) => own(n) && n.checkVisibility());
    return {seen: shown.length, pale: shown.filter((n) => !(contrast(n) >= 4.5)).map((n) => n.textContent)};
"""
DASH = "\u2013"


def opened(browser: Chrome, server: StatusServer) -> None:
    browser.get(server.url)
    until(browser, "!document.getElementById('panel').hidden")


def text(browser: Chrome, element: str) -> str:
    return str(browser.execute_script(f"return document.getElementById('{element}').innerText")).strip()


def cells(browser: Chrome, name: str) -> dict[str, str]:
    """A model's row by columns."""
    found: dict[str, str] = browser.execute_script(
        """
        const row = [...document.querySelectorAll('#model-rows tr')]
            .find((one) => one.querySelector('bdi').textContent === arguments[0]);
        return Object.fromEntries([...row.cells].map((cell) => [cell.dataset.column, cell.innerText]));
        """,
        name,
    )
    return found


def accessible(browser: Chrome) -> list[tuple[str, str]]:
    """Role and name of everything assistive technology is told of."""
    nodes = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    return [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node["ignored"]
    ]


def test_figures_follow_the_server_and_nothing_is_complained_of(browser: Chrome, serve: Serve) -> None:
    polls = itertools.count(1)
    opened(browser, serve(lambda: busy() | {"tokens_per_s": 100.0 + next(polls)}))
    first = float(text(browser, "speed"))
    until(browser, f"Number(document.getElementById('speed').innerText) > {first + 1}")
    assert complaints(browser) == []


def test_each_section_tells_what_the_document_says(browser: Chrome, serve: Serve) -> None:
    opened(browser, serve(busy))
    assert text(browser, "queue") == "2 of 64" and text(browser, "hits") == "91.3 %"
    assert text(browser, "power") == "61.3 W" and "18.2 W idle" in text(browser, "power-note")
    row = cells(browser, "qwen3.5-122b-a10b")
    assert row["State"] == "ready" and row["Mode"] == "paged" and row["Context"] == "16,384"
    assert "killed by signal 9" in cells(browser, "gemma-3-4b-it")["Name"]
    today = text(browser, "today")
    assert "412.9 Wh" in today and "measured for 1,251 of 1,284" in today and "0.13 EUR" in today
    assert "6.12 EUR of 10.00 EUR" in text(browser, "upstreams")


def test_the_memory_bar_is_the_whole_budget_to_scale(browser: Chrome, serve: Serve) -> None:
    def half() -> dict[str, Any]:
        loaded = model("m", state="ready", pid=1, granted_bytes=4 * GIB, resident_bytes=3 * GIB)
        return empty() | {"models": [loaded | {"tiers": tiers(weights=3 * 1024)}]}

    emulate(browser, WIDE, prefers_reduced_motion="reduce")
    opened(browser, serve(half))
    widths = browser.execute_script(
        """
        const bar = document.querySelector('.bar').getBoundingClientRect().width;
        const share = (node) => node.getBoundingClientRect().width / bar;
        return [...document.querySelectorAll('.segment')].map((node) => [node.title, share(node)])
            .concat([['measured', share(document.querySelectorAll('.measured i')[1])]]);
        """
    )
    gateway = 96 / (8 * 1024)
    assert dict(widths) == {
        "gateway, 96 MiB": pytest.approx(gateway, abs=0.01),
        "m: weights, 3.0 GiB": pytest.approx(3 / 8, abs=0.01),
        "m: margin, 1.0 GiB": pytest.approx(1 / 8, abs=0.01),
        "free, 3.9 GiB": pytest.approx(1 / 2 - gateway, abs=0.01),
        "measured": pytest.approx(3 / 8, abs=0.01),
    }


def test_what_is_absent_is_a_reason_and_no_number(browser: Chrome, serve: Serve) -> None:
    opened(browser, serve(empty))
    reason = "no sensor: none is passed on to this virtual machine"
    assert text(browser, "power") == DASH and text(browser, "power-note") == reason
    assert text(browser, "hits") == DASH and text(browser, "hits-note") == "no experts are paged"
    figures = browser.execute_script("return document.getElementById('panel').innerText")
    assert "0 W" not in figures and "0 J" not in figures and "NaN" not in figures and "null" not in figures


def test_a_line_breaks_where_a_value_or_a_sample_is_missing(browser: Chrome, serve: Serve) -> None:
    def gap() -> dict[str, Any]:
        history = {name: column[:40] + column[50:] for name, column in busy()["history"].items()}
        return busy() | {"history": history}

    server = serve(busy)
    opened(browser, server)
    lines = "[...document.querySelectorAll('.chart')].map((chart) => chart.querySelectorAll('.line').length)"
    assert browser.execute_script(f"return {lines}") == [1, 1, 2]
    server.status = gap
    assert until(browser, f"{lines}[0] > 1 && {lines}") == [2, 2, 3]


def test_without_models_the_page_says_so(browser: Chrome, serve: Serve) -> None:
    server = serve(empty)
    opened(browser, server)
    assert "No model is configured" in text(browser, "models-empty")
    server.status = lambda: empty() | {"models": [model("idle")]}
    until(browser, "document.getElementById('models-empty').innerText.includes('No model is loaded')")
    assert cells(browser, "idle")["State"] == "unloaded" and cells(browser, "idle")["Users"] == DASH
    assert complaints(browser) == []


@pytest.mark.parametrize("size", [WIDE, NARROW, (360, 800)])
def test_hostile_names_are_text_and_break_no_layout(
    browser: Chrome, serve: Serve, size: tuple[int, int]
) -> None:
    def hostile() -> dict[str, Any]:
        loaded = {"state": "ready", "granted_bytes": GIB // 4, "losses": 2, "last_loss": "<b>" + "y" * 2000}
        upstreams = [{**busy()["upstreams"][1], "name": name} for name in HOSTILE]
        return busy() | {"models": [model(name, **loaded) for name in HOSTILE], "upstreams": upstreams}

    emulate(browser, size)
    opened(browser, serve(hostile))
    names = "return [...document.querySelectorAll('#model-rows bdi')].map((node) => node.textContent)"
    assert browser.execute_script(names) == list(HOSTILE)
    assert (
        browser.execute_script("return document.querySelectorAll('main script, main img, main b').length")
        == 0
    )
    assert browser.execute_script("return window.broken") is None
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    assert complaints(browser) == []


def test_markup_from_text_is_refused_by_the_browser_itself(browser: Chrome, serve: Serve) -> None:
    opened(browser, serve(empty))
    with pytest.raises(Exception, match="TrustedHTML"):
        browser.execute_script("document.body.innerHTML = '<b>no</b>'")


def test_a_server_that_is_gone_was_last_seen_and_comes_back(browser: Chrome, serve: Serve) -> None:
    server = serve(busy)
    opened(browser, server)
    server.stop()
    until(browser, "document.documentElement.dataset.link === 'lost'")
    assert text(browser, "link") == "Not reachable" and text(browser, "speed") == "21.4"
    since = text(browser, "since")
    assert re.fullmatch(r"last seen \d+ s ago", since)
    until(browser, f"document.getElementById('since').innerText !== '{since}'")
    server.start()
    until(browser, "document.documentElement.dataset.link === 'up'")
    assert text(browser, "link") == "Serving" and text(browser, "since") == "up 3 d 4 h"
    assert all("ERR_CONNECTION" in message or "ERR_EMPTY" in message for message in complaints(browser))


def test_draining_and_a_failing_ledger_are_said(browser: Chrome, serve: Serve) -> None:
    ledger = empty()["ledger"] | {"failing": "disk full"}
    opened(browser, serve(lambda: empty() | {"draining": True, "ledger": ledger}))
    assert text(browser, "link").startswith("Draining")
    assert text(browser, "ledger-failing") == "The ledger is not being written: disk full"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("document", [busy, empty])
def test_text_stands_out_in_both_schemes(
    browser: Chrome, serve: Serve, tmp_path: Path, scheme: str, document: Callable[[], dict[str, Any]]
) -> None:
    emulate(browser, WIDE, scheme)
    opened(browser, serve(document))
    found = browser.execute_script(PALE_TEXT)
    assert found["pale"] == [] and found["seen"] > 25
    browser.save_screenshot(str(tmp_path / "page.png"))
    brightness = imread(tmp_path / "page.png")[:, :, :3].mean()
    assert brightness > 0.8 if scheme == "light" else brightness < 0.3


@pytest.mark.parametrize("size", [WIDE, NARROW])
def test_everything_has_a_role_and_a_name(browser: Chrome, serve: Serve, size: tuple[int, int]) -> None:
    emulate(browser, size)
    opened(browser, serve(busy))
    until(browser, "document.querySelectorAll('.line').length > 2")
    told = accessible(browser)
    assert {"banner", "main", "contentinfo", "navigation", "status"} <= {role for role, _ in told}
    assert [name for role, name in told if role == "table"] == ["Models", "Upstreams"]
    assert ("columnheader", "Hit rate") in told and ("rowheader", "example-cloud") in told
    assert all(name for role, name in told if role in ("link", "image", "table", "region", "heading"))
    assert any(name.startswith("RAM, 24.0 GiB: gateway 112 MiB") for _, name in told)
    assert ("image", "Hit rate over the last two minutes: now 91.3%, at most 92.5%") in told


def test_the_keyboard_sees_where_it_is(browser: Chrome, serve: Serve) -> None:
    opened(browser, serve(empty))
    ActionChains(browser).send_keys(Keys.TAB).perform()
    focused = """
        const [node, style] = [document.activeElement, getComputedStyle(document.activeElement)];
        return [node.tagName, style.outlineStyle, style.outlineWidth];
    """
    assert browser.execute_script(focused) == ["A", "solid", "2px"]


def test_nothing_moves_for_those_who_asked_for_that(browser: Chrome, serve: Serve) -> None:
    emulate(browser, WIDE, prefers_reduced_motion="reduce")
    opened(browser, serve(busy))
    assert browser.execute_script("return document.getAnimations().length") == 0
    style = "return getComputedStyle(document.querySelector('.segment')).transitionDuration"
    assert browser.execute_script(style) == "0s"


def test_nothing_is_asked_of_anyone_else(browser: Chrome, serve: Serve) -> None:
    server = serve(empty)
    opened(browser, server)
    asked = browser.execute_script(
        "return performance.getEntriesByType('resource').map((entry) => entry.name)"
    )
    assert len(asked) > 5 and all(address.startswith(server.url) for address in asked)
    for file in FOLDER.iterdir():
        addresses = re.findall(r"https?://[^\"' ]*", file.read_text())
        assert set(addresses) <= {"http://www.w3.org/2000/svg"}, file.name


def test_the_page_comes_with_its_policy_and_only_once(serve: Serve) -> None:
    server = serve(empty)
    for path, kind in (("", "text/html"), ("page/page.js", "javascript"), ("page/page.css", "text/css")):
        first = httpx.get(server.url + path)
        again = httpx.get(server.url + path, headers={"If-None-Match": first.headers["etag"]})
        assert kind in first.headers["content-type"] and (first.status_code, again.status_code) == (200, 304)
        for answer in (first, again):
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy and answer.headers["cache-control"] == "no-cache"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("path", ["%2e%2e/page.py", "..%2fpage.py", "%2fetc/passwd", "nothing.js", "", "%00"])
def test_only_the_folders_files_are_served(serve: Serve, path: str) -> None:
    assert httpx.get(f"{serve(empty).url}page/{path}").status_code == 404
