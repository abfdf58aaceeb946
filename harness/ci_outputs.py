"""Where the outputs of a gate go: files that are named, and what GitHub Actions offers."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reports.ci import pages
from reports.ci.annotations import to_annotations
from reports.ci.junit import to_junit
from reports.gate_document import document
from reports.reading import GATE
from reports.results import renew_in_manifest, write_bytes_atomic
from reports.verdict import Gate


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """The files asked for; ``annotations`` None means in GitHub Actions only."""

    junit: Path | None = None
    summary: Path | None = None
    comment: Path | None = None
    verdict: Path | None = None
    annotations: bool | None = None
    comment_key: str = "gate"


def write(gate: Gate, outputs: Outputs, environ: Mapping[str, str] = os.environ) -> None:
    """Write what is asked for, and in GitHub Actions the step's summary and annotations.

    Annotations go to stderr, where GitHub reads them too: stdout is for the verdict.

    Raises:
        reports.results.ResultStorageProblem: a file cannot be written.
    """
    link = job_link(environ)
    in_actions = environ.get("GITHUB_ACTIONS") == "true"
    if outputs.junit is not None:
        _write(outputs.junit, to_junit(gate))
    if outputs.comment is not None:
        _write(outputs.comment, pages.comment(gate, link=link, key=outputs.comment_key))
    if outputs.verdict is not None:
        _write(outputs.verdict, json.dumps(document(gate), indent=1, allow_nan=False))
        if outputs.verdict.name == GATE:  # in a run's folder its page and `show` show it
            renew_in_manifest(outputs.verdict.parent, GATE)
    if outputs.summary is not None:
        _write(outputs.summary, pages.step_summary(gate, link=link))
    elif in_actions and environ.get("GITHUB_STEP_SUMMARY"):
        _append(Path(environ["GITHUB_STEP_SUMMARY"]), gate, link)
    if in_actions if outputs.annotations is None else outputs.annotations:
        for line in to_annotations(gate):
            print(line, file=sys.stderr)


def job_link(environ: Mapping[str, str]) -> str:
    """Return the address of the CI job that this is; empty outside one."""
    names = ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")
    if all(environ.get(name) for name in names):
        server, repository, run = (environ[name] for name in names)
        return f"{server}/{repository}/actions/runs/{run}"
    return environ.get("CI_JOB_URL") or environ.get("BUILD_URL") or ""


def _write(path: Path, text: str) -> None:
    write_bytes_atomic(path, text.encode("utf-8", "replace"))


def _append(path: Path, gate: Gate, link: str) -> None:
    """Append to the step's summary, within what is left of its limit."""
    there = path.read_bytes() if path.exists() else b""
    page = pages.step_summary(gate, link=link, limit=pages.SUMMARY_BYTES - len(there))
    write_bytes_atomic(path, there + page.encode("utf-8", "replace"))
