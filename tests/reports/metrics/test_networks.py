from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from fake_networks import INFERENCE_MIB, LEFT_OUT, MIB, WAYS, FakeNetwork
from make_run import FakeTarget, edit_json, make_run

from reports.exports import export
from reports.gate.judge import GateError, judge
from reports.metrics.baseline import baseline_of, baselines_of, memory_baseline_of
from reports.metrics.headlines import Headline, headlines, stories_of
from reports.metrics.of_run import cases_of, compare
from reports.metrics.ratios import speedup_of
from reports.metrics.rows import Row
from reports.metrics.subjects import subjects_of
from reports.metrics.values import latencies_s
from reports.page.problems import problems_of
from reports.results.read import load_run
from reports.results.records import Run
from reports.stats.intervals import Effect, paired_ratio
from reports.terminal.table import final_table, summary_rows
from reports.verify.verify import verify
from workloads.spec.messages import Case

MOBILE = FakeNetwork(name="mobile-all", optimizer="sgd")
PLAIN = FakeNetwork(name="plain-last4", work=0.4)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two networks, one with an optimizer, beside three layers; eight rounds."""
    directory = tmp_path_factory.mktemp("run")
    return load_run(make_run(directory, networks=(MOBILE, PLAIN), rounds=8))


def case_of(run: Run, method: str, kernel: str, network: str = "mobile-all") -> Case:
    for case in cases_of(run, run.targets[0]):
        if (case.workload.name, case.method, case.kernel) == (network, method, kernel):
            return case
    raise AssertionError(f"no case {method} {kernel}")


def rows_of(run: Run, case: Case, metric: str) -> dict[str, Row]:
    chosen = {}
    for row in compare(run):
        is_case = (row.workload, row.method, row.kernel) == (
            case.workload.name, case.method, case.kernel,
        )  # fmt: skip
        if is_case and row.patch_size == case.patch_size and row.metric == metric:
            chosen[row.phase] = row
    return chosen


def headline_of(run: Run, network: str, method: str, patch_size: int | None) -> Headline:
    for headline in headlines(run, run.targets[0], compare(run)):
        if (headline.network, headline.method, headline.patch_size) == (
            network, method, patch_size,
        ):  # fmt: skip
            return headline
    raise AssertionError(f"no headline of {method} on {network}")


def test_each_phase_of_a_network_is_compared_with_the_fastest_exact_kernel(run: Run) -> None:
    case = case_of(run, "gradient_filter", "native")
    target = run.targets[0]
    chosen = {phase: baseline_of(target, case, phase).kernel for phase in case.phases}
    assert chosen == {
        "forward": "fused", "backward": "compiled", "step": "fused", "train_step": "fused",
    }  # fmt: skip


def test_an_exact_kernel_left_out_after_the_pilot_round_is_no_baseline(run: Run) -> None:
    case = case_of(run, "gradient_filter", "native")
    kernels = {exact.kernel for exact in baselines_of(run.targets[0], case, "step")}
    assert kernels == {"fused", "compiled"}


def test_the_interval_of_a_speedup_holds_against_every_exact_kernel(run: Run) -> None:
    target = run.targets[0]
    case = case_of(run, "gradient_filter", "native")
    over: dict[str, Effect] = {}
    for kernel in ("fused", "compiled"):
        exact = case._replace(method="exact", patch_size=None, kernel=kernel)
        theirs, ours = latencies_s(target, exact, "step"), latencies_s(target, case, "step")
        assert theirs.keys() == ours.keys() == set(range(8))
        over[kernel] = paired_ratio(list(ours.values()), list(theirs.values()))
    effect = speedup_of(target, case, "step")
    assert effect is not None
    assert effect.ratio == over["fused"].ratio
    lows = [one.ci_low for one in over.values() if one.ci_low is not None]
    highs = [one.ci_high for one in over.values() if one.ci_high is not None]
    assert effect.ci_low == min(lows)
    assert effect.ci_high == max(effect.ratio, min(highs))
    (row,) = [row for phase, row in rows_of(run, case, "speedup").items() if phase == "step"]
    assert (row.value, row.ci_low, row.ci_high) == (effect.ratio, effect.ci_low, effect.ci_high)
    assert row.reason == "exact by fused, the fastest of 5 exact kernels here"


def test_bytes_are_compared_with_the_strong_baseline_even_if_another_is_faster(
    tmp_path: Path,
) -> None:
    path = make_run(tmp_path, layers=(), networks=(MOBILE,))
    journal = path / "targets" / "board-a" / "journal.jsonl"
    blocks = [json.loads(line) for line in journal.read_text().splitlines()]
    for block in blocks:
        if block["case"]["kernel"] == "compiled" and "timing" in block:
            for timing in block["timing"].values():
                timing["times_s"] = [time_s / 2 for time_s in timing["times_s"]]
    journal.write_text("".join(json.dumps(block) + "\n" for block in blocks))
    run = load_run(path)
    case = case_of(run, "gradient_filter", "native")
    assert baseline_of(run.targets[0], case).kernel == "compiled"
    assert memory_baseline_of(run.targets[0], case).kernel == "fused"
    headline = headline_of(run, "mobile-all, batch 16", "gradient_filter", 2)
    assert headline.saved is not None
    assert math.isclose(headline.saved.ratio, 260 / 437, rel_tol=1e-6)
    assert headline.rivals is not None
    assert headline.rivals.memory == "fused"
    assert "compiled" in headline.rivals.step


def test_bytes_are_compared_with_the_fastest_step_where_the_strong_one_has_none(
    tmp_path: Path,
) -> None:
    fused = "mobile-all/exact/fused/cpu/float32/b16"
    target = FakeTarget(broken={fused: ("out_of_memory", "no room")})
    run = load_run(make_run(tmp_path, targets=(target,), layers=(), networks=(MOBILE,)))
    case = case_of(run, "gradient_filter", "native")
    assert memory_baseline_of(run.targets[0], case).kernel == "compiled"


def test_left_out_blocks_are_no_failure_and_the_pilot_round_stays(run: Run) -> None:
    case = case_of(run, "exact", "folded")
    for row in rows_of(run, case, "latency_s").values():
        assert (row.status, row.n) == ("ok", 1)
        assert row.reason == f"{LEFT_OUT}; fewer than 6 rounds: no 95 % interval"
    problems = [p for p in problems_of(subjects_of([run])) if p.status == "left_out"]
    assert len(problems) == 6  # three kernels of two networks
    assert all("none needed" in problem.remedy for problem in problems)
    table = "\n".join(final_table(summary_rows(run), None))
    assert "left_out" not in table
    junit = export(run, "junit")
    assert isinstance(junit, str)
    assert "<failure" not in junit
    assert "<error" not in junit


def test_a_pilot_round_that_failed_is_a_failure(tmp_path: Path) -> None:
    folded = "mobile-all/exact/folded/cpu/float32/b16"
    target = FakeTarget(broken={folded: ("failed", "no")}, broken_rounds=(0,))
    run = load_run(make_run(tmp_path, targets=(target,), layers=(), networks=(MOBILE,)))
    row = rows_of(run, case_of(run, "exact", "folded"), "latency_s")["step"]
    assert (row.status, row.reason, row.value) == ("failed", "no", None)


def test_only_networks_with_an_optimizer_have_a_train_step(run: Run) -> None:
    for metric in ("latency_s", "speedup"):
        trained = {row.workload for row in compare(run) if row.metric == metric
                   and row.phase == "train_step"}  # fmt: skip
        assert trained == {"mobile-all"}


def test_a_network_has_one_fidelity_of_all_its_weights(run: Run) -> None:
    case = case_of(run, "gradient_filter", "native")
    (row,) = rows_of(run, case, "cosine_gw").values()
    assert (row.phase, row.value, row.status) == ("", 0.91, "ok")
    assert not rows_of(run, case, "cosine_gx")
    assert not rows_of(run, case_of(run, "checkpoint", "fused"), "cosine_gw")


def test_inference_alone_and_the_share_of_the_forward_are_rows_of_networks(run: Run) -> None:
    case = case_of(run, "exact", "fused")
    (floor,) = rows_of(run, case, "inference_peak_rss_bytes").values()
    assert floor.value == INFERENCE_MIB * MIB
    (share,) = rows_of(run, case, "forward_share").values()
    figures = WAYS["exact", None, "fused"]
    expected = figures.forward / (figures.forward + figures.backward)
    assert share.value is not None
    assert math.isclose(share.value, expected, rel_tol=0.05)
    workloads = {row.workload for row in compare(run) if row.metric == "forward_share"}
    assert workloads == {"mobile-all", "plain-last4"}


def test_the_bound_is_the_exact_step_over_its_forward(run: Run) -> None:
    rivals = headline_of(run, "mobile-all, batch 16", "gradient_filter", 4).rivals
    assert rivals is not None
    assert rivals.bound is not None
    assert math.isclose(rivals.bound, 277 / 80, rel_tol=0.05)


def test_networks_stand_for_themselves_and_are_never_averaged_with_layers(run: Run) -> None:
    (subject,) = subjects_of([run])
    (story,) = stories_of([subject])
    assert [chapter.network for chapter in story.chapters] == [
        "mobile-all, batch 16", "plain-last4, batch 16", "",
    ]  # fmt: skip
    layers = story.chapters[-1]
    assert all(headline.workloads_planned == 3 for headline in layers.headlines)
    for chapter in story.chapters[:-1]:
        assert all(headline.workloads_planned == 1 for headline in chapter.headlines)
        assert chapter.best is not None
        assert (chapter.best.method, chapter.best.patch_size) == ("gradient_filter", 4)


def test_joules_of_networks_are_not_added_to_those_of_layers(run: Run) -> None:
    (subject,) = subjects_of([run])
    assert {name for name, *_ in subject.networks} == {"mobile-all", "plain-last4"}
    assert {name for name, *_ in subject.added_up} == {"early", "middle", "late"}


def test_a_gate_judges_a_network_by_name_in_its_own_phase_and_by_its_bytes(run: Run) -> None:
    gate = judge(
        run,
        base="workload=mobile-all,method=exact,kernel=fused",
        new="workload=mobile-all,method=gradient_filter,kernel=native,patch_size=2",
        metrics=("latency", "memory", "saved"),
        phases=("train_step", "backward"),
    )
    asked = {(v.metric, v.phase) for v in gate.verdicts}
    assert asked == {
        ("latency", "train_step"), ("latency", "backward"), ("memory", ""), ("saved", ""),
    }  # fmt: skip
    latencies = [v for v in gate.verdicts if v.metric == "latency"]
    assert len(latencies) == 2
    assert all(v.effect is not None and v.effect.ratio < 1 for v in latencies)


def test_a_gate_does_not_ask_a_layer_for_a_step_with_optimizer(run: Run) -> None:
    base = "workload=early,method=exact,kernel=torch"
    new = "workload=early,method=gradient_filter,patch_size=2"
    gate = judge(run, phases=("step", "train_step"), base=base, new=new)
    assert {verdict.phase for verdict in gate.verdicts} == {"step"}


def test_a_run_of_layers_has_no_phase_train_step(tmp_path: Path) -> None:
    run = load_run(make_run(tmp_path))
    with pytest.raises(GateError, match="no phase 'train_step' — choose from forward"):
        judge(run, base="method=exact", new="patch_size=2", phases=("train_step",))


def test_every_export_takes_networks(run: Run) -> None:
    for format_ in ("csv", "json", "markdown", "bmf", "openmetrics", "pytest-benchmark", "pyperf"):
        text = export(run, format_)
        assert isinstance(text, str)
        assert "mobile-all" in text, format_


def test_a_run_with_networks_verifies(run: Run) -> None:
    assert verify(run.path).findings == ()


def test_a_network_whose_fields_cannot_be_is_no_case(tmp_path: Path) -> None:
    path = make_run(tmp_path, layers=(), networks=(MOBILE,))
    edit_json(
        path / "run.json",
        lambda header: header["plan"]["cases"][0]["network"].update(height=0),
    )
    with pytest.raises(Exception, match="sizes that are not whole numbers of 1 or more"):
        load_run(path)
