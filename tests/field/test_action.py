"""Case A1: action, runner's folder and Python at paths with spaces, a Python that takes no pip."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
IDENTICAL = json.dumps({"type": "comparison", "identical": True, "run": None, "gate": None})
# What the runner's Python does: it makes environments and refuses to install into itself.
PYTHON = """#!/usr/bin/env bash
if [ "$1" = -c ]; then exec {python} "$@"; fi
if [ "$1 $2" = "-m pip" ]; then echo "error: externally-managed-environment" >&2; exit 1; fi
if [ "$1 $2 $3" = "-m venv --clear" ]; then
  mkdir -p "$4/bin" && cp "{stub}" "$4/bin/python" && exit
fi
exit 70
"""
# An environment's Python: writes down what it installs; the last thing brings the command.
STUB = """#!/usr/bin/env bash
printf '%s\\0' "$@" >> "{log}"; printf '\\n' >> "{log}"
last=${{!#}}
if [ -d "$last" ]; then
  printf '#!/usr/bin/env bash\\ncat "{answer}"\\n' > "$(dirname "$0")/gfbench"
  chmod +x "$(dirname "$0")/gfbench"
fi
"""


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def runner(tmp_path: Path) -> dict[str, str]:
    """The environment that GitHub's runner gives to the steps of a composite action."""
    action = tmp_path / "an action" / "v 1"
    action.mkdir(parents=True)
    for name in ("scripts", "requirements"):
        shutil.copytree(ROOT / name, action / name)
    shutil.copy(ROOT / "action.yml", action)
    (tmp_path / "an answer").write_text(IDENTICAL, encoding="utf-8")
    stub = program(
        tmp_path / "a stub",
        STUB.format(log=tmp_path / "a log", answer=tmp_path / "an answer"),
    )
    python = program(
        tmp_path / "my python" / "python3", PYTHON.format(python=sys.executable, stub=stub)
    )
    folders = {"RUNNER_TEMP": tmp_path / "runner temp", "HOME": tmp_path / "a home"}
    for folder in folders.values():
        folder.mkdir()
    files = {name: tmp_path / f"a {name}" for name in ("GITHUB_PATH", "GITHUB_OUTPUT")}
    files["GITHUB_STEP_SUMMARY"] = tmp_path / "a summary"
    for path in files.values():
        path.touch()
    return {
        **os.environ,
        **{name: str(path) for name, path in (folders | files).items()},
        "GITHUB_ACTION_PATH": str(action),
        "GITHUB_ACTIONS": "true",
        "GFBENCH_PYTHON": str(python),
        "GFBENCH_BASE": "origin/main",
        "GFBENCH_NEW": "HEAD",
        "GFBENCH_TARGET": "local",
        "GFBENCH_SUITE": "my suite.yaml",
    }


def step(runner: dict[str, str], cwd: Path, word: str) -> None:
    """Run the step of action.yml whose name has the word in it."""
    path = Path(runner["GITHUB_ACTION_PATH"]) / "action.yml"
    document: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    (script,) = (s["run"] for s in document["runs"]["steps"] if word in s["name"])
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=cwd,
        env=runner,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a1_install_and_gate_work_at_paths_with_spaces(
    runner: dict[str, str], tmp_path: Path
) -> None:
    project = tmp_path / "my project"
    project.mkdir()
    step(runner, project, "Install")
    programs = Path(runner["GITHUB_PATH"]).read_text(encoding="utf-8").rstrip("\n")
    assert programs == f"{runner['RUNNER_TEMP']}/gfbench-venv/bin"
    calls = (tmp_path / "a log").read_text(encoding="utf-8").split("\0\n")
    installed = [call.split("\0") for call in calls if call]
    action = runner["GITHUB_ACTION_PATH"]
    assert all(call[:3] == ["-m", "pip", "install"] for call in installed)
    wanted = [f"{action}/requirements/run.txt", f"{action}/requirements/torch.txt", action]
    assert [call[-1] for call in installed] == wanted

    runner["PATH"] = f"{programs}:{runner['PATH']}"
    step(runner, project, "Measure and judge")
    lines = Path(runner["GITHUB_OUTPUT"]).read_text(encoding="utf-8").splitlines()
    outputs = dict(line.split("=", 1) for line in lines)
    assert (outputs["verdict"], outputs["exit-code"]) == ("PASS", "0")
    runner |= {"GFBENCH_FAIL_ON": "all", "GFBENCH_EXIT_CODE": outputs["exit-code"]}
    step(runner, project, "Verdict")
