"""The exact baseline is the faster layout, by workload and phase, and the report says which."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from make_run import edit_json, make_run

from reports.exports.markdown import to_markdown
from reports.exports.source import ExportSource
from reports.metrics.baseline import baseline_of
from reports.metrics.headlines import headlines
from reports.metrics.of_run import compare
from reports.metrics.values import latencies_s
from reports.page.render import render
from reports.results.read import load_run
from reports.results.records import Run
from reports.stats.intervals import paired_ratio
from reports.terminal.table import final_table, notes_on_exact, summary_rows

PHASES = ("forward", "backward", "step")


def with_kernel(
    tmp_path: Path, method: str, kernel: str, times: Mapping[str, Mapping[str, float]]
) -> Run:
    """Return a new run in which blocks of a method also ran by another kernel."""
    return add_kernel(make_run(tmp_path), method, kernel, times)


def add_kernel(
    path: Path, method: str, kernel: str, times: Mapping[str, Mapping[str, float]]
) -> Run:
    """Add blocks of another kernel, so many times as long: a factor by workload and phase."""
    journal = path / "targets" / "board-a" / "journal.jsonl"
    lines = journal.read_text().splitlines()
    for line in list(lines):
        block = json.loads(line)
        case, workload = block["case"], block["case"]["layer"]["name"]
        if case["method"] != method or workload not in times:
            continue
        case["kernel"] = kernel
        block["case_key"] = block["case_key"].replace("/torch/", f"/{kernel}/")
        for phase, timing in block.get("timing", {}).items():
            timing["times_s"] = [t * times[workload][phase] for t in timing["times_s"]]
        block["order"] += 10_000
        lines.append(json.dumps(block))
    journal.write_text("\n".join(lines) + "\n")
    return load_run(path)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Channels-last wins backward and step of ``early``, the step of ``middle``, nothing else."""
    times = {
        "early": {"forward": 0.5, "backward": 0.5, "step": 0.5},
        "middle": {"forward": 0.2, "backward": 1.2, "step": 0.8},
        "late": {"forward": 1.2, "backward": 1.2, "step": 1.2},
    }
    return with_kernel(tmp_path, "exact", "torch-channels-last", times)


def test_each_phase_is_compared_with_the_layout_that_is_faster_in_it(run: Run) -> None:
    target = run.targets[0]
    chosen = {
        (case.layer.name, phase): baseline_of(target, case, phase).kernel
        for case in {block.case for block in target.blocks if block.case.patch_size == 2}
        for phase in ("backward", "step")
    }
    last, plain = "torch-channels-last", "torch"
    assert chosen == {
        ("early", "backward"): last, ("early", "step"): last,
        ("middle", "backward"): plain, ("middle", "step"): last,
        ("late", "backward"): plain, ("late", "step"): plain,
    }  # fmt: skip


def test_speedups_are_over_that_layout_and_say_so(run: Run) -> None:
    target = run.targets[0]
    rows = [row for row in compare(run) if row.metric == "speedup" and row.patch_size == 2]
    assert len(rows) == 6
    for row in rows:
        case = next(
            block.case
            for block in target.blocks
            if (block.case.layer.name, block.case.patch_size) == (row.workload, 2)
        )
        baseline = baseline_of(target, case, row.phase)
        exact, own = (latencies_s(target, one, row.phase) for one in (baseline, case))
        assert row.value == paired_ratio(list(own.values()), list(exact.values())).ratio
        layout = {"torch": "NCHW"}.get(baseline.kernel, "channels-last")
        assert row.reason == f"exact in {layout}, the faster layout here"


def test_the_page_and_the_terminal_name_the_baseline(run: Run) -> None:
    page = render([run])
    note = (
        "The exact baseline is the faster layout: NCHW for middle (backward), late (backward and "
        "step); channels-last for early (backward and step), middle (step)."
    )
    assert note in page
    assert "faster in channels-last for early, middle; no filtered steps were measured" in page
    assert "add `--kernel torch-channels-last` for these" in page
    assert "exact (channels-last)" in page
    lines = final_table(summary_rows(run), None)
    baselines = [line for line in lines if "baseline" in line]
    last = sorted(line.count("baseline") for line in baselines if "channels-last" in line)
    plain = sorted(line.count("baseline") for line in baselines if "channels-last" not in line)
    assert (last, plain) == ([1, 2], [1, 2])


def test_no_layout_is_called_unseen_where_filtered_layers_had_both(run: Run) -> None:
    slower = {"early": dict.fromkeys(PHASES, 1.1)}
    both = add_kernel(run.path, "gradient_filter", "torch-channels-last", slower)
    page = render([both])
    assert "The exact baseline is the faster layout" in page
    assert "no filtered steps were measured" not in page


def test_a_layout_that_mostly_failed_is_no_baseline(tmp_path: Path) -> None:
    fast = {"early": dict.fromkeys(PHASES, 0.1)}
    run = with_kernel(tmp_path, "exact", "torch-channels-last", fast)
    journal = run.path / "targets" / "board-a" / "journal.jsonl"
    kept = []
    for line in journal.read_text().splitlines():
        block = json.loads(line)
        if block["case"]["kernel"] == "torch-channels-last" and block["round"] > 0:
            block.update(status="failed", reason="no")
            block.pop("timing", None)
        kept.append(json.dumps(block))
    journal.write_text("\n".join(kept) + "\n")
    run = load_run(run.path)
    case = next(block.case for block in run.targets[0].blocks if block.case.patch_size == 2)
    early = case._replace(workload=case.layer._replace(name="early"))
    assert baseline_of(run.targets[0], early, "step").kernel == "torch"


def test_a_second_kernel_is_compared_with_torch_in_every_phase(tmp_path: Path) -> None:
    half = {name: dict.fromkeys(PHASES, 0.5) for name in ("early", "middle", "late")}
    run = with_kernel(tmp_path, "gradient_filter", "native", half)
    page = render([run])
    assert "Kernels against kernel torch" in page
    native = [h for h in headlines(run, run.targets[0], compare(run)) if h.kernel == "native"]
    assert len(native) == 2
    for headline in native:
        assert headline.torch_backward is not None
        assert headline.torch_backward.ratio == pytest.approx(2.0)
        assert headline.torch_step is not None
        assert headline.torch_step.ci_low == pytest.approx(2.0)
    rows = {(row.workload, row.patch_size, row.kernel): row for row in summary_rows(run)}
    assert rows["late", 2, "native"].figure("kernel_ratio", "backward").value == pytest.approx(2.0)
    assert rows["late", 2, "torch"].figure("kernel_ratio", "backward").value is None
    assert "over torch" in final_table(summary_rows(run), None)[0]


def test_one_kernel_is_compared_with_no_other(tmp_path: Path) -> None:
    run = load_run(make_run(tmp_path))
    assert "Kernels against" not in render([run])
    assert "over torch" not in final_table(summary_rows(run), None)[0]
    assert "The exact baseline is" not in render([run])


@pytest.mark.parametrize("mkldnn", [None, True, False])
def test_the_first_sentence_about_speedups_says_that_exact_is_torchs_slow_one(
    tmp_path: Path, mkldnn: bool | None
) -> None:
    path = make_run(tmp_path)
    probe = path / "targets" / "board-a" / "probe.json"
    edit_json(probe, lambda facts: facts["torch"].update(mkldnn=mkldnn))
    run = load_run(path)
    note = "exact is torch's slow convolution here, not the best there is"
    (lead,) = re.findall(r'<p class="lead">(.*?)</p>', render([run]), re.DOTALL)
    first_sentence = lead.replace("&#39;", "'")
    assert (note in first_sentence) is (mkldnn is False)
    assert [note in line for line in notes_on_exact(run)] == [True] * (mkldnn is False)
    markdown = to_markdown(ExportSource(run=run, rows=compare(run)))
    assert (note in markdown) is (mkldnn is False)
