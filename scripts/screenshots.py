#!/usr/bin/env python3
"""Photograph a report for the README and the docs: light and dark, below 300 KB each.

Example: scripts/screenshots.py results/20261122-190000-abc123/report.html docs/images

Needs `make dev` and Chromium (scripts/system-packages.sh). Every picture is of the page as a
reader gets it; a figure that the run has not got is left out and named.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = "/usr/bin/chromium"
SCHEMES = ("light", "dark")
WIDTH_PX, HEIGHT_PX = 1240, 860
MAX_BYTES = 300_000
# Name of the picture and what it is of; the first shows the top of the page.
SHOTS = (
    ("report", ""),
    ("decided", "#decided > .card"),
    ("verdicts", "#verdicts > .card"),
    ("speedup", "#speedup"),
    ("pareto", "#pareto"),
    ("fidelity", "#fidelity-gx"),
    ("energy", "#energy-parts"),
    ("power", "#power"),
    ("drift", "#drift"),
)


def main() -> int:
    """Write the pictures; return 1 where the page itself could not be photographed."""
    arguments = _arguments()
    arguments.directory.mkdir(parents=True, exist_ok=True)
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=arguments.chromium, args=["--disable-gpu", *sandbox]
        )
        written = [
            path
            for scheme in SCHEMES
            for path in _photograph(browser, arguments.page, arguments.directory, scheme)
        ]
        browser.close()
    large = [path for path in written if path.stat().st_size > MAX_BYTES]
    for path in large:
        print(f"{path} has {path.stat().st_size} bytes, more than {MAX_BYTES}", file=sys.stderr)
    return 1 if large or not written else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("page", type=Path, help="a report.html")
    parser.add_argument("directory", type=Path, help="where the pictures go, such as docs/images")
    parser.add_argument("--chromium", default=CHROMIUM)
    return parser.parse_args()


def _photograph(browser: Browser, page_file: Path, directory: Path, scheme: str) -> list[Path]:
    page = browser.new_page(
        viewport={"width": WIDTH_PX, "height": HEIGHT_PX},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    page.goto(page_file.resolve().as_uri())
    page.wait_for_selector("html[data-ready=true]")
    page.add_style_tag(content="nav { position: static !important; }")  # not over the pictures
    written = []
    for name, selector in SHOTS:
        path = directory / f"{name}-{scheme}.png"
        if _shoot(page, selector, path):
            print(path)
            written.append(path)
        elif scheme == SCHEMES[0]:
            print(f"the page has no {selector}: no {name}", file=sys.stderr)
    page.close()
    return written


def _shoot(page: Page, selector: str, path: Path) -> bool:
    """Photograph an element once its plots are drawn; the window where there is no selector."""
    if not selector:
        page.screenshot(path=path)
        return True
    place = page.locator(selector)
    if not place.count():
        return False
    place.scroll_into_view_if_needed()
    page.wait_for_function(
        """(selector) => Array.from(document.querySelectorAll(`${selector} .plot`)).every(
        (plot) => plot.querySelector(".main-svg"))""",
        arg=selector,
    )
    place.screenshot(path=path)
    return True


if __name__ == "__main__":
    sys.exit(main())
