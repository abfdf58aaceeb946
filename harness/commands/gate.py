"""``gfbench gate``: judge a run, and write the verdict for people, CI systems and programs."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from harness.commands.options import JsonOption, MetricOption, Policy, exit_with
from reports.calibration.noise_floor import calibrated_floors
from reports.ci import markdown as pages
from reports.ci.annotations import to_annotations
from reports.ci.junit import to_junit
from reports.gate.document import document
from reports.gate.judge import DEFAULT_PHASES, judge_by
from reports.gate.recorded import judge_run
from reports.gate.rule import rule_from_options
from reports.gate.verdict import Gate
from reports.results.manifest import renew_in_manifest
from reports.results.read import GATE, load_run
from reports.results.records import Rule
from reports.results.write import write_bytes_atomic
from reports.terminal import verdicts as gate_text
from workloads.spec.messages import PHASES

app = typer.Typer()


@app.command(
    epilog="Example: gfbench gate results/20261122-190000-abc123 --base kernel=torch "
    "--new kernel=native --metric latency,energy,memory --margin 3%"
)
def gate(
    run: Annotated[Path, typer.Argument(help="a run's folder")],
    base: Annotated[str, typer.Option(help="the cases to compare with: key=value[,key=value]")],
    new: Annotated[
        str, typer.Option(help="the cases to judge, paired with --base by all other attributes")
    ],
    metric: MetricOption = "latency",
    margin: Annotated[str, typer.Option(help="smallest change that matters: 3% or 0.03")] = "3%",
    phase: Annotated[str, typer.Option(help=f"one or more of {','.join(PHASES)}")] = ",".join(
        DEFAULT_PHASES
    ),
    calibration: Annotated[
        Path | None,
        typer.Option(help="folder of the noise floors [the run's own or its parent]"),
    ] = None,
    inconclusive: Annotated[
        Policy, typer.Option(help="exit code of an INCONCLUSIVE verdict: warn 3, fail 1, pass 0")
    ] = Policy.warn,
    as_json: JsonOption = False,
    junit: Annotated[Path | None, typer.Option(help="file to write JUnit XML to")] = None,
    summary: Annotated[
        Path | None,
        typer.Option(help="file to write a Markdown page to [on GitHub: the step's summary]"),
    ] = None,
    comment: Annotated[
        Path | None, typer.Option(help="file to write a pull request comment to")
    ] = None,
    comment_key: Annotated[
        str, typer.Option(help="key that tells this gate's comment from those of other gates")
    ] = "gate",
    verdict: Annotated[
        Path | None, typer.Option(help="file to write the output of --json to")
    ] = None,
    annotations: Annotated[
        bool | None,
        typer.Option(
            "--annotations/--no-annotations",
            help="print annotations for GitHub on stderr [on in GitHub Actions]",
        ),
    ] = None,
) -> None:
    """Say whether new is worse than base: PASS 0, FAIL 1, INCONCLUSIVE or INVALID 3, INFRA 4."""
    rule = rule_from_options(
        base, new, metric=metric, phase=phase, margin=margin, inconclusive=inconclusive.value
    )
    judged = judge_folder(run, rule, calibration)
    if as_json:
        print(json.dumps(document(judged), indent=1, allow_nan=False))
    else:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        print("\n".join(gate_text.lines(judged, width)))
    outputs = Outputs(
        junit=junit,
        summary=summary,
        comment=comment,
        verdict=verdict,
        annotations=annotations,
        comment_key=comment_key,
    )
    write_outputs(judged, outputs)
    exit_with(judged.exit_code)


def judge_folder(folder: Path, rule: Rule, calibration: Path | None = None) -> Gate:
    """Judge a finished run by a rule, with the noise floors that lie below ``calibration``.

    Without it, those that the run's folder keeps or else those beside the run.

    Raises:
        GateError, SelectorError: the rule does not fit the run, with the choices.
        reports.results.read.ResultError: no run there.
    """
    run = load_run(folder)
    if calibration is None:
        return judge_run(run, rule)
    return judge_by(rule, run, calibrated_floors(run, calibration))


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """The files asked for; ``annotations`` None means in GitHub Actions only."""

    junit: Path | None = None
    summary: Path | None = None
    comment: Path | None = None
    verdict: Path | None = None
    annotations: bool | None = None
    comment_key: str = "gate"


def write_outputs(gate: Gate, outputs: Outputs, environ: Mapping[str, str] = os.environ) -> None:
    """Write what is asked for, and in GitHub Actions the step's summary and annotations.

    Annotations go to stderr, where GitHub reads them too: stdout is for the verdict.

    Raises:
        reports.results.write.StorageError: a file cannot be written.
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
