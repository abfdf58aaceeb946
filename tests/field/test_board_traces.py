"""After a run nothing of it lies on the board but the work folder: trees before and after."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from gfbench_cli import MAIN, Cli

SUITE = """
workloads:
  - {name: tiny, in_channels: 8, out_channels: 8, height: 32, width: 32}
patch_sizes: [2]
batches: [2]
rounds: 1
memory_rounds: 0
fidelity_rounds: 0
isolation: fork
min_window_s: 0.01
"""
# In a mount namespace of its own: temporary folders that are empty but for the paths named, which
# a test needs, and what lies there before and after the command.
IN_EMPTY_FOLDERS = """
set -e
needed=$1; shift
mount -t tmpfs tmpfs /mnt
mkdir /mnt/tmp
mount --rbind /tmp /mnt/tmp
for folder in /tmp /var/tmp /dev/shm; do mount -t tmpfs -o mode=1777 tmpfs $folder; done
for path in $needed; do
  case $path in /tmp/*) mkdir -p "$path"; mount --rbind "/mnt$path" "$path";; esac
done
cd "$HOME/.."
listed() { find /tmp /var/tmp /dev/shm "$HOME" -xdev | sort; }
listed > before
status=0
"$@" || status=$?
listed > after
exit $status
"""
# oneDNN of torch for arm64 tells a profiler of itself unless it is told not to; that for x86 does
# so where it is told to.
LIKE_ARM64 = """
import os
from torch_hook import when_torch_is_imported
when_torch_is_imported(before=lambda: os.environ.setdefault("ONEDNN_JIT_PROFILE", "2"))
"""


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    made = Cli(tmp_path, SUITE)
    del made.environment["TMPDIR"]
    return made


def left_behind(cli: Cli, env: dict[str, str]) -> set[str]:
    """Measure on this machine as a board with this environment; returns what is new on it."""
    (cli.folder / "inventory.yaml").write_text(json.dumps({"targets": {"local": {"env": env}}}))
    repository = Path(__file__).resolve().parents[2]
    needed = [str(repository), sys.prefix, sys.base_prefix, str(cli.folder)]
    command = ["unshare", "--mount", "sh", "-c", IN_EMPTY_FOLDERS, "sh", " ".join(needed)]
    run = ["run", "-t", "local", "--suite", "tiny.yaml", "--kernel", "torch", "-o", "results"]
    try:
        done = subprocess.run(
            [*command, sys.executable, "-c", MAIN, *run],
            cwd=cli.folder,
            env=cli.environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
    except FileNotFoundError:
        pytest.skip("no unshare")
    if not (cli.folder / "after").exists():
        pytest.skip(f"temporary folders of its own need root: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    before, after = ((cli.folder / name).read_text().splitlines() for name in ("before", "after"))
    return set(after) - set(before)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="as oneDNN for x86-64 is told")
def test_a_run_leaves_nothing_outside_the_work_folder(cli: Cli) -> None:
    hook = cli.folder / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(LIKE_ARM64)
    support = Path(__file__).resolve().parents[1] / "support"
    new = left_behind(cli, {"PYTHONPATH": f"{hook}{os.pathsep}{support}"})
    work = f"{cli.folder}/home/.cache"
    assert any(path.startswith(f"{work}/gfbench/gfbench-") for path in new), "the payload"
    assert not any(path.startswith(f"{work}/gfbench/jobs/") for path in new), "the run's folder"
    outside = {path for path in new if path != work and not path.startswith(f"{work}/gfbench")}
    assert not outside


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="as oneDNN for x86-64 is told")
def test_what_the_user_wants_of_onednn_stays_and_is_seen(cli: Cli) -> None:
    new = left_behind(cli, {"ONEDNN_JIT_PROFILE": "2"})
    assert any(path.startswith("/tmp/perf-") and path.endswith(".map") for path in new)
