"""action.yml and the scripts behind it: what GitHub would do with them."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
# What a stranger's pull request decides; none of it may reach a script or an output unquoted.
UNTRUSTED = re.compile(r"github\.(head_ref|event(?!\.pull_request\.number\b))")


@pytest.fixture(scope="module")
def action() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text())
    return document


def test_every_input_is_declared_described_and_used(action: dict[str, Any]) -> None:
    text = (ROOT / "action.yml").read_text()
    used = set(re.findall(r"inputs\.([A-Za-z0-9_-]+)", text))
    assert used == set(action["inputs"])
    for name, entry in action["inputs"].items():
        assert entry["description"], name
        assert entry.get("required") or isinstance(entry["default"], str), name


def test_every_output_comes_from_a_step_that_is_there(action: dict[str, Any]) -> None:
    steps = {step["id"] for step in action["runs"]["steps"] if "id" in step}
    written = re.findall(r'"([a-z-]+)=\$', (ROOT / "scripts" / "ci-gate.sh").read_text())
    for name, entry in action["outputs"].items():
        found = re.fullmatch(r"\$\{\{ steps\.(\w+)\.outputs\.([\w-]+) \}\}", entry["value"])
        assert found, name
        assert found[1] in steps
        assert found[2] in written
    text = (ROOT / "action.yml").read_text()
    assert set(re.findall(r"steps\.\w+\.outputs\.([\w-]+)", text)) <= set(written)


def test_no_expression_is_pasted_into_a_script(action: dict[str, Any]) -> None:
    scripts = [step for step in action["runs"]["steps"] if "run" in step]
    assert len(scripts) >= 4
    for step in scripts:
        assert step["shell"] == "bash"
        assert not EXPRESSION.search(step["run"]), step["name"]
        for name in re.findall(r"\$(\w+)", step["run"]):
            assert name in step.get("env", {}) or name.startswith(("GITHUB_", "RUNNER_")), name
    assert not UNTRUSTED.search((ROOT / "action.yml").read_text())


def test_secrets_reach_only_the_steps_that_need_them(action: dict[str, Any]) -> None:
    holders = {
        secret: [s["name"] for s in action["runs"]["steps"] if secret in str(s.get("env", {}))]
        for secret in ("inputs.ssh-key", "inputs.token")
    }
    assert [len(names) for names in holders.values()] == [1, 1]


def test_every_script_that_the_action_calls_is_there_and_can_be_run(
    action: dict[str, Any],
) -> None:
    called = set(re.findall(r"scripts/[\w-]+\.sh", (ROOT / "action.yml").read_text()))
    assert len(called) == 4
    for name in called:
        assert os.access(ROOT / name, os.X_OK)
        done = subprocess.run(["bash", "-n", ROOT / name], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr


def test_every_environment_variable_is_one_that_the_script_reads(action: dict[str, Any]) -> None:
    for step in action["runs"]["steps"]:
        scripts = re.findall(r"scripts/[\w-]+\.sh", step.get("run", ""))
        text = step.get("run", "") + "".join((ROOT / name).read_text() for name in scripts)
        for name in step.get("env", {}):
            assert name in text, f"{step['name']}: {name}"


@pytest.mark.parametrize(
    ("fail_on", "code", "ends"),
    [("all", "0", 0), ("all", "3", 3), ("all", "", 70), ("regression", "3", 0),
     ("regression", "4", 0), ("regression", "1", 1), ("regression", "", 70), ("never", "0", 2)],
)  # fmt: skip
def test_the_last_step_ends_by_the_verdict(fail_on: str, code: str, ends: int) -> None:
    script = ROOT / "scripts" / "ci-verdict.sh"
    assert subprocess.run([script, fail_on, code], stderr=-1, check=False).returncode == ends
