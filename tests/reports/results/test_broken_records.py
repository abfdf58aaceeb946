"""What no machine can have measured costs the block that says it, and nothing else."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from gfbench_cli import Cli
from lying_board import lying_python
from make_run import FakeTarget, edit_json, make_run
from typer.testing import CliRunner

from harness.cli import app
from reports.exports import export
from reports.page.render import render
from reports.results.manifest import verify_manifest, write_manifest
from reports.results.read import load_run, read_trace
from reports.results.records import BlockRecord

HUGE = 10**400  # an integer that no float holds
small_run = partial(make_run, layers=(("early", 16, 56),), rounds=2)
IMPOSSIBLE_S = (0.0, 0, -0.001, 1e308, 5e-324, HUGE)


def change_block(run: Path, change: Callable[[Any], None], kind: str = "timing") -> int:
    """Change the first block of a kind in the journal and return its order."""
    path = run / "targets" / "board-a" / "journal.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        block = json.loads(line)
        if block["kind"] == kind:
            change(block)
            lines[number] = json.dumps(block)
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
            return int(block["order"])
    raise AssertionError(f"no {kind} block")


def block_of(run: Path, order: int) -> tuple[BlockRecord, int]:
    """Return a block of the first target, and how many others are ok."""
    target = load_run(run).targets[0]
    (block,) = (block for block in target.blocks if block.order == order)
    return block, sum(other.status == "ok" for other in target.blocks)


@pytest.mark.parametrize("time_s", IMPOSSIBLE_S, ids=lambda value: str(value)[:8])
@pytest.mark.parametrize("field", ["times_s", "warmup_s"])
def test_a_time_that_cannot_be_makes_its_block_invalid_and_names_the_field(
    tmp_path: Path, field: str, time_s: float
) -> None:
    run = small_run(tmp_path)

    def lie(block: Any) -> None:
        block["timing"]["backward"][field][1] = time_s

    block, ok = block_of(run, change_block(run, lie))
    assert block.status == "invalid"
    assert block.timing == {}
    assert block.reason.startswith(f"its record is broken: timing.backward.{field}.1: ")
    assert ok == 3 + 2 + 6 - 1


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("memory", ("memory", "saved_bytes")),
        ("memory", ("memory", "peak_rss_bytes")),
        ("fidelity", ("fidelity", "one_over_f", "cosine_gx")),
        ("timing", ("state_before", "load_1m")),
        ("timing", ("state_after", "temperatures_c", "CPU-therm")),
        ("timing", ("window_s", 1)),
        ("timing", ("timing", "step", "loops")),
        ("timing", ("pid",)),
    ],
    ids=str,
)
@pytest.mark.parametrize("value", [1e308, HUGE], ids=["1e308", "huge"])
def test_any_other_figure_that_cannot_be_does_the_same(
    tmp_path: Path, kind: str, path: tuple[str | int, ...], value: float
) -> None:
    run = small_run(tmp_path)

    def lie(block: Any) -> None:
        for key in path[:-1]:
            block = block[key]
        block[path[-1]] = value

    block, ok = block_of(run, change_block(run, lie, kind))
    assert block.status == "invalid"
    assert ".".join(map(str, path)).rpartition(".")[0] in block.reason
    assert ok == 3 + 2 + 6 - 1


def test_a_block_that_did_not_end_well_keeps_how_it_ended(tmp_path: Path) -> None:
    run = small_run(tmp_path)
    order = change_block(
        run, lambda block: block.update(status="interrupted", reason="stopped", pid=HUGE)
    )
    block, _ = block_of(run, order)
    assert block.status == "interrupted"
    assert block.reason.startswith("stopped; its record is broken: pid: ")


@pytest.mark.parametrize("size", [0, -1, HUGE], ids=["0", "-1", "huge"])
def test_a_block_of_a_case_that_cannot_be_does_not_count_and_is_noted(
    tmp_path: Path, size: int
) -> None:
    run = small_run(tmp_path)
    change_block(run, lambda block: block["case"]["layer"].update(stride=[size, 1]))
    (target,) = load_run(run).targets
    assert len(target.blocks) == 10
    assert "1 line(s) of the journal are not blocks and do not count" in target.notes


@pytest.mark.parametrize("value", [1e308, -1e308, HUGE], ids=["1e308", "-1e308", "huge"])
def test_a_broken_session_probe_or_rail_map_is_a_note_and_the_figures_stand(
    tmp_path: Path, value: float
) -> None:
    run = small_run(tmp_path, targets=[FakeTarget(power=True)])
    folder = run / "targets" / "board-a"
    edit_json(folder / "session.json", lambda session: session.update(blocks_planned=value))
    edit_json(folder / "probe.json", lambda probe: probe["cpu"].update(max_mhz=value))
    edit_json(folder / "power.json", lambda power: power["rails"][0].update(tolerance=value))
    read = load_run(run)
    words = " ".join(read.targets[0].notes)
    assert "session.json is broken: blocks_planned: " in words
    assert "probe.json is broken: cpu.max_mhz: " in words
    assert "power.json is broken" in words
    assert "early" in render([read])
    assert len(read.targets[0].blocks) == 11


def test_a_reading_that_cannot_be_is_left_out(tmp_path: Path) -> None:
    run = small_run(tmp_path, targets=[FakeTarget(power=True)])
    trace = run / "targets" / "board-a" / "power.csv.gz"
    whole = read_trace(load_run(run).targets[0])
    lies = "".join(f"{t},c0,{raw}\n" for t, raw in ((1, 1e308), (1e308, 1), (1, HUGE), (HUGE, 1)))
    trace.write_bytes(gzip.compress(gzip.decompress(trace.read_bytes()) + lies.encode()))
    read = load_run(run)
    told = read_trace(read.targets[0])
    assert whole is not None
    assert told is not None
    assert len(told["c0"][0]) == len(whole["c0"][0])
    assert "energy" in render([read])


def test_an_idle_window_that_cannot_be_is_left_out(tmp_path: Path) -> None:
    run = small_run(tmp_path)
    journal = run / "targets" / "board-a" / "journal.jsonl"
    lies = [[0, HUGE], [-HUGE, 1], [0, 1e308], [2, 1], [0], ["0", 1]]
    lines = [json.dumps({"type": "idle", "window_s": window}) + "\n" for window in lies]
    journal.write_text(journal.read_text(encoding="utf-8") + "".join(lines), encoding="utf-8")
    assert load_run(run).targets[0].idle == ()


@pytest.mark.parametrize("format_name", ["csv", "json", "google-benchmark", "junit"])
def test_an_export_has_the_good_blocks(tmp_path: Path, format_name: str) -> None:
    run = small_run(tmp_path)
    for time_s in IMPOSSIBLE_S:

        def lie(block: Any, time_s: float = time_s) -> None:
            block["timing"]["backward"]["times_s"][0] = time_s

        change_block(run, lie)
    assert "early" in str(export(load_run(run), format_name))


def test_report_and_publish_show_the_good_boards_of_a_run(tmp_path: Path) -> None:
    run = small_run(tmp_path / "results", targets=[FakeTarget(), FakeTarget(name="board-b")])

    def lie(block: Any) -> None:
        block["timing"]["backward"]["times_s"][0] = 0

    change_block(run, lie)
    write_manifest(run)
    reported = CliRunner().invoke(app, ["report", str(run)])
    assert reported.exit_code == 0, reported.output
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "timing.backward.times_s.0" in page
    options = ["--site", str(tmp_path / "site"), "--cache", str(tmp_path / "cache")]
    published = CliRunner().invoke(app, ["publish", str(tmp_path / "results"), *options])
    assert published.exit_code == 0, published.output
    assert "board-b" in (tmp_path / "site" / "index.html").read_text(encoding="utf-8")


def test_a_run_on_a_board_that_says_such_things_ends_with_report_and_manifest(
    tmp_path: Path,
) -> None:
    cli = Cli(tmp_path)
    python = lying_python(tmp_path, IMPOSSIBLE_S[1:3])
    (tmp_path / "inventory.yaml").write_text(
        f"targets: {{local: {{python: {python}}}}}", encoding="utf-8"
    )
    done = cli.run("--rounds", "1")
    assert done.code == 3, done.err
    assert "local: INVALID, 1 block: its record is broken: timing.backward.times_s.0: " in done.err
    assert verify_manifest(done.run) == ()
    (target,) = load_run(done.run).targets
    statuses = [block.status for block in target.all_blocks if block.kind == "timing"]
    assert sorted(statuses) == ["invalid", "invalid", "ok"]
    again = cli("resume", str(done.run))
    assert again.returncode == 3, again.stderr
    assert "this is a bug" not in again.stderr
    assert verify_manifest(done.run) == ()
