"""The browser that pages are looked at in: Debian's Chromium, quiet and offline."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import axe_core_python
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

PROGRAM = Path("/usr/bin/chromium")
AXE = (Path(axe_core_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"
QUIET = (
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the browser; skip where there is none, which in CI is a failure."""
    if not PROGRAM.exists():
        message = "no chromium: apt-get install --no-install-recommends chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(PROGRAM), args=[*QUIET, *root])
        yield browser
        browser.close()


def keep_picture(page: Page, name: str) -> None:
    """Keep a screenshot for those who look at a build."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


def opened(
    browser: Browser, run: Path, width: int, scheme: str = "light", fragment: str = ""
) -> tuple[Page, list[str]]:
    """Open a run's report and return it with everything that it complained of or asked for."""
    page = browser.new_page(
        viewport={"width": width, "height": 900},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    url = (run / "report.html").as_uri()
    seen: list[str] = []
    page.on("console", lambda message: seen.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: seen.append(f"error: {error}"))
    page.on("dialog", lambda dialog: seen.append(f"dialog: {dialog.message}"))
    page.on(
        "request",
        lambda request: (
            seen.append(request.url)
            if request.url.split("#")[0] != url and not request.url.startswith(("blob:", "data:"))
            else None
        ),
    )
    page.goto(url + fragment)
    page.wait_for_selector("html[data-ready=true]")
    return page, seen


def unfold(page: Page) -> None:
    """Draw every figure and write every table: they wait until they are looked at."""
    page.evaluate("() => document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    page.evaluate("() => dispatchEvent(new Event('beforeprint'))")
    page.wait_for_function(
        """() => Array.from(document.querySelectorAll("details table[data-table]")).every(
        (table) => table.dataset.written)"""
    )
