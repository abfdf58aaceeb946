"""The controller's disk fills up while boards measure: a real file system of a few blocks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_disk import SmallDisk, small_disk
from sshd import ClientHome, running_sshd
from tiny_suite import tiny_suite

from reports.results.manifest import verify_manifest
from workloads.machine.locks import LEASE_NAME, is_held

# What only the garbage collector would let go of lives until the interpreter shuts down.
MAIN = "import gc; gc.disable(); from harness.cli import main; main()"
SUITE = tiny_suite(rounds=6)
EXITS_S = 60.0  # the last block, and what a loaded machine adds


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lab")


@pytest.fixture(scope="module")
def home(folder: Path) -> ClientHome:
    return ClientHome(folder / "home")


@pytest.fixture(scope="module")
def lab(folder: Path, home: ClientHome) -> Iterator[Path]:
    """A folder with an inventory of a board behind an sshd."""
    (folder / "tmp").mkdir()
    (folder / "tiny.yaml").write_text(SUITE, encoding="utf-8")
    with running_sshd(folder / "board", home) as board:
        home.trust(board)
        (folder / "inventory.yaml").write_text(
            "targets:\n"
            f"  nano: {{host: {board.host}, port: {board.port}, user: {board.user}, "
            f"python: {sys.executable}, workdir: {folder / 'work-nano'}, "
            f"env: {{TMPDIR: {folder / 'tmp'}}}}}\n",
            encoding="utf-8",
        )
        yield folder


def gfbench(disk: SmallDisk, home: ClientHome, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command where the small disk is; it has to exit by itself."""
    return subprocess.run(
        disk.command([sys.executable, "-c", MAIN, *arguments]),
        env={**os.environ, **home.environ, "TMPDIR": str(disk.folder.parent / "tmp")},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=EXITS_S,
    )


def journal(run: Path) -> list[dict[str, Any]]:
    path = run / "targets" / "nano" / "journal.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_disk_that_fills_up_ends_the_run_with_4_and_resume_completes_it(
    lab: Path, home: ClientHome
) -> None:
    with small_disk(lab / "disk", "64k") as disk:
        arguments = ("-t", "nano", "--suite", "tiny.yaml", "--seed", "1", "-o", disk.folder.name)
        full = gfbench(disk, home, "run", *arguments)
        assert full.returncode == 4, full.stderr
        assert "No space left on device" in full.stderr
        (run,) = disk.path("").glob("2*")
        kept = journal(run)
        assert kept, "the disk was full before the first block"
        assert not complete(kept), "the disk was large enough"
        wait_for_the_runner_to_end(lab)

        disk.resize("16m")
        resumed = gfbench(disk, home, "resume", f"{disk.folder.name}/{run.name}")
        assert resumed.returncode == 0, resumed.stderr
        after = journal(run)
        assert after[: len(kept)] == kept
        assert complete(after)
        assert verify_manifest(run) == ()
    assert not list((lab / "work-nano" / "jobs").iterdir())


def complete(records: list[dict[str, Any]]) -> bool:
    ended = {record["order"] for record in records if record["status"] == "ok"}
    return ended == set(range(6 * 2 + 1))  # six rounds of two cases, and a check


def wait_for_the_runner_to_end(lab: Path) -> None:
    deadline = time.monotonic() + 15
    while is_held(str(lab / "tmp" / LEASE_NAME)):
        assert time.monotonic() < deadline, "the board's runner measures on"
        time.sleep(0.05)
