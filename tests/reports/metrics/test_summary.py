from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

from make_run import FakeTarget, edit_json, make_run

from reports.metrics.of_run import compare
from reports.metrics.rows import COLUMNS
from reports.metrics.summary import SummaryRow, summary_of
from reports.results.read import load_run

TARGETS = (FakeTarget(), FakeTarget(name="lost", status="infra", reason="no route", stop_after=0))


def summary(run: Path) -> tuple[SummaryRow, ...]:
    return summary_of(load_run(run))


def test_a_summary_is_the_export_and_its_circumstances(tmp_path: Path) -> None:
    path = make_run(tmp_path, targets=TARGETS)
    rows = summary(path)
    exported = compare(load_run(path))
    columns = tuple(field.name for field in fields(SummaryRow))
    assert columns[: len(COLUMNS)] == COLUMNS
    assert [tuple(vars(row).values())[: len(COLUMNS)] for row in rows] == [
        tuple(vars(row).values()) for row in exported
    ]
    first = rows[0]
    assert first.started_at == "2026-11-22T19:00:00Z"
    assert (first.kernel_version, first.kernel_sha256) == ("1", "1" * 64)
    assert (first.boot_id, first.tool_version, first.suite) == ("b007", "0.1.0", "quick")


def test_the_fingerprint_follows_the_machine_and_not_the_moment(tmp_path: Path) -> None:
    def fingerprint(name: str, **facts: object) -> str:
        run = make_run(tmp_path / name, targets=[FakeTarget()])
        edit_json(run / "targets" / "board-a" / "probe.json", lambda probe: probe.update(facts))
        return summary(run)[0].fingerprint

    plain = fingerprint("plain")
    assert len(plain) == 16
    assert fingerprint("started-again", boot_id="b008", hostname="c0ffee") == plain
    assert fingerprint("kernel", kernel="5.10.0") != plain
    assert fingerprint("torch", torch={"version": "2.1.0", "threads": 4, "cuda": None}) != plain


def test_the_environment_tells_what_the_fingerprint_stands_for(tmp_path: Path) -> None:
    facts = json.loads(summary(make_run(tmp_path))[0].environment)
    assert facts["torch"] == "1.10.2"
    assert facts["linux"] == "4.9.253-tegra"
    assert facts["memory_bytes"] == 4 << 30


def test_a_machine_that_was_never_probed_has_no_fingerprint(tmp_path: Path) -> None:
    path = make_run(tmp_path)
    (path / "targets" / "board-a" / "probe.json").unlink()
    assert {(row.fingerprint, row.environment) for row in summary(path)} == {("", "")}
