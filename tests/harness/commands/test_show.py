from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from make_run import FakeTarget, edit_json, make_run

from harness.cli import main
from reports.results.read import load_run
from reports.terminal.table import final_table, summary_rows
from reports.text.wording import seconds

LAYERS = (("early", 16, 56),)
Gfbench = Callable[..., tuple[int, str, str]]


@pytest.fixture
def gfbench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Gfbench:
    """Run a command in this process; return its exit code, stdout and stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["gfbench", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return run


def day(folder: Path, number: int, **target: object) -> Path:
    run = make_run(
        folder,
        targets=[FakeTarget(**target)],  # type: ignore[arg-type]
        layers=LAYERS,
        seed=number,
        run_id=f"202611{number:02d}-190000-abc123",
    )
    edit_json(run / "run.json", lambda header: header.update(started_at=f"2026-11-{number:02d}"))
    return run


def test_a_run_is_shown_with_intervals_and_without_colour(tmp_path: Path, gfbench: Gfbench) -> None:
    run = day(tmp_path, 1)
    code, out, err = gfbench("show", str(run))
    assert (code, err) == (0, "")
    assert "board-a: linux-arm, A board called board-a, 23 of 23 blocks" in out
    table = final_table(summary_rows(load_run(run)), None)
    assert "\n".join(table) in out
    assert any(" [" in line and "x" in line for line in table)
    assert "\x1b" not in out
    assert "over" not in out  # one run has no history


def test_an_unfinished_run_is_shown_as_far_as_it_is(tmp_path: Path, gfbench: Gfbench) -> None:
    run = day(tmp_path, 1, status="running", stop_after=14)
    edit_json(run / "run.json", lambda header: header.update(finished_at=None))
    code, out, _ = gfbench("show", str(run))
    assert code == 0
    assert "14 of 23 blocks, running" in out
    assert "gradient_filter r2" in out


def test_a_lost_board_is_shown_with_the_remedy(tmp_path: Path, gfbench: Gfbench) -> None:
    lost = {"status": "infra", "reason": "no route\x1b[31m to host", "remedy": "switch it on"}
    out = gfbench("show", str(day(tmp_path, 1, stop_after=0, **lost)))[1]
    assert "0 of 23 blocks, infra: no route [31m to host — switch it on" in out


def test_the_history_is_of_the_runs_beside_it_that_measured_the_same(
    tmp_path: Path, gfbench: Gfbench
) -> None:
    day(tmp_path, 1)
    day(tmp_path, 2)
    other = day(tmp_path, 3, name="board-b")
    elsewhere = day(tmp_path / "elsewhere", 4)
    run = day(tmp_path, 5, speed=0.5)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text("{")
    out = gfbench("show", str(run))[1]
    assert "backward over 3 runs, 20261101-190000-abc123 to 20261105-190000-abc123" in out
    assert "  exact              ▁▁▇ " in out
    assert "over" not in gfbench("show", str(run), "--no-history")[1]
    assert "over" not in gfbench("show", str(other))[1]
    assert "over 2 runs" in gfbench("show", str(elsewhere), str(run))[1]


def test_a_terminal_without_the_characters_gets_no_history(
    tmp_path: Path, gfbench: Gfbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    day(tmp_path, 1)
    run = day(tmp_path, 2)
    monkeypatch.setattr("reports.terminal.sparkline.BARS", "\ud800" * 7)  # what no encoding has
    code, out, _ = gfbench("show", str(run))
    assert code == 0
    assert "over" not in out


def test_the_verdicts_of_a_run_for_a_gate_are_shown(tmp_path: Path, gfbench: Gfbench) -> None:
    run = day(tmp_path, 1)
    rule = {
        "base": "method=exact", "new": "method=gradient_filter,patch_size=2",
        "metrics": ["latency"], "phases": ["backward"], "margin": 0.03, "inconclusive": "warn",
    }  # fmt: skip
    edit_json(run / "run.json", lambda header: header.update(gate=rule))
    judged = gfbench("gate", str(run), "--base", rule["base"], "--new", rule["new"],
                     "--phase", "backward")[1]  # fmt: skip
    shown = gfbench("show", str(run))[1]
    assert judged.strip() in shown
    edit_json(run / "run.json", lambda header: header.update(gate={"base": "x"}))
    assert "no verdicts" in gfbench("show", str(run))[1]


@pytest.mark.parametrize("width", [80, 60])
def test_the_table_fits_the_terminal_whatever_the_names(tmp_path: Path, width: int) -> None:
    run = day(tmp_path, 1)
    for name in ("run.json", "targets/board-a/journal.jsonl"):
        text = (run / name).read_text().replace("gradient_filter", "gradient_filter_published")
        (run / name).write_text(text.replace('"kernel": "torch"', '"kernel": "my-own-kernel"'))
    lines = final_table(summary_rows(load_run(run)), width)
    assert max(map(len, lines)) <= width
    assert any("gradient_filter_published r2 my-own-kernel" in line for line in lines)
    assert sum("x [" in line or "-" in line for line in lines) >= 2


@pytest.mark.parametrize(
    ("value_s", "text"), [(0.0009996, "1 ms"), (0.9999, "1 s"), (2e-6, "2 us")]
)
def test_a_time_never_reads_a_thousand_of_a_unit(value_s: float, text: str) -> None:
    assert seconds(value_s) == text
