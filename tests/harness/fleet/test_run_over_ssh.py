"""The whole line over real SSH: inventory to report, through a jump host, with what goes wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sshd import ClientHome, Sshd, running_sshd

SUITE = """
workloads:
  - {name: tiny, in_channels: 4, out_channels: 4, height: 8, width: 8}
patch_sizes: [2]
rounds: %d
isolation: fork
min_window_s: 0.01
"""


def entry(board: Sshd, workdir: Path, more: str = "") -> str:
    return (
        f"{{host: {board.host}, port: {board.port}, user: {board.user}, "
        f"python: {sys.executable}, workdir: {workdir}, reconnect_s: 2, "
        f"env: {{TMPDIR: {workdir.parent}}}{more}}}"
    )


@contextmanager
def lab(folder: Path, home: ClientHome) -> Iterator[tuple[Sshd, Sshd, Path]]:
    """Two boards, the second reached through the first, and their inventory."""
    with (
        running_sshd(folder / "a", home) as first,
        running_sshd(folder / "b", home) as second,
    ):
        home.trust(first, second)
        inventory = folder / "inventory.yaml"
        inventory.write_text(
            "targets:\n"
            f"  board-a: {entry(first, folder / 'work-a')}\n"
            f"  board-b: {entry(second, folder / 'work-b', ', gateway: board-a')}\n"
        )
        yield first, second, inventory


def gfbench(
    folder: Path, home: ClientHome, *arguments: str, rounds: int = 6
) -> subprocess.Popen[str]:
    """Start the command with its own home, lease folder and a tiny suite."""
    (folder / "tiny.yaml").write_text(SUITE % rounds)
    return subprocess.Popen(
        [sys.executable, "-c", "from harness.cli import main; main()", *arguments],
        cwd=folder,
        env={**os.environ, **home.environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_folder(folder: Path, output: str) -> Path:
    report = folder / output.strip().splitlines()[-1]
    assert report.name == "report.html"
    return report.parent


def session(folder: Path, target: str) -> dict[str, object]:
    content = json.loads((folder / "targets" / target / "session.json").read_text())
    assert isinstance(content, dict)
    return content


def journal(folder: Path, target: str) -> list[dict[str, Any]]:
    path = folder / "targets" / target / "journal.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def windows(folder: Path, target: str) -> list[tuple[float, float]]:
    """Return each block's beginning and end on the machine's clock."""
    path = folder / "targets" / target / "journal.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    return [(float(begin), float(end)) for begin, end in (one["window_s"] for one in records)]


def wait_for_blocks(folder: Path, target: str, count: int) -> Path:
    """Return the only run's folder once the target's journal has that many blocks."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for run in (folder / "results").glob("*"):
            if len(journal(run, target)) >= count:
                return run
        time.sleep(0.05)
    raise AssertionError(f"{target} did not measure {count} blocks in time")


def test_two_boards_of_one_machine_give_one_report_that_says_so(
    tmp_path: Path, home: ClientHome
) -> None:
    with lab(tmp_path, home) as (_, _, inventory):
        command = gfbench(
            tmp_path, home, "run", "-i", str(inventory), "-t", "all", "--suite", "tiny.yaml"
        )
        output, errors = command.communicate(timeout=240)
    assert command.returncode == 0, errors
    run = run_folder(tmp_path, output)
    html = (run / "report.html").read_text()
    for target, other in (("board-a", "board-b"), ("board-b", "board-a")):
        assert session(run, target)["status"] == "ok"
        assert session(run, target)["shares_machine_with"] == [other]
        assert target in html
    spans = [windows(run, name) for name in ("board-a", "board-b")]
    first, second = sorted(spans, key=lambda blocks: blocks[0])
    assert first[-1][1] <= second[0][0]
    assert "one after the other" in html
    assert not list((tmp_path / "work-a" / "jobs").glob("*")), (
        "a finished job's folder stays behind"
    )


NETWORK_SUITE = """
workloads:
  - {network: tiny, optimizer: sgd}
exact_kernels: [torch, torch-channels-last, folded, fused]
kernels: [native]
patch_sizes: [2]
batches: [4]
rounds: 2
memory_rounds: 1
fidelity_rounds: 1
pilot: 1
isolation: fork
min_window_s: 0.01
"""


def test_two_boards_measure_a_network_and_stand_in_one_table(
    tmp_path: Path, home: ClientHome
) -> None:
    (tmp_path / "network.yaml").write_text(NETWORK_SUITE)
    with lab(tmp_path, home):
        run = gfbench(tmp_path, home, "run", "-t", "all", "--suite", "network.yaml")
        output, errors = run.communicate(timeout=300)
    assert run.returncode == 0, errors
    folder = run_folder(tmp_path, output)
    for target in ("board-a", "board-b"):
        blocks = [record for record in journal(folder, target) if record["type"] == "block"]
        assert {record["status"] for record in blocks} == {"ok", "left_out"}
        left_out = [record for record in blocks if record["status"] == "left_out"]
        assert len(left_out) == 3  # of four exact kernels one goes on
        assert all("pilot round" in record["reason"] for record in left_out)
        layers = [record["by_layer"] for record in blocks if record["kind"] == "by_layer"]
        assert len(layers) == 5
    html = (folder / "report.html").read_text()
    assert "tiny-8-all, batch 4" in html
    assert "the fastest of 4 exact kernels here" in html


@pytest.mark.parametrize("lost", ["measuring", "waiting"])
def test_a_lost_board_does_not_lose_the_other(tmp_path: Path, home: ClientHome, lost: str) -> None:
    with lab(tmp_path, home) as (first, second, inventory):
        direct = inventory.read_text().replace(", gateway: board-a", "")
        inventory.write_text(direct)
        command = gfbench(
            tmp_path, home, "run", "-i", str(inventory), "-t", "all", "--suite", "tiny.yaml"
        )
        run = None
        while run is None and command.poll() is None:
            for target in ("board-a", "board-b"):
                runs = list((tmp_path / "results").glob("*"))
                if runs and len(journal(runs[0], target)) >= 2:
                    run, active = runs[0], target
            time.sleep(0.02)
        assert run is not None, command.communicate()
        servers = {"board-a": first, "board-b": second}
        victim = active if lost == "measuring" else next(name for name in servers if name != active)
        servers[victim].kill()
        output, errors = command.communicate(timeout=240)
    survivor = next(name for name in servers if name != victim)
    assert command.returncode == 4, errors
    assert session(run, survivor)["status"] == "ok"
    assert len(journal(run, survivor)) == session(run, survivor)["blocks_planned"]
    reason = str(session(run, victim)["reason"])
    assert "refused" in reason or "connection" in reason.lower()
    html = (run_folder(tmp_path, output) / "report.html").read_text()
    assert "gfbench resume" in html
    assert victim in html


def test_a_run_goes_on_after_the_connection_comes_back(tmp_path: Path, home: ClientHome) -> None:
    with lab(tmp_path, home) as (first, _, inventory):
        inventory.write_text(inventory.read_text().replace("reconnect_s: 2", "reconnect_s: 60"))
        command = gfbench(
            tmp_path, home, "run", "-i", str(inventory), "-t", "board-a", "--suite", "tiny.yaml"
        )
        run = wait_for_blocks(tmp_path, "board-a", 2)
        first.kill()
        time.sleep(0.5)
        first.start()
        _, errors = command.communicate(timeout=240)
    assert command.returncode == 0, errors
    orders = [record["order"] for record in journal(run, "board-a")]
    assert orders == sorted(set(orders))
    assert len(orders) == session(run, "board-a")["blocks_planned"]


def test_an_interrupted_run_is_saved_and_resumed(tmp_path: Path, home: ClientHome) -> None:
    with lab(tmp_path, home) as (_, _, inventory):
        command = gfbench(
            tmp_path,
            home,
            *("run", "-i", str(inventory), "-t", "board-a", "--suite", "tiny.yaml"),
            rounds=12,
        )
        run = wait_for_blocks(tmp_path, "board-a", 3)
        command.send_signal(signal.SIGINT)
        _, errors = command.communicate(timeout=120)
        assert command.returncode == 130, errors
        assert "Traceback" not in errors
        assert session(run, "board-a")["status"] == "interrupted"
        kept = [record for record in journal(run, "board-a") if record["status"] == "ok"]
        assert len(kept) >= 3
        again = gfbench(tmp_path, home, "resume", str(run), "-i", str(inventory), rounds=12)
        _, errors = again.communicate(timeout=240)
    assert again.returncode == 0, errors
    records = [record for record in journal(run, "board-a") if record["status"] == "ok"]
    assert len(records) == session(run, "board-a")["blocks_planned"]
    assert [record for record in records if record in kept] == kept


def test_a_detached_run_is_collected_by_resume(tmp_path: Path, home: ClientHome) -> None:
    with lab(tmp_path, home) as (_, _, inventory):
        options = ("-i", str(inventory), "-t", "board-a", "--suite", "tiny.yaml", "--detach")
        command = gfbench(tmp_path, home, "run", *options)
        output, errors = command.communicate(timeout=120)
        assert command.returncode == 0, errors
        run = tmp_path / output.strip().splitlines()[-1]
        assert session(run, "board-a")["status"] == "running"
        again = gfbench(tmp_path, home, "resume", str(run), "-i", str(inventory))
        output, errors = again.communicate(timeout=240)
    assert again.returncode == 0, errors
    assert session(run, "board-a")["status"] == "ok"
    assert run_folder(tmp_path, output) == run


def test_an_unknown_and_a_changed_host_key_are_refused(tmp_path: Path, home: ClientHome) -> None:
    with running_sshd(tmp_path / "a", home) as board:
        inventory = tmp_path / "inventory.yaml"
        inventory.write_text(f"targets:\n  board-a: {entry(board, tmp_path / 'work-a')}\n")
        command = gfbench(tmp_path, home, "run", "-t", "board-a", "--suite", "tiny.yaml")
        _, errors = command.communicate(timeout=120)
        assert command.returncode == 4
        assert board.fingerprint("ed25519") in errors
        assert "gfbench trust -t board-a" in errors
        assert not (tmp_path / "work-a").exists()

        trusting = gfbench(tmp_path, home, "trust", "-t", "board-a", "--yes")
        output, errors = trusting.communicate(timeout=60)
        assert trusting.returncode == 0, errors
        assert board.fingerprint("ed25519") in output

        board.rotate_host_key()
        command = gfbench(tmp_path, home, "run", "-t", "board-a", "--suite", "tiny.yaml")
        _, errors = command.communicate(timeout=120)
        assert command.returncode == 4
        assert "CHANGED" in errors
        assert board.fingerprint("ed25519") in errors
        assert "gfbench trust -t board-a" in errors


def test_a_board_without_torch_says_so_and_what_to_do(tmp_path: Path, home: ClientHome) -> None:
    with running_sshd(tmp_path / "a", home) as board:
        home.trust(board)
        bare = tmp_path / "bare"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
        line = entry(board, tmp_path / "work-a").replace(sys.executable, str(bare / "bin/python"))
        (tmp_path / "inventory.yaml").write_text(f"targets:\n  board-a: {line}\n")
        command = gfbench(tmp_path, home, "run", "-t", "board-a", "--suite", "tiny.yaml")
        _, errors = command.communicate(timeout=120)
    assert command.returncode == 4
    assert "cannot import torch" in errors
    assert "python:" in errors
