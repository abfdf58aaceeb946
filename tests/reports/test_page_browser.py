from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from make_run import FakeTarget, make_run
from playwright.sync_api import Browser, Page, sync_playwright

from reports.comparison import compare
from reports.exports import export
from reports.page import render
from reports.results import load_run
from reports.wording import METRICS, interval, quantity

CHROMIUM = Path("/usr/bin/chromium")
QUIET = (
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
HOSTILE = '<img src=x onerror="window.hacked=1">'
READ_ROWS = """() => Array.from(document.querySelectorAll("table.rows tbody.case")).flatMap(
  (body) => Array.from(body.querySelectorAll("tr[data-metric]")).map((row) => {
    const [, , value, interval, n, status, reason] = row.cells;
    return {...body.dataset, ...row.dataset, value: value.dataset.value ?? null,
            low: interval.dataset.low ?? null, high: interval.dataset.high ?? null,
            n: n.textContent, status: status.textContent, reason: reason.textContent};
  }))"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        message = "no chromium: apt-get install --no-install-recommends chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=[*QUIET, *root])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    targets = (
        FakeTarget(power=True, window_s=12.5, shares_machine_with=["board-b"]),
        FakeTarget(
            name="board-b",
            speed=3,
            hostname=HOSTILE,
            shares_machine_with=["board-a"],
            broken={"late/gradient_filter-r4/torch/cpu/float32/b8": ("out_of_memory", HOSTILE)},
        ),
        FakeTarget(name=HOSTILE, status="infra", reason="no route to host", stop_after=0),
    )
    layers = (("early", 16, 56), ("</script><b>late</b>", 32, 28), ("late", 64, 14))
    path = make_run(tmp_path_factory.mktemp("run"), targets=targets, layers=layers)
    (path / "report.html").write_text(render([load_run(path)]))
    return path


def opened(
    browser: Browser, run: Path, width: int, scheme: str = "light"
) -> tuple[Page, list[str]]:
    """Open the report and return it with everything that it complained of or asked for."""
    page = browser.new_page(
        viewport={"width": width, "height": 900},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    url = (run / "report.html").as_uri()
    seen: list[str] = []
    page.on("console", lambda message: seen.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: seen.append(f"error: {error}"))
    page.on("dialog", lambda dialog: seen.append(f"dialog: {dialog.message}"))
    page.on("request", lambda request: seen.append(request.url) if request.url != url else None)
    page.goto(url)
    page.wait_for_selector("html[data-drawn=true]")
    return page, seen


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_report_draws_itself_quietly_and_fits(
    browser: Browser, run: Path, width: int, scheme: str
) -> None:
    page, seen = opened(browser, run, width, scheme)
    plots = page.locator(".plot").count()
    assert plots >= 20
    # Every plot has marks in it, not only a frame.
    drawn = page.evaluate(
        """() => Array.from(document.querySelectorAll(".plot")).filter(
        (plot) => plot.querySelector(".main-svg .points path, .main-svg .box, .main-svg .js-line"))
        .length"""
    )
    assert drawn == plots
    page.evaluate("() => document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    outside = page.evaluate(
        """() => Array.from(document.querySelectorAll("main *")).filter((element) =>
        !element.closest(".scroll, svg") && element.getBoundingClientRect().right > innerWidth + 1)
        .map((element) => element.outerHTML.slice(0, 80))"""
    )
    assert outside == []
    assert seen == []
    page.close()


def test_the_numbers_on_the_page_are_the_numbers_of_the_export(browser: Browser, run: Path) -> None:
    page, _ = opened(browser, run, 1280)
    shown = page.evaluate(READ_ROWS)
    records = json.loads(export(load_run(run), "json"))
    assert len(shown) == len(records) > 300

    def number(value: float | None) -> str | None:
        return None if value is None else repr(value)

    for cell, record in zip(shown, records, strict=True):
        assert (cell["target"], cell["workload"], cell["method"]) == (
            record["target"], record["workload"], record["method"],
        )  # fmt: skip
        assert cell["patchSize"] == (
            "" if record["patch_size"] is None else f"{record['patch_size']}"
        )
        assert (cell["metric"], cell["phase"]) == (record["metric"], record["phase"])
        assert cell["value"] == number(record["value"])
        assert cell["low"] == number(record["ci_low"])
        assert cell["high"] == number(record["ci_high"])
        assert (cell["n"], cell["status"]) == (str(record["n"]), record["status"])
        assert cell["reason"] == record["reason"]
    page.close()


def test_numbers_in_words_are_the_same_in_python_and_in_the_browser(
    browser: Browser, run: Path
) -> None:
    page, _ = opened(browser, run, 1280)
    shown = page.evaluate(
        """() => Array.from(document.querySelectorAll("table.rows tr[data-metric]")).map(
        (row) => [row.cells[0].textContent, row.cells[2].textContent, row.cells[3].textContent])"""
    )
    rows = compare(load_run(run))
    assert shown == [
        [METRICS[r.metric], quantity(r.value, r.unit), interval(r.ci_low, r.ci_high, r.unit)]
        for r in rows
    ]
    page.close()


def test_the_figures_tables_and_hovers_have_the_same_numbers(browser: Browser, run: Path) -> None:
    page, _ = opened(browser, run, 1280)
    records = json.loads(export(load_run(run), "json"))
    for chart, metric in (("energy", "energy_j"), ("speedup", "speedup"), ("saved", "saved_bytes")):
        cells = page.evaluate(
            """(id) => Array.from(document.querySelectorAll(`#${id} tbody tr`)).map(
            (row) => row.cells[4].dataset.value ?? null)""",
            chart,
        )
        targets = ("board-a",) if chart == "energy" else ("board-a", "board-b")
        expected = [
            None if record["value"] is None else repr(record["value"])
            for record in records
            if record["metric"] == metric and record["target"] in targets
        ]
        assert cells == expected
    hovers = page.evaluate(
        "() => document.querySelector('#energy .plot').data.flatMap((trace) => trace.hovertext)"
    )
    assert len(hovers) == 27
    assert all("95 %:" in words and " mJ" in words for words in hovers)
    page.close()


def test_a_board_with_power_shows_what_its_sensor_saw(browser: Browser, run: Path) -> None:
    page, _ = opened(browser, run, 1280)
    for chart in ("energy", "energy-parts", "energy-rails", "profile", "power"):
        assert page.locator(f"#{chart} .plot .main-svg").count() >= 1, chart
        assert page.locator(f"#{chart} .plot").count() == 1, chart  # one board has a sensor
    names = page.evaluate("() => document.querySelector('#power .plot').data.map((t) => t.name)")
    assert names[:5] == ["between windows", "idle", "forward", "backward", "step"]
    text = page.locator("#measured-energy").text_content() or ""
    for words in ("module input", "VDD_IN is the module's only input", "hwmon-ina3221", "Hz"):
        assert words in text
    assert page.locator("#measured-energy table.budget tbody tr").count() == 7
    page.close()


def test_hostile_names_do_nothing(browser: Browser, run: Path) -> None:
    page, seen = opened(browser, run, 1280)
    assert page.evaluate("window.hacked") is None
    assert page.locator("img").count() == 0
    assert page.locator("h3", has_text=HOSTILE).count() == 1
    ticks = page.locator("#latency .ytick text").all_text_contents()
    assert "</script><b>late</b>" in ticks
    assert seen == []
    page.close()


def test_the_figures_follow_the_theme(browser: Browser, run: Path) -> None:
    page, _ = opened(browser, run, 1280)
    ink = "() => getComputedStyle(document.querySelector('#latency .xtick text')).fill"
    light = page.evaluate(ink)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(f"(before) => ({ink})() !== before", arg=light)
    page.emulate_media(media="print")
    page.wait_for_function(f"(before) => ({ink})() === before", arg=light)
    page.close()
