"""What the page says and draws about energy."""

from __future__ import annotations

import html
import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_power import CPU_SHARE, CURVES, IDLE_W
from make_run import FakeTarget, edit_json, make_run, write_json

from reports.calibration.sampler_cost import cost_of
from reports.charts import charts_of, context_of
from reports.charts.energy import totals_of
from reports.charts.power import MAX_POINTS, profile_chart, thinned
from reports.charts.rails import rails_of
from reports.charts.style import colours_of
from reports.metrics.of_run import compare
from reports.metrics.subjects import subjects_of
from reports.page.power import power_stories_of
from reports.page.render import render
from reports.results.read import load_run
from reports.results.records import Run
from reports.results.sampler_cost import Round

POWERED = FakeTarget(power=True, window_s=12.5, noise=0.003, drift=0.0)
LAYERS = (("early", 16, 56), ("late", 64, 14))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("run"), targets=[POWERED], layers=LAYERS)


@pytest.fixture(scope="module")
def run(path: Path) -> Run:
    return load_run(path)


def test_the_parts_are_sums_of_the_exports_rows(run: Run) -> None:
    (subject,) = subjects_of([run])
    totals = totals_of(subject)
    assert totals.workloads == 2
    assert len(totals.totals) == 9  # three methods in three phases
    rows = [row for row in compare(run) if row.metric == "energy_j"]
    for total in totals.totals:
        method, phase = total.method, total.phase
        mine = [r for r in rows if (r.method, r.patch_size) == method[:2] and r.phase == phase]
        assert total.gross_j == pytest.approx(sum(row.value or 0 for row in mine))
        assert total.high_j == pytest.approx(sum(row.ci_high or 0 for row in mine))
        assert total.net_j == pytest.approx(total.gross_j * (1 - IDLE_W / 8), rel=0.02)


def test_a_nested_rail_is_drawn_beside_the_total_and_never_added(run: Run) -> None:
    (subject,) = subjects_of([run])
    joules = rails_of(subject, colours_of([subject]))
    for (method, rail), value in joules.items():
        if rail == "VDD_CPU":
            total = joules[method, "VDD_IN"]
            assert value.value == pytest.approx(CPU_SHARE * total.value, rel=0.01)
            assert 0.02 * total.value <= total.u95 < 0.05 * total.value  # the tolerance and more
    chart = charts_of(context_of([subject]))["energy-rails"]
    total, nested = chart.panels[0].figure["data"]
    assert (total["name"], nested["name"]) == ("VDD_IN", "VDD_CPU")
    assert not set(total["y"]) & set(nested["y"])  # bars of one place would be stacked
    assert nested["marker"]["color"] == "rgba(0,0,0,0)"


def test_the_profile_of_a_step_is_the_curve_that_it_follows(run: Run) -> None:
    (subject,) = subjects_of([run])
    chart = profile_chart(context_of([subject]))
    assert chart is not None
    assert len(chart.panels[0].figure["data"]) == 3
    powers = {column.name: column.values for column in chart.columns}
    exact = [p for p, m in zip(powers["power"], powers["method"], strict=True) if m == "exact"]
    middles = (np.arange(len(exact)) + 0.5) / len(exact)
    edges = CURVES["step"].bounds
    inner = [np.abs(edges - place).min() > 1 / len(exact) for place in middles]
    drawn = np.array([power for power, clear in zip(exact, inner, strict=True) if clear])
    assert drawn == pytest.approx(CURVES["step"].power_w(middles[inner]), rel=0.02)


def test_a_sensor_that_averages_longer_than_a_step_draws_no_profile(
    tmp_path: Path, path: Path
) -> None:
    copy = make_run(tmp_path, targets=[POWERED], layers=LAYERS[:1])

    def average(power: dict[str, Any]) -> None:
        power["rails"][0].update(conversion="average", update_interval_s=0.05)

    edit_json(copy / "targets" / "board-a" / "power.json", average)
    subjects = subjects_of([load_run(copy)])
    chart = profile_chart(context_of(subjects))
    assert chart is not None
    assert chart.panels[0].figure == {}
    assert "mean over 0.05 s, but one iteration takes" in chart.panels[0].description


def test_the_trace_is_coloured_by_phase_and_stays_small(run: Run) -> None:
    chart = charts_of(context_of(subjects_of([run])))["power"]
    figure = chart.panels[0].figure
    lines = {trace["name"]: trace for trace in figure["data"]}
    assert {"forward", "backward", "step", "idle", "between windows", "exact"} <= set(lines)
    powers = [y for y in lines["step"]["y"] if y is not None]
    assert max(powers) == pytest.approx(9.6, rel=0.01)
    (band,) = figure["layout"]["shapes"]
    assert band["y0"] <= IDLE_W <= band["y1"] < 1.05 * IDLE_W
    assert len(json.dumps(figure)) < 250_000


def test_thinning_keeps_the_extremes() -> None:
    times_s = np.arange(100_000.0)
    values = np.random.default_rng(1).normal(size=times_s.size)
    values[54_321], values[12_345] = 99.0, -99.0
    kept_s, kept = thinned(times_s, values)
    assert len(kept) <= MAX_POINTS
    assert (kept.max(), kept.min()) == (99.0, -99.0)
    assert (np.diff(kept_s) > 0).all()
    assert kept_s[kept == 99.0] == 54_321


def test_the_budget_names_every_cause(run: Run) -> None:
    (story,) = power_stories_of(subjects_of([run]))
    shares = {share.cause: share for share in story.budget}
    assert list(shares)[:4] == ["quantisation", "sampling", "edges", "tolerance"]
    assert shares["tolerance"].median == pytest.approx(0.02)
    assert shares["all together"].largest >= shares["all together"].median > 0.02
    facts = dict(story.facts)
    assert facts["Scope"] == "module input"
    assert facts["Inside the total, not added"] == "VDD_CPU"
    assert "20.0 Hz" in facts["Sampling"] or "19.9 Hz" in facts["Sampling"]
    assert "tolerance 2 %" in facts["Sensor"]
    assert facts["Sampler's own cost"].startswith("not calibrated")


def test_a_calibration_of_the_sampler_is_printed_with_both_pairs(tmp_path: Path) -> None:
    path = make_run(tmp_path, targets=[FakeTarget(power=True)], layers=LAYERS[:1], rounds=1)
    one = Round(on_s=0.1002, off_s=0.1, off_again_s=0.0999, on_w=5.0, sparse_w=4.991)
    cost = asdict(cost_of([one] * 6, ("hwmon every 0.05 s",)))
    write_json(path / "targets" / "board-a" / "calibration.json", cost)
    (story,) = power_stories_of(subjects_of([load_run(path)]))
    words = dict(story.facts)["Sampler's own cost"]
    assert "latency +0.20%" in words
    assert "by chance -0.10%" in words
    assert "power +10 mW" in words
    assert words in html.unescape(render([load_run(path)]))


def test_every_invalid_windows_reason_is_counted(tmp_path: Path) -> None:
    path = make_run(tmp_path, targets=[FakeTarget(power=True)], layers=LAYERS)
    run = load_run(path)
    (story,) = power_stories_of(subjects_of([run]))
    assert (story.windows, story.good) == (2 * 3 * 6 * 3, 0)
    assert sum(group.count for group in story.invalid) == story.windows
    (group,) = story.invalid
    assert group.text.startswith("invalid: energy not measured: window too short")
    assert "min_window_s" in group.remedy
    page = render([run])
    assert page.count("Energy: not measured: window too short") == 1


def test_a_target_without_a_sensor_says_so_once(tmp_path: Path) -> None:
    page = render([load_run(make_run(tmp_path))])
    shown = re.sub(r"<script.*?</script>", "", page, flags=re.S)
    assert shown.count("no power sensor") == 1
    assert "measured-energy" not in shown


def test_boards_of_different_scope_are_refused_on_the_page(tmp_path: Path) -> None:
    targets = [
        POWERED,
        FakeTarget(name="b", power=True, window_s=12.5, scope="board input"),
        FakeTarget(name="c"),
    ]
    page = render([load_run(make_run(tmp_path, targets=targets, layers=LAYERS[:1], rounds=1))])
    assert page.count("The energies of board-a and b are not comparable: scope") == 1


def test_memory_has_four_figures_and_a_kill_its_estimate(tmp_path: Path) -> None:
    reason = "killed for memory, the case needs about 3.21 GB"
    target = FakeTarget(broken={"late/exact/torch/cpu/float32/b8": ("out_of_memory", reason)})
    run = load_run(make_run(tmp_path, targets=[target]))
    charts = charts_of(context_of(subjects_of([run])))
    assert len({charts[name].title for name in ("saved", "peak-rss", "system-dip")}) == 3
    rows = [row for row in compare(run) if (row.workload, row.method) == ("late", "exact")]
    memory = [row for row in rows if row.metric.endswith("_bytes")]
    assert {(row.status, row.reason) for row in memory} == {("out_of_memory", reason)}
    assert "3.21 GB" in render([run])
