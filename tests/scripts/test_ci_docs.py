"""What docs/ci.md tells people to paste is checked as far as a parser can."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import typer.main
import yaml

from harness.cli import app

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "ci.md").read_text()
FENCES = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
YAML = [yaml.safe_load(text) for language, text in FENCES if language == "yaml"]
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text())


def steps() -> list[dict[str, Any]]:
    workflow, more = YAML[0]["jobs"]["gate"]["steps"], YAML[1]
    return [step for step in (*workflow, *more) if step["uses"].startswith("OWNER/gfbench@")]


def test_the_workflows_give_inputs_that_the_action_has_and_all_that_it_needs() -> None:
    needed = {name for name, entry in ACTION["inputs"].items() if entry.get("required")}
    assert len(steps()) == 2
    for step in steps():
        assert needed <= step["with"].keys() <= ACTION["inputs"].keys()


def test_the_gitlab_job_calls_scripts_that_are_there_with_settings_that_they_read() -> None:
    job = YAML[2]["gate"]
    called = re.findall(r"gfbench/(scripts/[\w-]+\.sh)", " ".join(job["script"]))
    assert called == ["scripts/ci-install.sh", "scripts/ci-gate.sh"]
    text = "".join((ROOT / name).read_text() for name in called)
    for name in job["variables"]:
        assert name in text or not name.startswith("GFBENCH_"), name
    assert job["artifacts"]["reports"]["junit"] == "gfbench-results/junit.xml"


def test_every_command_and_option_on_the_page_is_there() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    shown = "".join(text for language, text in FENCES if not language)
    lines = [line for line in shown.splitlines() if line.startswith("gfbench ")]
    assert len(lines) >= 5
    for line in lines:
        _, command, *words = shlex.split(line)
        known = {name for parameter in commands[command].params for name in parameter.opts}
        assert {word for word in words if re.match("--?[a-z]", word)} <= known, line


def test_the_page_names_every_setting_of_the_script_or_where_they_are() -> None:
    script = (ROOT / "scripts" / "ci-gate.sh").read_text()
    head = script.split("set -euo")[0]
    for name in set(re.findall(r"\$\{(GFBENCH_[A-Z_]+)", script)):
        assert name in head, name
