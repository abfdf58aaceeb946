"""Every page of a site of 300 runs over 8 targets, in a real browser, from disk."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import AXE, chromium, keep_picture
from make_run import FakeTarget, make_run
from playwright.sync_api import Browser, Page
from synthetic_site import Plot, write_runs

from reports.exports import export
from reports.metrics.table import metric_label
from reports.results.manifest import write_manifest
from reports.results.read import load_run
from reports.site import build
from reports.site.names import slug
from reports.site.sources import FolderRuns
from reports.text.wording import interval, quantity

HOSTILE = '<img src=x onerror="window.hacked=1">'
REAL = "20990101-120000-abc123"
HISTORY = "history/jetson-nano/resnet-late.html"
PAGES = {
    "fleet": "index.html",
    "targets": "targets/index.html",
    "target": "targets/jetson-nano/index.html",
    "hostile-target": f"targets/{slug(HOSTILE)}/index.html",
    "workloads": "workloads/index.html",
    "workload": "workloads/resnet-late/index.html",
    "kernels": "kernels/index.html",
    "kernel": "kernels/native/index.html",
    "histories": "history/index.html",
    "history": HISTORY,
    "changes": "changes/index.html",
    "runs": "runs/index.html",
    "month": "runs/2023-01.html",
    "run": f"runs/{REAL}/index.html",
    "report": f"runs/{REAL}/report.html",
    "badges": "badges/index.html",
}
IN_THE_DARK = ("fleet", "target", "history", "run")  # looked at by axe there too
OUTSIDE = """() => Array.from(document.querySelectorAll("main *, header *")).filter((element) =>
  !element.closest(".scroll, svg, nav") && element.getBoundingClientRect().right > innerWidth + 1)
  .map((element) => element.outerHTML.slice(0, 90))"""
SPILLED = """() => Array.from(document.querySelectorAll(".card")).flatMap((card) => {
  const box = card.getBoundingClientRect();
  return Array.from(card.querySelectorAll("*")).filter((element) => {
    const own = element.getBoundingClientRect();
    return !element.closest(".scroll table, svg, .plot, details") && own.width > 0
      && (own.right > box.right + 1 || own.bottom > box.bottom + 1 || own.left < box.left - 1);
  }).map((element) => element.outerHTML.slice(0, 90));
})"""
# The rows of a table are alike, and axe looks at each cell for long.
FIRST_ROWS = """() => document.querySelectorAll("tbody, ul.plain").forEach((list) =>
  Array.from(list.children).slice(4).forEach((row) => row.remove()))"""
TICKS = "() => document.querySelector('.plot').layout.yaxis.ticktext"
RUN_AXE = "axe.run({exclude: [['.plot svg']]}, {resultTypes: ['violations']})"
READ_ROWS = """() => Array.from(document.querySelectorAll("#rows tbody tr")).map((row) => {
  const cells = row.cells, value = cells[6].dataset;
  return {target: cells[0].textContent, workload: cells[1].textContent, metric: row.dataset.name,
    phase: row.dataset.phase, value: value.value ?? null, low: value.low ?? null,
    high: value.high ?? null, words: [4, 6, 7].map((place) => cells[place].textContent),
    n: cells[8].textContent, status: cells[9].textContent, reason: cells[10].textContent};
})"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    targets = (FakeTarget(name="bench", power=True), FakeTarget(name=HOSTILE, hostname=HOSTILE))
    run = make_run(tmp_path_factory.mktemp("site") / "results", targets=targets, run_id=REAL)
    write_manifest(run)
    return run


@pytest.fixture(scope="module")
def site(run: Path) -> Path:
    folder = run.parents[1]
    write_runs(Plot(runs=300, hostile=HOSTILE), folder / "results", folder / "cache")
    source = FolderRuns([folder / "results"], folder / "cache")
    built = build.build(folder / "site", [source], build.Options(reports=1))
    assert (built.runs, built.notes) == (301, [])
    return folder / "site"


def opened(
    browser: Browser, path: Path, state: str = "", *, width: int = 1280, dark: bool = False
) -> tuple[Page, list[str]]:
    """Open a page and return it with what it complained of or asked for beyond its own site."""
    page = browser.new_page(
        viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light"
    )
    seen: list[str] = []
    root = next(parent for parent in path.parents if parent.name == "site").as_uri()
    page.on("console", lambda message: seen.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: seen.append(f"error: {error}"))
    page.on("dialog", lambda dialog: seen.append(f"dialog: {dialog.message}"))
    page.on(
        "request", lambda one: None if one.url.startswith((root, "data:")) else seen.append(one.url)
    )
    page.goto(path.as_uri() + state)
    page.wait_for_selector("html[data-drawn=true], html[data-ready=true]")
    return page, seen


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", PAGES)
def test_every_page_is_quiet_fits_and_can_be_read_by_all(
    browser: Browser, site: Path, name: str, width: int
) -> None:
    page, seen = opened(browser, site / PAGES[name], width=width, dark=width == 390)
    page.evaluate("() => document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(OUTSIDE) == []
    if name != "report":
        assert page.evaluate(SPILLED) == []
    assert page.evaluate("window.hacked") is None
    assert seen == []
    keep_picture(page, f"site-{name}-{width}")
    if name != "report" and (width == 1280 or name in IN_THE_DARK):
        page.evaluate(FIRST_ROWS)
        page.evaluate(AXE)
        found = page.evaluate(RUN_AXE)["violations"]
        serious = [
            (one["id"], one["nodes"][0]["html"][:120], len(one["nodes"]))
            for one in found
            if one["impact"] in ("serious", "critical")
        ]
        assert serious == []
    page.close()


def test_the_numbers_of_a_run_are_those_of_its_export(
    browser: Browser, site: Path, run: Path
) -> None:
    page, _ = opened(browser, site / PAGES["run"])
    shown = page.evaluate(READ_ROWS)
    records = json.loads(export(load_run(run), "json"))
    assert len(shown) == len(records) > 300

    def exactly(value: float | None) -> str | None:
        return None if value is None else repr(float(value))

    for cell, record in zip(shown, records, strict=True):
        for name in ("target", "workload", "metric", "phase", "status", "reason"):
            assert cell[name] == record[name]
        assert cell["value"] == exactly(record["value"])
        assert cell["low"] == exactly(record["ci_low"])
        assert cell["high"] == exactly(record["ci_high"])
        assert cell["n"] == str(record["n"])
        unit = record["unit"]
        span = interval(record["ci_low"], record["ci_high"], unit)
        label = metric_label(record["metric"])
        assert cell["words"] == [label, quantity(record["value"], unit), span]
    page.close()


def test_the_newest_figures_of_a_target_are_those_of_its_newest_run(
    browser: Browser, site: Path, run: Path
) -> None:
    page, _ = opened(browser, site / "targets/bench/index.html")
    shown = page.evaluate(
        """() => Array.from(document.querySelectorAll("#figures tbody tr")).map((row) => [
        row.dataset.workload, row.dataset.method,
        ...Array.from(row.querySelectorAll("td.num")).map((cell) => cell.dataset.value ?? null)])"""
    )
    records = json.loads(export(load_run(run), "json"))
    speedups = {
        (r["workload"], r["patch_size"]): repr(r["value"])
        for r in records
        if r["target"] == "bench" and (r["metric"], r["phase"]) == ("speedup", "step")
    }
    checked = 0
    for workload, method, step, *_ in shown:
        if method != "exact":
            assert step == speedups[workload, int(method[-1])]
            checked += 1
    assert checked == len(speedups) > 3
    page.close()


def test_chips_filter_tables_and_figure_and_are_kept_in_the_hash(
    browser: Browser, site: Path
) -> None:
    page, _ = opened(browser, site / PAGES["workload"])
    rows = page.locator("#figures tbody tr:visible")
    everything = rows.count()
    page.click('[data-dim="target"][data-chip="nuc"]')
    assert 0 < rows.count() < everything
    assert "target=nuc" in page.evaluate("location.hash")
    assert page.evaluate(TICKS) == ["nuc"]
    page.click('[data-dim="target"][data-chip="pi5"]')
    assert page.evaluate(TICKS) == ["nuc", "pi5"]
    address = page.evaluate("location.href")
    page.close()
    again, seen = opened(browser, site / PAGES["workload"], "#" + address.partition("#")[2])
    assert again.locator("#figures tbody tr:visible").count() == 2 * everything // 8
    assert again.locator('[data-chip="pi5"]').get_attribute("aria-pressed") == "true"
    again.keyboard.press("Escape")
    assert again.locator("#figures tbody tr:visible").count() == everything
    assert seen == []
    again.close()


def test_a_hostile_target_can_be_filtered_like_any_other(browser: Browser, site: Path) -> None:
    page, seen = opened(browser, site / PAGES["workload"])
    page.locator('[data-dim="target"]', has_text="<img").click()
    assert page.locator("#figures tbody tr:visible").count() > 0
    assert page.locator(".plot .ytick text").all_text_contents() == [HOSTILE[:29] + "…"]
    page.reload()
    page.wait_for_selector("html[data-drawn=true]")
    assert len(page.evaluate(TICKS)) == 1
    assert (page.locator("img").count(), seen) == (0, [])
    page.close()


def test_figure_scale_and_ratio_follow_buttons_keys_and_hash(browser: Browser, site: Path) -> None:
    page, _ = opened(browser, site / PAGES["target"], "#figure=latency_s.step")
    layout = "() => document.querySelector('.plot').layout.xaxis"
    assert page.evaluate(layout)["type"] == "linear"
    assert page.evaluate(layout)["range"][0] == 0  # an axis of latencies starts at 0
    page.keyboard.press("l")
    assert page.evaluate(layout)["type"] == "log"
    page.keyboard.press("r")
    assert "relative to exact" in page.evaluate(layout)["title"]["text"]
    assert "figure=latency_s.step&x=log&view=ratio" in page.evaluate("location.hash")
    page.select_option("select", "energy_j.step")
    assert "energy" in page.evaluate(layout)["title"]["text"]
    page.close()


def test_a_history_shows_levels_the_change_and_why(browser: Browser, site: Path) -> None:
    page, _ = opened(browser, site / HISTORY, "#view=ratio")
    steps = page.locator("#steps tbody tr")
    assert steps.count() == 1
    words = steps.first.text_content() or ""
    for part in ("gradient filter r = 2 (native)", "regression", "+12 %", "changed in this run"):
        assert part in words.replace("\xa0", " ")
    text = page.locator("main").text_content() or ""
    assert "torch 2.1.0 → 2.4.1" in text
    assert "kernel native: 1" in text
    shapes = page.evaluate("() => document.querySelector('.plot').layout.shapes.length")
    assert shapes == 2
    page.select_option("select", "saved_bytes.")
    assert "No change" in (page.locator("#steps").text_content() or "")
    page.close()


def test_a_point_of_a_history_leads_to_its_run(browser: Browser, site: Path) -> None:
    page, _ = opened(browser, site / HISTORY)
    name = page.evaluate("() => document.querySelector('.plot').data[0].customdata[3]")
    page.evaluate("""() => document.querySelector('.plot').emit('plotly_click',
        {points: [{customdata: document.querySelector('.plot').data[0].customdata[3]}]})""")
    page.wait_for_url(re.compile(rf"runs/{name}/index\.html$"))
    page.close()


def test_a_table_copies_as_csv_with_full_numbers(browser: Browser, site: Path) -> None:
    page, _ = opened(browser, site / PAGES["target"], "#method=exact")
    page.evaluate("() => { delete Navigator.prototype.clipboard; }")  # as some browsers on file://
    page.click('button[data-csv="figures"]')
    lines = list(csv.reader(io.StringIO(page.locator("textarea.copy").input_value())))
    assert lines[0][:2] == ["workload", "method"]
    assert len(lines) == 1 + 3
    latency = lines[0].index("step")
    cells = page.evaluate(
        """() => Array.from(document.querySelectorAll("#figures td[data-value]"))
        .map((cell) => cell.dataset.value)"""
    )
    assert all(line[latency] in cells for line in lines[1:])
    page.close()


def test_the_figures_follow_the_theme(browser: Browser, site: Path) -> None:
    page, _ = opened(browser, site / PAGES["target"])
    ink = "() => getComputedStyle(document.querySelector('.plot .xtick text')).fill"
    light = page.evaluate(ink)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(f"(before) => ({ink})() !== before", arg=light)
    page.emulate_media(media="print")
    page.wait_for_function(f"(before) => ({ink})() === before", arg=light)
    page.emulate_media(media="screen", color_scheme="light")
    page.click("#theme")
    page.wait_for_function(f"(before) => ({ink})() !== before", arg=light)
    page.reload()  # the choice is kept
    page.wait_for_selector("html[data-theme=dark][data-drawn=true]")
    page.close()


def test_every_link_of_every_page_leads_somewhere(site: Path) -> None:
    dead = []
    for path in site.rglob("*.html"):
        if path.name == "report.html":
            continue
        for href in set(re.findall(r'(?:href|src)="([^"#]*)', path.read_text())):
            if href and not href.startswith(("http:", "https:", "data:")):
                target = (path.parent / href).resolve()
                if not target.is_file() or not target.is_relative_to(site.resolve()):
                    dead.append((path.relative_to(site), href))
    assert dead == []
