"""Kernels as a user meets them: what a target can run, what it falls back to, what is compared."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from pathlib import Path

import pytest
from gfbench_cli import SUITE, WITHOUT_ZIG, Cli


@pytest.fixture
def gfbench(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


@pytest.fixture
def no_path(tmp_path: Path) -> str:
    """Return a PATH on which there is no compiler, nor anything else."""
    (tmp_path / "empty").mkdir()
    return str(tmp_path / "empty")


def test_without_a_compiler_torch_is_measured_and_the_report_says_so(
    gfbench: Cli, no_path: str
) -> None:
    gfbench.code = WITHOUT_ZIG
    done = gfbench.run("--kernel", "native", PATH=no_path)
    assert done.code == 0, done.err
    assert "no C compiler" in done.err
    assert "torch was measured instead" in done.err
    assert "torch was measured instead" in done.page
    assert "gfbench[cross]" in done.err
    assert not done.blocks(kernel="native")
    assert len(done.blocks(kernel="torch", method="gradient_filter", kind="timing")) == 2
    rows = [row for row in gfbench.export(done.run) if row["kernel"] == "native"]
    assert rows
    assert {row["status"] for row in rows} == {"skipped"}
    assert all("no C compiler" in row["reason"] for row in rows)


def test_list_kernels_says_what_a_target_can_run_and_why_not(gfbench: Cli, no_path: str) -> None:
    listed = gfbench("list", "kernels", "-t", "local", PATH=no_path)
    rows = {r["name"]: r for r in csv.DictReader(io.StringIO(listed.stdout), delimiter="\t")}
    assert rows["torch"]["local"].startswith("cpu: yes; cuda: ")
    assert rows["native"]["local"].startswith("cpu: no C compiler")
    plain = json.loads(gfbench("list", "kernels", "--json").stdout)
    assert {row["name"] for row in plain} >= {"torch", "native"}
    assert not any("local" in row for row in plain)


def test_two_kernels_are_measured_in_the_same_rounds_and_recorded(gfbench: Cli) -> None:
    done = gfbench.run("--kernel", "torch", "--kernel", "native")
    assert done.code == 0, done.err
    for kernel in ("torch", "native"):
        blocks = done.blocks(kernel=kernel, method="gradient_filter", kind="timing")
        assert [block["round"] for block in blocks] == [0, 1]
        assert {block["status"] for block in blocks} == {"ok"}
    recorded = {kernel["name"]: kernel for kernel in done.header["kernels"]}
    assert set(recorded) == {"torch", "native"}
    assert all(len(kernel["source_sha256"]) == 64 for kernel in recorded.values())
    assert recorded["torch"]["source_sha256"] != recorded["native"]["source_sha256"]


def test_paper_mode_stands_beside_the_full_form_and_is_labelled(gfbench: Cli) -> None:
    done = gfbench.run("--paper-mode")
    assert done.code == 0, done.err
    rows = gfbench.export(done.run)
    speedups = {
        (row["method"], row["phase"]) for row in rows if row["metric"] == "speedup" and row["value"]
    }
    pooled, full = "gradient_filter_pooled", "gradient_filter"
    assert speedups == {(m, phase) for m in (pooled, full) for phase in ("backward", "step")}
    metrics = {row["metric"] for row in rows if row["method"] == pooled}
    assert not any("cosine" in metric or "bytes" in metric for metric in metrics)
    assert {block["kind"] for block in done.blocks(method=pooled)} == {"timing"}
    assert "gradient filter pooled, not a usable gradient" in done.page
    assert "It leaves out what the layer below and the optimizer need" in done.page


def test_the_machine_itself_is_measured_in_each_round_of_suites_that_ask(tmp_path: Path) -> None:
    gfbench = Cli(tmp_path, SUITE + "roofline: true\n")
    done = gfbench.run("--min-window", "0.02")
    assert done.code == 0, done.err
    blocks = done.blocks(kind="roofline")
    assert [block["round"] for block in blocks] == [0, 1]
    assert blocks[0]["order"] == 0
    assert all(block["roofline"]["flops_per_s"] > 0 for block in blocks)
    rows = [row for row in gfbench.export(done.run) if row["metric"] == "floor_fraction"]
    assert rows
    assert all(float(row["value"]) > 0 for row in rows)
    assert {row["phase"] for row in rows} == {"backward"}


MISCOMPILER = """#!/bin/sh
# Compiles the headers as a broken compiler might: the means of patches come out too large.
for argument in "$@"; do
  case "$argument" in
    */gradient_filter.c)
      sed -i 's/\\([?:]\\) scale \\/ (REAL)/\\1 1.5f * scale \\/ (REAL)/' "${argument%/*}"/*.h ;;
  esac
done
exec CC "$@"
"""


def test_a_board_on_which_native_is_wrong_says_so_and_publishes_no_speedup(
    gfbench: Cli, tmp_path: Path
) -> None:
    real = shutil.which("cc") or shutil.which("gcc")
    assert real
    folder = tmp_path / "compiler"
    folder.mkdir()
    (folder / "cc").write_text(MISCOMPILER.replace("CC", real))
    (folder / "cc").chmod(0o755)
    done = gfbench.run("--kernel", "native", PATH=f"{folder}:{os.environ['PATH']}")
    assert done.code == 1
    assert {block["status"] for block in done.blocks(kernel="native")} == {"failed"}
    assert "kernel native is wrong: max relative error of g_x" in done.page
    rows = [row for row in gfbench.export(done.run) if row["kernel"] == "native"]
    assert rows
    assert not any(row["value"] for row in rows)


def test_a_check_of_our_own_kernel_is_made_once_on_a_machine(gfbench: Cli) -> None:
    first, second = (gfbench.run("--kernel", "native") for _ in range(2))
    for done, remembered in ((first, False), (second, True)):
        (check,) = done.blocks(kernel="native", kind="check")
        assert (check["status"], check.get("remembered", False)) == ("ok", remembered)
        assert max(value for value in check["check"]["errors"].values()) < 1e-5
