"""The live view of a run on standard error, and the final table. Quiet when piped."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from reports.table import Figure, SummaryRow

REFRESH_PER_S = 4
MISSING = "-"


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
        row.total, row.done, row.estimate_s = blocks, done, estimate_s

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


def final_table(rows: Sequence[SummaryRow]) -> Table:
    """Return the run's summary: a row per case, speedups of backward and step together."""
    several = len({row.target for row in rows}) > 1
    table = Table(box=None, padding=(0, 1), header_style="bold")
    columns = ["workload", "method", "backward", "step", "speedup bwd", "speedup step"]
    columns += ["saved", "cos gx", "cos gw"]
    for name in ["target", *columns] if several else columns:
        table.add_column(
            name, justify="left" if name in ("target", "workload", "method") else "right"
        )
    for row in rows:
        cells = _cells(row)
        table.add_row(*([escape(row.target), *cells] if several else cells))
    return table


def _cells(row: SummaryRow) -> list[str]:
    workload = row.workload if row.batch == 1 else f"{row.workload} b{row.batch}"
    method = row.method if row.patch_size is None else f"{row.method} r{row.patch_size}"
    if row.kernel != "torch":
        method += f" {row.kernel}"
    cells = [escape(workload), escape(method)]
    if row.status not in ("ok", "partial"):
        return [*cells, escape(row.status), *[""] * 6]
    return [
        *cells,
        seconds(row.backward_s.value),
        seconds(row.step_s.value),
        _speedup(row.backward_speedup),
        _speedup(row.step_speedup),
        size(row.saved_bytes.value),
        _plain(row.cosine_gx),
        _plain(row.cosine_gw),
    ]


def seconds(value: float | None) -> str:
    """Return a time with the unit that suits it."""
    if value is None:
        return MISSING
    for limit, factor, unit in ((1e-3, 1e6, "us"), (1.0, 1e3, "ms")):
        if value < limit:
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


def _speedup(figure: Figure) -> str:
    if figure.value is None:
        return MISSING
    if figure.ci_low is None or figure.ci_high is None:
        return f"{figure.value:.2f}x"
    return f"{figure.value:.2f}x [{figure.ci_low:.2f}, {figure.ci_high:.2f}]"


def _plain(figure: Figure) -> str:
    return MISSING if figure.value is None else f"{figure.value:.3f}"


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
    times = timing.get("backward", {}).get("times_s") if isinstance(timing, dict) else None
    if isinstance(times, list) and times and all(isinstance(time_s, float) for time_s in times):
        return f"{key} backward {seconds(sorted(times)[len(times) // 2])}"
    return f"{key} {record.get('kind', '')} {record.get('status', '')}"
