"""scripts/ci-gate.sh as a job runs it: real measurements on this machine, and a fake gfbench."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest
from gfbench_cli import MAIN
from git_repositories import GitRepository, kernel

ROOT = Path(__file__).parents[2]
SUITE = """
workloads:
  - {name: tiny, in_channels: 4, out_channels: 4, height: 8, width: 8}
patch_sizes: [2]
memory_rounds: 0
fidelity_rounds: 0
sentinel: false
exact_kernels: [torch]
isolation: fork
min_window_s: 0.01
"""
BOARD_SAYS = "::add-mask::secret\n  ::error::forged\n::warning title=forged::x"


@dataclass(frozen=True)
class Finished:
    code: int
    log: str
    outputs: Mapping[str, str]
    summary: str
    folder: Path

    @property
    def commands(self) -> list[str]:
        """What GitHub's runner would obey: no command counts while they are stopped."""
        found, token = [], ""
        for line in map(str.strip, self.log.splitlines()):
            if token:
                token = "" if line == f"::{token}::" else token
            elif line.startswith("::stop-commands::"):
                token = line.removeprefix("::stop-commands::")
                assert len(token) == 32
            elif line.startswith("::"):
                found.append(line)
        return found


class Job:
    """A CI job in a folder of its own, with a home and programs of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = self.project = folder
        for name in ("home", "tmp", "bin"):
            (folder / name).mkdir()
        self.program("python3", f'exec {shlex.quote(sys.executable)} "$@"')
        self.program("gfbench", f'exec python3 -c {shlex.quote(MAIN)} "$@"')
        (folder / "tiny.yaml").write_text(SUITE)

    def program(self, name: str, script: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(f"#!/usr/bin/env bash\n{script}\n")
        path.chmod(0o755)

    def run(
        self,
        script: str = "ci-gate.sh",
        *arguments: str,
        **settings: str,
    ) -> Finished:
        files = {name: self.folder / name for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
        for path in files.values():
            path.write_text("")
        environment = {
            **os.environ,
            **{name: str(path) for name, path in files.items()},
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "HOME": str(self.folder / "home"),
            "TMPDIR": str(self.folder / "tmp"),
            "GITHUB_ACTIONS": "true",
            "GFBENCH_SUITE": "tiny.yaml",
            **settings,
        }
        done = subprocess.run(
            [ROOT / "scripts" / script, *arguments],
            cwd=self.project,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        lines = files["GITHUB_OUTPUT"].read_text().splitlines()
        return Finished(
            code=done.returncode,
            log=done.stdout,
            outputs=dict(line.split("=", 1) for line in lines),
            summary=files["GITHUB_STEP_SUMMARY"].read_text(),
            folder=self.project / "gfbench-results",
        )

    def record(self, says: str = "", code: int = 0) -> None:
        """Have a gfbench that writes down its arguments and environment and measures nothing."""
        self.program(
            "gfbench",
            'printf "%s\\0" "$@" >> "$HOME/arguments"; printf "\\n" >> "$HOME/arguments"\n'
            'env > "$HOME/environment"; ssh-add -l > "$HOME/keys" 2>&1 || true\n'
            f"printf '%s\\n' {shlex.quote(says)}\nexit {code}",
        )

    def calls(self) -> list[list[str]]:
        text = (self.folder / "home" / "arguments").read_text()
        return [call.strip("\0").split("\0") for call in text.split("\0\n") if call]


def is_running(pid: int) -> bool:
    """Tell whether a process lives; one that nobody has reaped yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] != "Z"
    except OSError:
        return False


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path)


def test_a_kernel_of_more_work_fails_the_job_with_every_output(job: Job) -> None:
    (job.folder / "slow.py").write_text(kernel(20))
    done = job.run(
        GFBENCH_BASE="kernel=torch,method=gradient_filter",
        GFBENCH_NEW="kernel=slow,method=gradient_filter",
        GFBENCH_KERNELS="torch\nslow=slow.py\r\n",
        GFBENCH_ROUNDS="8",
        GFBENCH_MARGIN="10%",
        GFBENCH_ARGS="--method\ngradient_filter\n--seed\n1",
        GFBENCH_INVENTORY="simulated",
    )
    assert done.code == 1, done.log
    assert done.outputs["verdict"] == "FAIL"
    assert done.outputs["exit-code"] == "1"
    run = job.folder / done.outputs["run"]
    assert (run / "run.json").exists()
    assert (job.folder / done.outputs["report"]).read_text().startswith("<!doctype html>")
    assert done.summary.startswith("## ❌ gfbench: FAIL")
    assert (done.folder / "comment.md").read_text().startswith("<!-- gfbench: gate -->\n## ❌")
    assert json.loads((done.folder / "verdict.json").read_text())["status"] == "FAIL"
    assert ElementTree.parse(done.folder / "junit.xml").getroot().get("failures") == "1"
    assert len(done.commands) == 1
    assert done.commands[0].startswith("::error title=FAIL%3A local%3A tiny")
    power = json.loads((run / "targets" / "local" / "power.json").read_text())
    assert "simulated_meter.py" in power["rule"]


def test_two_revisions_of_a_kernel_are_compared_where_they_are_checked_out(job: Job) -> None:
    job.project = job.folder / "project"
    repository = GitRepository(job.project)
    repository.commit("Start", {"mine.py": kernel(1), "tiny.yaml": SUITE})
    repository.commit("Slow it down", {"mine.py": kernel(20, version="2")})
    done = job.run(
        GFBENCH_BASE="HEAD~1",
        GFBENCH_NEW="HEAD",
        GFBENCH_KERNELS="mine=mine.py",
        GFBENCH_ROUNDS="8",
        GFBENCH_MARGIN="10%",
    )
    assert done.code == 1, done.log
    assert done.outputs["verdict"] == "FAIL"
    assert "tiny" in done.summary
    assert len(done.commands) == 1


def test_an_unreachable_board_is_infra_and_names_no_regression(job: Job) -> None:
    inventory = "targets: {lost: {host: 127.0.0.1, port: 1, reconnect_s: 0}}\n"
    (job.folder / "lab.yaml").write_text(inventory)
    done = job.run(
        GFBENCH_BASE="method=exact",
        GFBENCH_NEW="method=gradient_filter",
        GFBENCH_ROUNDS="8",
        GFBENCH_TARGET="lost",
        GFBENCH_INVENTORY="lab.yaml",
        GFBENCH_ARGS="--kernel\ntorch",
    )
    assert done.code == 4, done.log
    assert done.outputs["verdict"] in ("INFRA", "ERROR")
    assert "gfbench: " + done.outputs["verdict"] in done.summary


def test_a_mistake_is_an_error_with_its_exit_code_and_no_verdict(job: Job) -> None:
    done = job.run(GFBENCH_BASE="kernel=torch", GFBENCH_NEW="x", GFBENCH_SUITE="no such\nsuite",
                   GFBENCH_ROUNDS="8")  # fmt: skip
    assert done.code == 2
    assert done.outputs == {
        "verdict": "ERROR", "exit-code": "2", "run": "", "report": "", "folder": "gfbench-results"
    }  # fmt: skip
    assert "exit code 2 before there was anything to judge" in done.summary
    assert [line.split("::")[1] for line in done.commands] == ["error title=gfbench"]


def test_what_a_board_writes_is_no_command_of_the_runner(job: Job) -> None:
    job.record(BOARD_SAYS, code=4)
    done = job.run(GFBENCH_BASE="kernel=torch", GFBENCH_NEW="kernel=native")
    assert "::add-mask::secret" in done.log
    assert len(done.commands) == 1
    assert done.commands[0].startswith("::error title=gfbench::exit code 4")


def test_no_setting_is_read_as_shell(job: Job) -> None:
    job.record()
    evil = "$(touch pwned)`touch pwned`; touch pwned #'\"*"
    job.run(
        GFBENCH_BASE=f"kernel={evil}", GFBENCH_NEW=evil, GFBENCH_TARGET=f"{evil}\nlocal",
        GFBENCH_SUITE=evil, GFBENCH_KERNELS=evil, GFBENCH_METRIC=evil, GFBENCH_MARGIN=evil,
        GFBENCH_PHASE=evil, GFBENCH_INCONCLUSIVE=evil, GFBENCH_ARGS=evil,
        GFBENCH_INVENTORY=evil, GFBENCH_COMMENT_KEY=evil, GFBENCH_KNOWN_HOSTS=evil,
    )  # fmt: skip
    assert not list(job.folder.rglob("pwned"))
    (call,) = job.calls()
    assert call == [
        "run", "--inventory", evil, "--suite", evil, "-o", "gfbench-results", "-t", evil,
        "-t", "local", "--kernel", evil, evil, "--until-decided", "--base", f"kernel={evil}",
        "--new", evil, "--metric", evil, "--margin", evil, "--phase", evil,
        "--inconclusive", evil,
    ]  # fmt: skip


def test_a_key_goes_to_an_agent_of_the_job_and_nowhere_else(job: Job, tmp_path: Path) -> None:
    job.record()
    path = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-qt", "ed25519", "-N", "", "-f", path, "-C", "ci"], check=True)
    key = path.read_text()
    path.unlink()
    known = "board ssh-ed25519 AAAA\n[gate]:2222 ssh-ed25519 BBBB"
    for _ in range(2):
        job.run(GFBENCH_BASE="a=b", GFBENCH_NEW="c", GFBENCH_SSH_KEY=key,
                GFBENCH_KNOWN_HOSTS=known)  # fmt: skip
    home = job.folder / "home"
    assert "(ED25519)" in (home / "keys").read_text()
    environment = (home / "environment").read_text()
    assert "GFBENCH_SSH_KEY" not in environment
    agent = re.search(r"SSH_AGENT_PID=(\d+)", environment)
    assert agent
    deadline = time.monotonic() + 20
    while is_running(int(agent[1])):  # it was told to end, and ends when it gets to it
        assert time.monotonic() < deadline
        time.sleep(0.02)
    secret = key.splitlines()[1]
    assert not [file for file in job.folder.rglob("*") if file.is_file()
                and secret in file.read_text(errors="replace")]  # fmt: skip
    assert (home / ".ssh" / "known_hosts").read_text() == f"{known}\n"


def test_identical_revisions_pass_without_a_run(job: Job) -> None:
    job.record(json.dumps({"type": "comparison", "identical": True, "run": None, "gate": None}))
    done = job.run(GFBENCH_BASE="origin/main", GFBENCH_NEW="HEAD")
    assert (done.code, done.outputs["verdict"]) == (0, "PASS")
    assert "nothing to measure" in done.summary
    (call,) = job.calls()
    assert call[:5] == ["compare", "--base", "origin/main", "--new", "HEAD"]
    assert call[-1] == "--json"


FAKE_GH = """
printf '%s\\0' "$@" >> "$HOME/gh"; printf '\\n' >> "$HOME/gh"
if [[ " $* " == *" --paginate "* ]]; then printf '%s' "$FOUND"; fi
exit "${GH_CODE:-0}"
"""


@pytest.mark.parametrize(
    ("found", "method", "where"),
    [
        ("", "POST", "repos/a/b/issues/7/comments"),
        ("41\n42\n", "PATCH", "repos/a/b/issues/comments/41"),
    ],
)
def test_a_comment_replaces_that_of_the_last_run(
    job: Job, found: str, method: str, where: str
) -> None:
    job.program("gh", FAKE_GH)
    (job.folder / "comment.md").write_text("<!-- gfbench: gate -->\n## PASS\n")
    settings = {"GITHUB_REPOSITORY": "a/b", "GFBENCH_PULL_REQUEST": "7", "FOUND": found}
    done = job.run("ci-comment.sh", "comment.md", **settings)
    assert done.code == 0, done.log
    calls = [
        c.strip("\0").split("\0") for c in (job.folder / "home" / "gh").read_text().split("\0\n")
    ]
    assert calls[1] == ["api", "--method", method, where, "-F", "body=@comment.md", "--silent"]
    assert "env.MARKER" in calls[0][-1]
    assert '.user.type == "Bot"' in calls[0][-1]


def test_a_job_that_may_not_comment_is_told_and_does_not_fail(job: Job) -> None:
    job.program("gh", FAKE_GH)
    (job.folder / "comment.md").write_text("<!-- gfbench: gate -->\n")
    settings = {
        "GITHUB_REPOSITORY": "a/b",
        "GFBENCH_PULL_REQUEST": "7",
        "GH_CODE": "1",
        "FOUND": "",
    }
    done = job.run("ci-comment.sh", "comment.md", **settings)
    assert done.code == 0
    assert "pull-requests: write" in done.log
