"""``gfbench compare --base REV --new REV`` for real: a kernel's two revisions on this machine."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from gfbench_cli import Cli
from git_repositories import GitRepository, former_project, kernel

import workloads

SUITE = """
workloads:
  - {name: tiny, in_channels: 16, out_channels: 16, height: 24, width: 24}
patch_sizes: [2]
fidelity_rounds: 0
sentinel: false
isolation: fork
min_window_s: 0.01
"""
INVENTORY = """
targets:
  local: {threads: 1}
"""


def test_a_commit_that_slows_a_kernel_fails_and_its_run_stands_alone(tmp_path: Path) -> None:
    repository = GitRepository(tmp_path)
    cli = Cli(tmp_path, SUITE)
    ignored = {".gitignore": "home\ntmp\nresults\n", "inventory.yaml": INVENTORY}
    repository.commit("Start", {"mine.py": kernel(), **ignored})
    # So much more work that whatever else this machine does cannot hide it.
    slow = repository.commit("Unroll the loop", {"mine.py": kernel(20, version="2")})
    revisions = ("compare", "--base", "HEAD~1", "--new", "HEAD", "-t", "local")
    what = ("--kernel", "mine=mine.py", "--suite", "tiny.yaml", "--phase", "backward")
    done = cli(*revisions, *what, "--rounds", "8", "-o", "results", "--json")
    assert done.returncode == 1, done.stderr
    said = json.loads(done.stdout)
    (verdict,) = said["gate"]["verdicts"]
    assert (verdict["status"], verdict["new"]["layer"]["name"]) == ("FAIL", "tiny")
    assert verdict["effect"]["ratio"] > 3
    assert said["new"]["commit"] == slow
    run = tmp_path / said["run"]
    journal = (run / "targets" / "local" / "journal.jsonl").read_text().splitlines()
    blocks = [json.loads(line) for line in journal]
    assert {block["status"] for block in blocks} == {"ok"}
    assert [block["kind"] for block in blocks[:2]] == ["check", "check"]
    assert len({block["pid"] for block in blocks}) == len(blocks) == 2 + 16
    _check_it_stands_alone(cli, run, [said[name] for name in ("base", "new")])


def test_a_revision_from_before_the_rooms_is_compared_with_one_of_today(tmp_path: Path) -> None:
    repository = former_project(tmp_path)
    cli = Cli(tmp_path, SUITE)
    repository.commit("Start", {".gitignore": "home\ntmp\nresults\n", "inventory.yaml": INVENTORY})
    shutil.rmtree(tmp_path / "workloads")
    shutil.copytree(Path(workloads.__file__).parent, tmp_path / "workloads")
    repository.commit("Move into rooms")
    revisions = ("compare", "--base", "HEAD~1", "--new", "HEAD", "-t", "local")
    what = ("--kernel", "torch", "--suite", "tiny.yaml", "--phase", "backward", "--margin", "90%")
    done = cli(*revisions, *what, "--rounds", "4", "-o", "results", "--json")
    assert done.returncode in (0, 3), done.stderr
    said = json.loads(done.stdout)
    journal = tmp_path / said["run"] / "targets" / "local" / "journal.jsonl"
    blocks = [json.loads(line) for line in journal.read_text().splitlines()]
    assert [block["reason"] for block in blocks] == [None] * len(blocks)
    revisions_measured = {block["case"]["revision"] for block in blocks}
    assert revisions_measured == {said["base"]["label"], said["new"]["label"]}


def _check_it_stands_alone(cli: Cli, run: Path, both: list[dict[str, str]]) -> None:
    """Without its repository the run can be judged, exported and resumed."""
    (cli.folder / "mine.py").unlink()
    (cli.folder / ".git").rename(cli.folder / "gone")
    base, new = (f"revision={one['label']}" for one in both)
    judged = cli("gate", str(run), "--base", base, "--new", new, "--phase", "backward")
    assert judged.returncode == 1, judged.stderr
    assert {row["kernel"] for row in cli.export(run)} == {f"mine@{one['label']}" for one in both}
    assert all(f"mine@{one['label']}" in (run / "report.html").read_text() for one in both)
    resumed = cli("resume", str(run))
    assert resumed.returncode == 1, resumed.stderr  # nothing is missing; the verdict stands
    assert "FAIL" in resumed.stdout
