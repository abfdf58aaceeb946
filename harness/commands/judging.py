"""Commands that judge what was measured: gate."""

from __future__ import annotations

import json
import shutil
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from harness import ci_outputs
from harness.commands.common import JsonOption, exit_with
from harness.errors import UsageError
from reports import gate_text, results
from reports.gate import DEFAULT_PHASES, GateProblem, judge_by
from reports.gate_document import document
from reports.gate_recorded import judge_run
from reports.gate_rule import rule_from_options
from reports.noise_floor import calibrated_floors
from reports.records import Rule
from reports.selectors import SelectorProblem
from reports.verdict import Gate

app = typer.Typer()


class Policy(str, Enum):
    """What an INCONCLUSIVE amounts to."""

    warn = "warn"
    fail = "fail"
    passes = "pass"


@app.command(
    epilog="Example: gfbench gate results/20261122-190000-abc123 --base kernel=torch "
    "--new kernel=native --metric latency,energy,memory --margin 3%"
)
def gate(
    run: Annotated[Path, typer.Argument(help="a run's folder")],
    base: Annotated[str, typer.Option(help="the cases to compare with: key=value[,key=value]")],
    new: Annotated[str, typer.Option(help="the cases to judge, paired by all that is not named")],
    metric: Annotated[str, typer.Option(help="of latency,energy,memory")] = "latency",
    margin: Annotated[str, typer.Option(help="the change that matters: 3% or 0.03")] = "3%",
    phase: Annotated[str, typer.Option(help="of forward,backward,step")] = ",".join(DEFAULT_PHASES),
    calibration: Annotated[
        Path | None,
        typer.Option(help="folder of the noise floors [the run's own or parent]"),
    ] = None,
    inconclusive: Annotated[
        Policy, typer.Option(help="exit code of an INCONCLUSIVE: 3, 1 or 0")
    ] = Policy.warn,
    as_json: JsonOption = False,
    junit: Annotated[Path | None, typer.Option(help="write JUnit XML there")] = None,
    summary: Annotated[
        Path | None, typer.Option(help="write a Markdown page [in Actions: the step's summary]")
    ] = None,
    comment: Annotated[
        Path | None, typer.Option(help="write a comment for a pull request there")
    ] = None,
    comment_key: Annotated[
        str, typer.Option(help="tells this gate's comment from those of others")
    ] = "gate",
    verdict: Annotated[Path | None, typer.Option(help="write what --json prints there")] = None,
    annotations: Annotated[
        bool | None,
        typer.Option("--annotations/--no-annotations", help="for GitHub, on stderr [in Actions]"),
    ] = None,
) -> None:
    """Say whether new is worse than base: PASS 0, FAIL 1, INCONCLUSIVE or INVALID 3, INFRA 4."""
    rule = make_rule(base, new, metric, phase, margin, inconclusive.value)
    judged = judge_folder(run, rule, calibration)
    if as_json:
        print(json.dumps(document(judged), indent=1, allow_nan=False))
    else:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        print("\n".join(gate_text.lines(judged, width)))
    outputs = ci_outputs.Outputs(
        junit=junit,
        summary=summary,
        comment=comment,
        verdict=verdict,
        annotations=annotations,
        comment_key=comment_key,
    )
    ci_outputs.write(judged, outputs)
    exit_with(judged.exit_code)


def make_rule(base: str, new: str, metric: str, phase: str, margin: str, inconclusive: str) -> Rule:
    """Return the rule that a command's options amount to.

    Raises:
        UsageError: an option names what does not exist, with the choices.
    """
    try:
        return rule_from_options(
            base, new, metric=metric, phase=phase, margin=margin, inconclusive=inconclusive
        )
    except GateProblem as problem:
        raise UsageError(str(problem)) from None


def judge_folder(folder: Path, rule: Rule, calibration: Path | None = None) -> Gate:
    """Judge a finished run by a rule, with the noise floors that lie below ``calibration``.

    Without it, those that the run's folder keeps or else those beside the run.

    Raises:
        UsageError: the rule does not fit the run, with the choices.
        reports.results.ResultProblem: no run there.
    """
    run = results.load_run(folder)
    try:
        if calibration is None:
            return judge_run(run, rule)
        return judge_by(rule, run, calibrated_floors(run, calibration))
    except (GateProblem, SelectorProblem) as problem:
        raise UsageError(str(problem)) from None
