"""One figure over several workloads, and the same one wherever it is shown."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from make_run import FakeTarget, make_run

from reports.gate.judge import judge
from reports.metrics.headlines import headlines
from reports.metrics.of_run import compare
from reports.metrics.over_workloads import CAPTION, over_workloads
from reports.metrics.summary import summary_of
from reports.page.render import render
from reports.results.read import load_run
from reports.results.records import Run
from reports.site import trends
from reports.site.archive import Archive
from reports.site.run_data import dumped, facts_of, pack
from reports.site.templates import render as render_site
from reports.site.views import Fleet, MethodSummary
from reports.stats.intervals import Effect, hodges_lehmann, ratio_effect
from reports.terminal.verdicts import lines

EXACT, R2 = "method=exact", "method=gradient_filter,patch_size=2"


def workload(centre: float, spread: float, rounds: int, random: np.random.Generator) -> Effect:
    return ratio_effect(random.normal(centre, spread, size=rounds).tolist())


def fleet_of(run: Run) -> Fleet:
    """Return what the pages of a site are made of, from the summary of one run."""
    archive = Archive()
    rows = summary_of(run)
    packed = pack(rows, run=facts_of(rows, run_id=run.run_id, digest="d"))
    archive.add(json.loads(dumped(packed)))
    return Fleet(archive=archive, lines=trends.lines_of(archive), trends={}, events=(), watched=())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of eight rounds, which is a gate's first look, with a power sensor."""
    target = FakeTarget(power=True, window_s=12.5)
    return load_run(make_run(tmp_path_factory.mktemp("run"), targets=[target], rounds=8))


@pytest.fixture(scope="module")
def standing(run: Run) -> MethodSummary:
    return next(s for s in fleet_of(run).standings if s.method == ("gradient_filter", 2, "torch"))


def test_the_figure_is_geometric() -> None:
    twice, half = ratio_effect([math.log(2.0)] * 8), ratio_effect([math.log(0.5)] * 8)
    figure = over_workloads([twice, half, twice, half])
    assert figure is not None
    assert figure.ratio == pytest.approx(1.0)
    assert (figure.ci_low, figure.ci_high) == pytest.approx((1.0, 1.0))
    assert figure.n == 8


def test_a_single_workload_is_its_own_figure() -> None:
    logs = np.random.default_rng(2).normal(0.1, 0.02, size=12).tolist()
    figure = over_workloads([ratio_effect(logs)])
    assert figure == ratio_effect(logs)
    assert figure.ratio == pytest.approx(math.exp(hodges_lehmann(logs)))


def test_a_workload_of_few_rounds_leaves_no_interval() -> None:
    random = np.random.default_rng(4)
    effects = [workload(0.1, 0.02, 8, random), workload(0.1, 0.02, 5, random)]
    figure = over_workloads(effects)
    assert figure is not None
    assert (figure.ci_low, figure.ci_high, figure.n) == (None, None, 5)
    assert over_workloads([]) is None


@pytest.mark.parametrize("shared", [0.0, 0.02], ids=["each for itself", "all alike"])
def test_the_interval_covers_the_mean_of_these_workloads(shared: float) -> None:
    random = np.random.default_rng(3)
    covered = 0
    for _ in range(300):
        centres = random.normal(0.05, 0.03, size=6)
        disturbance = random.normal(0, shared, size=8)  # of each round, in all workloads
        logs = [random.normal(centre, 0.005, size=8) + disturbance for centre in centres]
        figure = over_workloads([ratio_effect(own) for own in logs])
        assert figure is not None
        assert figure.ci_low is not None
        assert figure.ci_high is not None
        covered += figure.ci_low <= math.exp(float(np.mean(centres))) <= figure.ci_high
    assert covered / 300 > 0.93


def test_report_site_and_gate_have_the_same_speedup(run: Run, standing: MethodSummary) -> None:
    headline = headlines(run, run.targets[0], compare(run))[0]
    gate = judge(run, base=EXACT, new=R2, phases=("backward", "step"))
    for phase in ("backward", "step"):
        reported: Effect = getattr(headline, phase)
        judged = gate.summary["board-a", "latency", phase]
        assert judged.n == 3
        assert getattr(standing, phase) == pytest.approx(reported.ratio, rel=1e-9)
        assert 1 / judged.ratio == pytest.approx(reported.ratio, rel=1e-9)
        assert judged.ci_low is not None
        assert judged.ci_high is not None
        assert (1 / judged.ci_high, 1 / judged.ci_low) == pytest.approx(
            (reported.ci_low, reported.ci_high), rel=1e-9
        )


def test_report_site_and_gate_have_the_same_energy(run: Run, standing: MethodSummary) -> None:
    headline = headlines(run, run.targets[0], compare(run))[0]
    judged = judge(run, base=EXACT, new=R2, metrics=("energy",), phases=("step",)).summary
    assert headline.energy is not None
    assert standing.energy == pytest.approx(headline.energy.ratio, rel=1e-9)
    assert judged["board-a", "energy", "step"].ratio == pytest.approx(
        headline.energy.ratio, rel=1e-9
    )


def test_a_site_divides_the_energies_of_runs_that_an_earlier_version_summarised(run: Run) -> None:
    archive = Archive()
    rows = summary_of(run)
    packed = pack(rows, run=facts_of(rows, run_id=run.run_id, digest="d"))
    packed["rows"]["of_exact"] = [None] * len(rows)
    archive.add(packed)
    fleet = Fleet(archive=archive, lines=trends.lines_of(archive), trends={}, events=(), watched=())
    headline = headlines(run, run.targets[0], compare(run))[0]
    standing = next(s for s in fleet.standings if s.method == ("gradient_filter", 2, "torch"))
    assert headline.energy is not None
    assert standing.energy == pytest.approx(headline.energy.ratio, rel=0.02)


def test_an_archive_of_an_earlier_version_is_read(run: Run, tmp_path: Path) -> None:
    fleet_of(run).archive.save(tmp_path)
    path = tmp_path / "figures.npz"
    with np.load(path) as figures:
        older = {name: figures[name] for name in figures if name != "of_exact"}
    np.savez(path, **older)
    again = Archive.load(tmp_path)
    assert len(again.runs) == 1
    assert np.isnan(again.columns()["of_exact"]).all()


def test_wherever_the_figure_is_shown_stands_how_it_is_made(run: Run) -> None:
    documented = (Path(__file__).parents[3] / "docs" / "statistics.md").read_text()
    gate = judge(run, base=EXACT, new=R2, phases=("backward", "step"))
    fleet = fleet_of(run)
    site = render_site(
        "index.html.j2", path="index.html", fleet=fleet, targets=(), headline="", savings=[]
    )
    shown = (documented, render([run]), "\n".join(lines(gate)), site)
    for text in shown:
        assert CAPTION in " ".join(text.replace("&#39;", "'").split())
