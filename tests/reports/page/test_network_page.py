from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import AXE, chromium, keep_picture, opened, unfold
from fake_networks import FakeNetwork
from make_run import FakeTarget, make_run
from playwright.sync_api import Browser

from reports.charts import charts_of, context_of
from reports.charts.chart import Chart
from reports.metrics.subjects import subjects_of
from reports.page.render import render
from reports.results.read import load_run
from reports.text.wording import TIMES

HOSTILE = '<img src=x onerror="window.hacked=1">'
MOBILE = FakeNetwork(name="mobile-all", optimizer="sgd", convolutions=8)
PLAIN = FakeNetwork(name="plain-last4", work=0.4)
NETWORK_CHARTS = (
    "network-peak", "network-saved", "network-parts", "network-boards", "layer-forward",
    "layer-backward", "layer-kept", "layer-keepers", "layer-fidelity",
)  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two networks and a layer on two boards; a board that names its modules hostilely."""
    targets = (FakeTarget(power=True, window_s=12.5), FakeTarget(name="board-b", speed=2.5))
    directory = tmp_path_factory.mktemp("run")
    layers = (("early", 16, 56),)
    path = make_run(directory, targets=targets, layers=layers, networks=(MOBILE, PLAIN))
    journal = path / "targets" / "board-b" / "journal.jsonl"
    journal.write_text(journal.read_text().replace("features.1.0", json.dumps(HOSTILE)[1:-1]))
    (path / "report.html").write_text(render([load_run(path)]))
    return path


@pytest.fixture(scope="module")
def charts(run: Path) -> dict[str, Chart]:
    return charts_of(context_of(subjects_of([load_run(run)])))


def column(chart: Chart, name: str) -> list[Any]:
    return list(next(column for column in chart.columns if column.name == name).values)


def lines_of(chart: Chart) -> list[dict[str, Any]]:
    names = [column.name for column in chart.columns]
    values = zip(*(column.values for column in chart.columns), strict=True)
    return [dict(zip(names, line, strict=True)) for line in values]


def text_of(page: str) -> str:
    body = re.sub(r"<script.*?</script>|<style.*?</style>", "", page, flags=re.S)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", body)).split())


def test_a_run_with_networks_has_their_charts_and_one_without_has_none(
    charts: dict[str, Chart], tmp_path: Path
) -> None:
    assert set(NETWORK_CHARTS) <= set(charts)
    layers_only = charts_of(context_of(subjects_of([load_run(make_run(tmp_path))])))
    assert not set(NETWORK_CHARTS) & set(layers_only)


def test_the_summary_names_the_baseline_its_memory_and_the_bound(run: Path) -> None:
    text = text_of((run / "report.html").read_text())
    said = (
        rf"mobile-all, batch 16: with gradient filter r = 4 \(native\) a training step runs "
        rf"1\.\d+{TIMES} as fast as exact by fused, the fastest of 5 exact kernels here "
        rf"\(95 %: [^)]+\), keeping 43 % of the bytes that exact \(fused\) saves, at 50 % of its "
        rf"peak memory, for [\d.]+ % of the energy \(95 %: [^)]+\); its gradient has a cosine of "
        rf"0\.830 with the exact one\. The forward is 29 % of that exact step: as long as the "
        rf"forward stays as it is, no backward can make the step more than 3\.\d+{TIMES} as fast\."
    )
    assert re.search(said, text) is not None, text[:900]
    assert "The fastest exact kernels of mobile-all · b16 are fused" in text
    assert "Compiling mobile-all · b16 took 41.5 s before anything was timed" in text


def test_a_point_of_time_against_memory_is_each_way_of_training(
    charts: dict[str, Chart],
) -> None:
    panels = charts["network-peak"].panels
    assert [(panel.title, panel.heading) for panel in panels] == [
        ("board-a", "mobile-all · b16"), ("board-a", "plain-last4 · b16"),
        ("board-b", "mobile-all · b16"), ("board-b", "plain-last4 · b16"),
    ]  # fmt: skip
    for panel in panels:
        assert len(panel.figure["data"]) == 9
        (line,) = panel.figure["layout"]["shapes"]  # what inference alone takes
        lowest = min(trace["y"][0] for trace in panel.figure["data"])
        assert 0 < line["y0"] < lowest


def test_the_bars_of_a_step_add_up_to_it_and_the_bound_is_exacts_forward(
    charts: dict[str, Chart],
) -> None:
    chart = charts["network-parts"]
    lines = lines_of(chart)
    panel = chart.panels[0]
    own = [line for line in lines if (line["target"], line["workload"]) == (
        "board-a", "mobile-all · b16",
    )]  # fmt: skip
    bars = {trace["name"]: trace["x"] for trace in panel.figure["data"]}
    for place, line in enumerate(own):
        assert bars["forward"][place] + bars["backward"][place] == pytest.approx(line["step"])
        total = sum(bars[part][place] for part in ("forward", "backward", "optimizer"))
        assert total == pytest.approx(line["step with optimizer"])
    (fused,) = [line for line in own if line["method"] == "exact (fused)"]
    (bound,) = panel.figure["layout"]["shapes"]
    assert bound["x0"] == pytest.approx(fused["forward"])


def test_a_network_without_an_optimizer_has_no_bar_for_it(charts: dict[str, Chart]) -> None:
    names = [trace["name"] for trace in charts["network-parts"].panels[1].figure["data"]]
    assert names == ["forward", "backward"]


def test_boards_stand_side_by_side_with_seconds_and_joules(charts: dict[str, Chart]) -> None:
    lines = lines_of(charts["network-boards"])
    fused = [line for line in lines if line["method"] == "exact (fused)"
             and line["workload"] == "mobile-all · b16"]  # fmt: skip
    assert [line["target"] for line in fused] == ["board-a", "board-b"]
    assert fused[0]["step"] / fused[1]["step"] == pytest.approx(2.5, rel=0.05)
    assert fused[0]["energy"] > 0
    assert fused[1]["energy"] is None  # it has no sensor


def test_each_convolution_has_what_follows_it_and_its_bytes_add_up(
    charts: dict[str, Chart],
) -> None:
    kept = [
        line
        for line in lines_of(charts["layer-kept"])
        if line["target"] == "board-a"
        and (line["workload"], line["method"]) == ("mobile-all · b16", "exact (fused)")
    ]
    assert [line["layer"] for line in kept] == [f"features.{n}.0" for n in range(8)]
    assert sum(line["figure"] for line in kept) == 437 << 20


def test_the_tensors_of_the_table_add_up_to_the_line_of_all(charts: dict[str, Chart]) -> None:
    lines = [
        line
        for line in lines_of(charts["layer-keepers"])
        if line["target"] == "board-a"
        and (line["workload"], line["method"]) == ("mobile-all · b16", "exact (fused)")
    ]
    *tensors, total = lines
    assert total["kept by"] == "all"
    assert sum(line["bytes"] for line in tensors) == total["bytes"] == 437 << 20
    assert (tensors[0]["kept by"], tensors[0]["kind"], tensors[0]["shape"]) == (
        "features.0.0", "Conv2d", "16 x 24 x 48 x 48",
    )  # fmt: skip


def test_many_tensors_become_one_line_and_still_add_up(tmp_path: Path) -> None:
    many = FakeNetwork(convolutions=52)
    run = load_run(make_run(tmp_path, layers=(), networks=(many,)))
    chart = charts_of(context_of(subjects_of([run])))["layer-keepers"]
    lines = [line for line in lines_of(chart) if line["method"] == "exact (fused)"]
    assert len(lines) == 62
    assert lines[-2]["kept by"] == "96 smaller tensors"
    assert sum(line["bytes"] for line in lines[:-1]) == lines[-1]["bytes"]


def test_the_page_of_large_networks_stays_small(tmp_path: Path) -> None:
    networks = tuple(FakeNetwork(name=f"network-{n}", convolutions=52) for n in range(4))
    page = render([load_run(make_run(tmp_path, layers=(), networks=networks, rounds=7))])
    without_library = len(page) - 1_500_000
    assert without_library < 1_500_000


def test_fidelity_by_layer_is_that_of_the_filtered_ways(charts: dict[str, Chart]) -> None:
    chart = charts["layer-fidelity"]
    assert set(column(chart, "method")) == {
        "gradient filter r\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}2 (native)",
        "gradient filter r\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}4 (native)",
    }
    first = lines_of(chart)[0]
    assert first["g_w, this layer alone filtered"] > first["g_w, all layers filtered"]


def test_what_only_networks_have_is_absent_where_it_was_not_measured(tmp_path: Path) -> None:
    path = make_run(tmp_path, layers=(), networks=(MOBILE,), rounds=2)
    journal = path / "targets" / "board-a" / "journal.jsonl"
    blocks = [json.loads(line) for line in journal.read_text().splitlines()]
    for block in blocks:
        for part in ("memory", "by_layer", "fidelity", "layer_fidelity"):
            if block["kind"] in ("memory", "by_layer", "fidelity"):
                block.update(status="failed", reason="no")
                block.pop(part, None)
    journal.write_text("".join(json.dumps(block) + "\n" for block in blocks))
    charts = charts_of(context_of(subjects_of([load_run(path)])))
    assert set(NETWORK_CHARTS) & set(charts) == {"network-parts"}


@pytest.mark.parametrize(("width", "scheme"), [(1280, "dark"), (390, "light")])
def test_the_page_of_networks_draws_itself_quietly_and_fits(
    browser: Browser, run: Path, width: int, scheme: str
) -> None:
    page, seen = opened(browser, run, width, scheme)
    unfold(page)
    keep_picture(page, f"networks-{width}-{scheme}")
    for chart in NETWORK_CHARTS:
        plots = page.locator(f"figure[data-chart={chart}] .plot")
        drawn = page.locator(f"figure[data-chart={chart}] .plot .main-svg .points path")
        assert plots.count() >= 2
        assert drawn.count() >= plots.count(), chart
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("window.hacked") is None
    assert seen == []
    page.close()


def test_a_hover_tells_of_time_memory_and_fidelity(browser: Browser, run: Path) -> None:
    page, _ = opened(browser, run, 1280)
    unfold(page)
    texts = page.evaluate(
        """() => Array.from(document.querySelector("figure[data-chart=network-peak] .plot").data)
        .map((trace) => trace.hovertext[0])"""
    )
    (filtered,) = [text for text in texts if "2 (native)" in text]
    assert re.search(r"step: \d+ ms .*MiB.*0\.910", filtered)
    page.close()


def test_a_filter_of_workloads_keeps_the_panels_of_the_others_empty(
    browser: Browser, run: Path
) -> None:
    page, _ = opened(browser, run, 1280, fragment="#q=plain")
    unfold(page)
    points = page.evaluate(
        """() => Array.from(document.querySelectorAll("figure[data-chart=network-peak] .plot"))
        .map((plot) => plot.querySelectorAll(".points path").length)"""
    )
    assert points == [0, 9, 0, 9]
    page.close()


def test_axe_finds_nothing_serious_in_what_is_said_of_networks(browser: Browser, run: Path) -> None:
    page, _ = opened(browser, run, 1280)
    page.evaluate(AXE)
    parts = [["#summary"], ["#networks"], ["#layers"]]
    found = page.evaluate("(parts) => axe.run({include: parts})", parts)["violations"]
    assert [v["id"] for v in found if v["impact"] in ("serious", "critical")] == []
    page.close()
