"""Commands that judge what was measured: gate."""

from __future__ import annotations

import json
import shutil
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from harness import ci_outputs, floors
from harness.commands.common import JsonOption, exit_with
from harness.errors import UsageError
from reports import gate_text, results
from reports.gate import DEFAULT_PHASES, GateProblem, judge, parse_margin
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
        Path | None, typer.Option(help="folder whose noise floors hold [the run's parent]")
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
    judged = judge_folder(
        run,
        base=base,
        new=new,
        metric=metric,
        margin=margin,
        phase=phase,
        calibration=calibration,
        inconclusive=inconclusive.value,
    )
    if as_json:
        print(json.dumps(gate_text.document(judged), indent=1, allow_nan=False))
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


def judge_folder(
    folder: Path,
    *,
    base: str,
    new: str,
    metric: str = "latency",
    margin: str = "3%",
    phase: str = ",".join(DEFAULT_PHASES),
    calibration: Path | None = None,
    inconclusive: str = "warn",
) -> Gate:
    """Judge a run's folder by options as a user writes them.

    Raises:
        UsageError: an option that cannot be, with the choices.
        reports.results.ResultProblem: no run there.
    """
    found = results.load_run(folder)
    try:
        return judge(
            found,
            base=base,
            new=new,
            metrics=_names(metric),
            margin=parse_margin(margin),
            phases=_names(phase),
            floors=floors.floors_of(found, calibration or found.path.resolve().parent),
            inconclusive=inconclusive,
        )
    except (GateProblem, SelectorProblem) as problem:
        raise UsageError(str(problem)) from None


def _names(text: str) -> tuple[str, ...]:
    """Return the names in ``latency,energy``."""
    return tuple(name.strip() for name in text.split(",") if name.strip())
