"""The live view of a run on standard error, and the final table. Quiet when piped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, NamedTuple

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from reports.table import Figure, SummaryRow
from reports.wording import KERNELS

REFRESH_PER_S = 4
MISSING = "-"
MEASURED = ("ok", "partial")
REASON_CHARACTERS = 200


@dataclass
class _Target:
    state: str = "waiting"
    total: int = 0
    done: int = 0
    estimate_s: float = 0.0
    measured: int = 0
    started_s: float | None = None
    last: str = ""
    failed: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)


class Column(NamedTuple):
    """A column of the final table: two lines of heading, and what it shows of a case."""

    over: str
    name: str
    cell: Callable[[SummaryRow], str]


class LiveView:
    """A row per target: state, block i of n, time left, last figure; a Watch of sessions."""

    def __init__(self, targets: Sequence[str], console: Console) -> None:
        """Show nothing yet; ``with`` starts and ends the view."""
        self._targets = {name: _Target() for name in targets}
        self._live = Live(
            get_renderable=self._render,
            console=console,
            refresh_per_second=REFRESH_PER_S,
            transient=True,
        )
        self._shown = console.is_terminal

    def __enter__(self) -> LiveView:
        """Start the view, on a terminal only."""
        if self._shown:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the view away again."""
        if self._shown:
            self._live.stop()

    def state(self, target: str, state: str) -> None:
        """Show what the target is doing."""
        self._targets[target].state = state
        if state == "measuring":
            self._targets[target].started_s = time.monotonic()

    def planned(self, target: str, blocks: int, done: int, estimate_s: float) -> None:
        """Show how much there is to do."""
        row = self._targets[target]
        row.total, row.done, row.estimate_s, row.measured = blocks, done, estimate_s, 0

    def block(self, target: str, record: Mapping[str, Any]) -> None:
        """Show one finished block's figure."""
        row = self._targets[target]
        row.done += 1
        row.measured += 1
        if record.get("status") != "ok":
            row.failed += 1
        row.last = _figure_of(record)

    def _render(self) -> RenderableType:
        table = Table(box=None, padding=(0, 1), show_header=False)
        for name, row in self._targets.items():
            table.add_row(
                Text(name, style="bold"),
                Text(row.state),
                ProgressBar(total=max(1, row.total), completed=row.done, width=20),
                Text(f"block {row.done} of {row.total}" if row.total else ""),
                Text(_left(row)),
                Text(f"{row.failed} failed" if row.failed else "", style="red"),
                Text(row.last[:60], style="dim"),
            )
        return Group(table)


def final_table(rows: Sequence[SummaryRow], width: int | None) -> list[str]:
    """Return the lines of a run's summary: a heading per workload, a line per case below it.

    Latency, saved memory and energy are left out where ``width`` (in columns) is too small for
    them; where it still is, a case takes two lines. None is no terminal: nothing is left out,
    whatever COLUMNS says. Names are never cut.
    """
    figures = [row for row in rows if row.status in MEASURED]  # a reason may wrap, figures not
    for columns in ([*SPEEDUPS, *COSINES, *LATENCIES, *_measured(rows)], [*SPEEDUPS, *COSINES]):
        lines = _lines(figures, columns)
        if width is None or max(map(len, lines), default=0) <= width:
            return _lines(rows, columns)
    return _lines(rows, [*SPEEDUPS, *COSINES], folded=True)


def _measured(rows: Sequence[SummaryRow]) -> list[Column]:
    """Return the columns of figures that not every run has."""
    return [
        column
        for column in (KERNEL, SAVED, ENERGY)
        if any(column.cell(row) != MISSING for row in rows if row.status in MEASURED)
    ]


def _lines(
    rows: Sequence[SummaryRow], columns: Sequence[Column], *, folded: bool = False
) -> list[str]:
    cells = [_cells(row, columns) for row in rows]
    heads = [("", *(column.over for column in columns)), ("", *(column.name for column in columns))]
    full = [*heads, *(line for line in cells if len(line) == len(columns) + 1)]
    widths = [max(len(line[i]) for line in full) for i in range(len(columns) + 1)]
    widths[0] = 0 if folded else max((len(line[0]) for line in cells), default=0)
    lines = [_joined(head, widths) for head in heads] if rows else []
    heading = ""
    several = len({row.target for row in rows}) > 1
    for row, line in zip(rows, cells, strict=True):
        last, heading = heading, _heading(row, several)
        lines += [heading] if heading != last else []
        measured = len(line) == len(widths)
        lines += [f"  {line[0]}"] if folded and measured else []
        lines.append(_joined(("", *line[1:]) if folded and measured else line, widths))
    return lines


def _joined(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = cells
    padded = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=False)]
    return " ".join([f"  {first.ljust(widths[0])}", *padded]).rstrip()


def _heading(row: SummaryRow, several: bool) -> str:
    return case_heading(row.target if several else "", row.workload, row.batch, row.device)


def case_heading(target: str, workload: str, batch: int, device: str) -> str:
    """Return the line above the cases of a workload; with the target where there are several."""
    return printable(f"{f'{target}: ' if target else ''}{workload}, batch {batch}, {device}")


def case_name(method: str, patch_size: int | None, kernel: str) -> str:
    """Return a case as a line of the table begins."""
    name = method if patch_size is None else f"{method} r{patch_size}"
    return printable(name if kernel == "torch" else f"{name} {KERNELS.get(kernel, kernel)}")


def _cells(row: SummaryRow, columns: Sequence[Column]) -> tuple[str, ...]:
    """Return a line's cells: the method and its figures, or why there are none."""
    method = case_name(row.method, row.patch_size, row.kernel)
    if row.status not in MEASURED:
        reason = f"{row.status}: {row.reason}" if row.reason else row.status
        return (method, printable(reason)[:REASON_CHARACTERS])
    return (method, *(column.cell(row) for column in columns))


def printable(text: str) -> str:
    """Return the text without control characters: some of it comes from a board."""
    return "".join(character if character.isprintable() else " " for character in text)


def seconds(value: float | None) -> str:
    """Return a time with the unit that suits it."""
    if value is None:
        return MISSING
    for limit, factor, unit in ((1e-3, 1e6, "us"), (1.0, 1e3, "ms")):
        if value < 0.9995 * limit:  # what rounds to 1000 has the next unit
            return f"{value * factor:.3g} {unit}"
    return f"{value:.3g} s"


def size(value: float | None) -> str:
    """Return a number of bytes with the unit that suits it."""
    if value is None:
        return MISSING
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.3g} {unit}"
        value /= 1024
    return f"{value:.3g} GiB"


def duration(value_s: float) -> str:
    """Return a length of time in words that a person waits by."""
    if value_s < 90:
        return f"{value_s:.0f} s"
    if value_s < 5400:
        return f"{value_s / 60:.0f} min"
    return f"{value_s / 3600:.1f} h"


def joules(value: float | None) -> str:
    """Return an energy with the unit that suits it."""
    if value is None:
        return MISSING
    return f"{value * 1e3:.3g} mJ" if abs(value) < 1 else f"{value:.3g} J"


def _speedup(row: SummaryRow, figure: Figure, phase: str) -> str:
    if figure.value is None:
        return "baseline" if phase in row.baseline else MISSING
    if figure.ci_low is None or figure.ci_high is None:
        return f"{_ratio(figure.value)}x"
    return f"{_ratio(figure.value)}x [{_ratio(figure.ci_low)}, {_ratio(figure.ci_high)}]"


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _cosine(figure: Figure) -> str:
    return MISSING if figure.value is None else f"{figure.value:.3f}"


SPEEDUPS = (
    Column("speedup", "backward", lambda row: _speedup(row, row.backward_speedup, "backward")),
    Column("speedup", "step", lambda row: _speedup(row, row.step_speedup, "step")),
)
COSINES = (
    Column("cos", "g_x", lambda row: _cosine(row.cosine_gx)),
    Column("cos", "g_w", lambda row: _cosine(row.cosine_gw)),
)
LATENCIES = (
    Column("time", "backward", lambda row: seconds(row.backward_s.value)),
    Column("time", "step", lambda row: seconds(row.step_s.value)),
)
KERNEL = Column("over torch", "backward", lambda row: _speedup(row, row.torch_ratio, ""))
SAVED = Column("saved", "memory", lambda row: size(row.saved_bytes.value))
ENERGY = Column("energy", "step", lambda row: joules(row.energy_j.value))


def _left(row: _Target) -> str:
    if row.state != "measuring" or row.started_s is None or not row.total:
        return ""
    left = row.total - row.done
    if row.measured < 3:
        return f"about {duration(row.estimate_s)}" if row.estimate_s else ""
    return f"{duration((time.monotonic() - row.started_s) / row.measured * left)} left"


def _figure_of(record: Mapping[str, Any]) -> str:
    """Return the figure of one journal record in words; the record comes from a board."""
    key = str(record.get("case_key", ""))
    timing = record.get("timing")
    backward = timing.get("backward") if isinstance(timing, dict) else None
    times = backward.get("times_s") if isinstance(backward, dict) else None
    if isinstance(times, list) and times and all(isinstance(time_s, float) for time_s in times):
        return f"{key} backward {seconds(sorted(times)[len(times) // 2])}"
    return f"{key} {record.get('kind', '')} {record.get('status', '')}"
