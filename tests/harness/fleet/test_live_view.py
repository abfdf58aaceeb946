"""The final table: readable at 80 columns, whole when piped."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from harness.fleet.live_view import LiveView
from reports.terminal.table import CaseLine, Estimate, final_table
from reports.text.wording import duration, joules, seconds, size


def row(
    method: str = "gradient_filter",
    patch_size: int | None = 2,
    *,
    workload: str = "quick-64ch-56x56",
    target: str = "local",
    status: str = "ok",
    reason: str = "",
    speedup: Estimate | None = None,
    energy_j: float | None = None,
) -> CaseLine:
    exact = method == "exact"
    figures = {
        ("latency_s", "backward"): Estimate(value=0.0123),
        ("latency_s", "step"): Estimate(value=0.0234),
        ("saved_bytes", ""): Estimate(value=802816.0),
        ("energy_j", "step"): Estimate(value=energy_j),
    }
    if not exact:
        speedup = speedup or Estimate(value=1.923, ci_low=1.804, ci_high=2.101)
        figures["speedup", "backward"] = speedup
        figures["speedup", "step"] = Estimate(value=1.4, ci_low=1.38, ci_high=1.5)
        figures["cosine_gx", ""] = Estimate(value=0.9512)
        figures["cosine_gw", ""] = Estimate(value=0.9876)
    return CaseLine(
        baseline=("backward", "step") if exact else (),
        target=target,
        workload=workload,
        method=method,
        patch_size=patch_size,
        kernel="torch",
        device="cpu",
        batch=4,
        figures=figures,
        status=status,
        reason=reason,
    )


ROWS = (
    row("exact", None),
    row(),
    row(patch_size=4, speedup=Estimate(value=13.21, ci_low=12.3, ci_high=14.06)),
    row("exact", None, workload="mobile-mbv2-depthwise-stride2"),
    row("gradient_filter_published", 4, workload="mobile-mbv2-depthwise-stride2"),
)


def test_at_80_columns_every_line_fits_and_nothing_is_cut() -> None:
    lines = final_table(ROWS, 80)
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    assert "gradient_filter_published r4" in text
    assert "1.92x [1.80, 2.10] 1.40x [1.38, 1.50] 0.951 0.988" in text
    assert "13.2x [12.3, 14.1]" in text
    assert "12.3 ms" not in text


def test_a_wide_terminal_also_shows_latency_and_saved_memory() -> None:
    lines = final_table(ROWS, 140)
    text = "\n".join(lines)
    assert "12.3 ms" in text
    assert "784 KiB" in text
    assert "energy" not in text


@pytest.mark.parametrize("columns", ["20", "500"])
def test_piped_everything_is_shown_whatever_columns_says(
    columns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert final_table(ROWS, None) == final_table(ROWS, 10_000)


def test_a_workload_is_named_once_above_its_cases() -> None:
    lines = final_table(ROWS, 80)
    assert [line for line in lines[2:] if not line.startswith(" ")] == [
        "quick-64ch-56x56, batch 4, cpu",
        "mobile-mbv2-depthwise-stride2, batch 4, cpu",
    ]


def test_two_targets_are_told_apart() -> None:
    text = "\n".join(final_table([row(), row(target="nano")], 80))
    assert "local: quick-64ch-56x56" in text
    assert "nano: quick-64ch-56x56" in text


def test_columns_stand_under_their_names() -> None:
    lines = final_table(ROWS, 80)
    names, exact, filtered = lines[1], lines[3], lines[4]
    assert names.index("backward") + len("backward") == filtered.index("]") + 1
    assert exact.index("baseline") + len("baseline") == filtered.index("]") + 1
    assert names.endswith("g_w")
    assert len(names) == len(filtered)


def test_a_case_without_figures_shows_its_reason_instead() -> None:
    rows = [row(), row(patch_size=4, status="failed", reason="out of\x1b[31m memory\n!")]
    lines = final_table(rows, 80)
    assert lines[-1].strip() == "gradient_filter r4 failed: out of [31m memory !"
    assert len(lines) == 5


def test_energy_is_shown_where_there_is_any_and_missing_is_never_zero() -> None:
    lines = final_table([row(energy_j=0.0421), row(patch_size=4)], None)
    assert lines[-2].endswith("42.1 mJ")
    assert lines[-1].endswith("-")


def test_no_cases_are_no_lines() -> None:
    assert final_table([], 80) == []
    assert final_table([], None) == []


def test_a_run_whose_cases_all_failed_has_a_table() -> None:
    lines = final_table([row(status="skipped", reason="too large")], 80)
    assert lines[-1].strip() == "gradient_filter r2 skipped: too large"


def test_figures_have_the_unit_that_suits_them() -> None:
    assert [seconds(value) for value in (None, 2e-6, 0.0123, 2.5)] == [
        "-",
        "2 us",
        "12.3 ms",
        "2.5 s",
    ]
    assert [size(value) for value in (None, 12, 2048, 3 * 2**20, 2**31)] == [
        "-",
        "12 B",
        "2 KiB",
        "3 MiB",
        "2 GiB",
    ]
    assert [joules(value) for value in (None, 0.0021, 3.0)] == ["-", "2.1 mJ", "3 J"]
    assert [duration(value) for value in (5, 600, 7200)] == ["5 s", "10 min", "2.0 h"]


def test_the_live_view_is_quiet_when_piped() -> None:
    out = io.StringIO()
    with LiveView(["nano"], Console(file=out)) as view:
        view.planned("nano", 3, 0, 10.0)
        view.state("nano", "measuring")
        view.block("nano", {"status": "failed"})
    assert out.getvalue() == ""


def test_the_live_view_shows_block_i_of_n_and_what_failed() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=160)
    view = LiveView(["nano"], console)
    view.planned("nano", 30, 0, 10.0)
    view.state("nano", "measuring")
    times = {"backward": {"times_s": [0.001, 0.002, 0.003]}}
    view.block("nano", {"status": "ok", "case_key": "a/[red]b", "timing": times})
    view.block("nano", {"status": "timeout", "case_key": "c", "kind": "memory"})
    console.print(view._render())
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "block 2 of 30" in shown
    assert "1 failed" in shown
    assert "c memory timeout" in shown


def test_the_live_view_survives_what_a_board_may_send() -> None:
    view = LiveView(["nano"], Console(file=io.StringIO()))
    for record in ({}, {"timing": 5}, {"timing": {"backward": {"times_s": ["x"]}}}):
        view.block("nano", record)
    view.block("nano", {"timing": {"backward": 7}})
    view.block("nano", {"timing": {"backward": {"times_s": [1, None]}}})
