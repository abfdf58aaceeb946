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
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from reports.text.wording import duration, seconds

REFRESH_PER_S = 4


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


def _left(row: _Target) -> str:
    if row.state != "measuring" or row.started_s is None or not row.total:
        return ""
    left = row.total - row.done
    if row.measured < 3:
        return f"about {duration(row.estimate_s)}" if row.estimate_s else ""
    return f"{duration((time.monotonic() - row.started_s) / row.measured * left)} left"


def _figure_of(record: Mapping[str, Any]) -> str:
    """Return the figure of one journal record as text; the record comes from a board."""
    key = str(record.get("case_key", ""))
    timing = record.get("timing")
    backward = timing.get("backward") if isinstance(timing, dict) else None
    times = backward.get("times_s") if isinstance(backward, dict) else None
    if isinstance(times, list) and times and all(isinstance(time_s, float) for time_s in times):
        return f"{key} backward {seconds(sorted(times)[len(times) // 2])}"
    return f"{key} {record.get('kind', '')} {record.get('status', '')}"
