"""``gfbench show``: a run's figures in the terminal, and how they went over earlier runs."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from reports.gate.recorded import gates_of
from reports.results.read import ResultError, load_header, load_run, run_folders
from reports.results.records import Run, TargetRun
from reports.terminal import table
from reports.terminal import verdicts as gate_text
from reports.terminal.sparkline import Trend, trends
from reports.terminal.table import case_heading, case_name, final_table
from reports.text.wording import printable, seconds

MAX_HISTORY = 20  # runs beside it that are read, the latest


def status_lines(run: Run) -> list[str]:
    """Return what was measured when, and how far each target has come."""
    header = run.header
    rounds = f"{header.rounds} rounds" if header.rounds else ""
    version = f"gfbench {header.tool.version}" if header.tool.version else ""
    started = header.started_at.replace("T", " ").replace("Z", " UTC")
    facts = (run.run_id, header.suite.name, rounds, started, version)
    lines = [", ".join(fact for fact in facts if fact)]
    lines += [_target_line(target) for target in run.targets]
    lines += [f"note: {note}" for note in run.notes]
    return [printable(line) for line in lines]


def verdict_lines(run: Run, width: int | None) -> list[str]:
    """Return the verdicts that the run was measured for; none where it was not for a gate."""
    gates, notes = gates_of([run])
    if not gates:
        return [printable(note) for note in notes]
    return list(gate_text.lines(gates[run.run_id], width))


def history_lines(runs: Sequence[Run], encoding: str = "utf-8") -> list[str]:
    """Return a line per case of the newest run with its latency over all runs, oldest first."""
    shown = trends(runs)
    if not shown or not _can_show(shown, encoding):
        return []
    names = [case_name(t.case.method, t.case.patch_size, t.case.kernel) for t in shown]
    name_width = max(map(len, names))
    line_width = max(len(trend.line) for trend in shown)
    ids = sorted((run.header.started_at, run.run_id) for run in runs)
    lines = [f"backward over {len(runs)} runs, {ids[0][1]} to {ids[-1][1]}", *_legend(shown)]
    several = len({trend.target for trend in shown}) > 1
    last = ""
    for trend, name in zip(shown, names, strict=True):
        case = trend.case
        target = trend.target if several else ""
        heading = case_heading(target, case.workload.name, case.batch, case.device)
        if heading != last:
            lines.append(heading)
            last = heading
        line = f"  {name.ljust(name_width)} {trend.line.ljust(line_width)} {_span(trend)}"
        lines.append(line.rstrip())
    return lines


def runs_beside(folder: Path, run: Run) -> list[Run]:
    """Return the finished runs in the same folder that measured the same on the same targets."""
    ours = run.header
    beside: list[Run] = []
    for path in reversed(list(run_folders(folder.resolve().parent))):
        if len(beside) == MAX_HISTORY or path == folder.resolve():
            continue
        try:
            header = load_header(path)
            same_suite = header.suite.name == ours.suite.name
            if header.finished_at and same_suite and set(ours.targets) & set(header.targets):
                beside.append(load_run(path))
        except ResultError:
            continue  # what cannot be read has no history
    return beside


def _target_line(target: TargetRun) -> str:
    session, planned = target.session, target.session.blocks_planned
    done = len(target.blocks)
    blocks = f"{done} of {planned} blocks" if planned is not None else f"{done} blocks"
    model = target.probe.model if target.probe else ""
    said = session.reason or session.error
    state = session.status if session.status != "ok" else ""
    parts = [target.platform, model, blocks, f"{state}: {said}" if state and said else state]
    remedy = f" — {session.remedy}" if state and session.remedy else ""
    return f"{target.name}: {', '.join(part for part in parts if part)}{remedy}"


def _span(trend: Trend) -> str:
    known = [value for value in trend.values_s if value is not None]
    return f"{seconds(known[-1])} ({seconds(min(known))} to {seconds(max(known))})"


def _legend(shown: Sequence[Trend]) -> Iterator[str]:
    if any(any(trend.changed) for trend in shown):
        yield "| the machine or the kernel changed here"


def _can_show(shown: Sequence[Trend], encoding: str) -> bool:
    try:
        "".join(trend.line for trend in shown).encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


app = typer.Typer()


@app.command(epilog="Example: gfbench show results/20261122-190000-abc123")
def show(
    runs: Annotated[list[Path], typer.Argument(help="a run's folder; several for a history")],
    history: Annotated[
        bool, typer.Option("--history/--no-history", help="include the runs in the same folder")
    ] = True,
) -> None:
    """Show a run's figures, even while it runs, and their history over earlier runs."""
    loaded = [(path, load_run(path)) for path in runs]
    folder, newest = max(loaded, key=lambda one: (one[1].header.started_at, one[1].run_id))
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    lines = status_lines(newest)
    lines += ["", *final_table(table.summary_rows(newest), width), *table.notes_on_exact(newest)]
    verdicts = verdict_lines(newest, width)
    lines += ["", *verdicts] if verdicts else []
    beside = runs_beside(folder, newest) if history and len(runs) == 1 else []
    earlier = history_lines([*(run for _, run in loaded), *beside], sys.stdout.encoding)
    lines += ["", *earlier] if earlier else []
    print("\n".join(lines))
