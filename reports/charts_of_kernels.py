"""The chart of kernels against the plain one. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from reports.chart_style import (
    Chart,
    Colours,
    Column,
    Panel,
    Subject,
    label_of,
    legend_of,
    line_at,
    method_of,
    workload_of,
)
from reports.charts import dot_panels
from reports.kernel_ratios import METRIC, kernel_rows
from reports.wording import TIMES, interval

PHASES = ("forward", "backward", "step")


def kernels_chart(subjects: Sequence[Subject], colours: Colours) -> Chart | None:
    """Draw how much faster than kernel torch the other kernels are, where there are any."""
    compared: list[Subject] = []
    for subject in subjects:
        first = sum(len(one.rows) for one in compared)
        rows = kernel_rows(subject.run, subject.target)
        compared.append(replace(subject, rows=rows, first_row=first))
    pairs = [(subject, row) for subject in compared for row in subject.rows]
    if not pairs:
        return None
    axis = {"title": {"text": f"kernel torch's time over the kernel's ({TIMES})"}}
    mine = {m: colour for m, colour in colours.items() if any(method_of(r) == m for _, r in pairs)}
    panels = dot_panels(compared, colours, METRIC, PHASES, axis, [line_at(1)])
    return Chart(
        id="kernels",
        title="Kernels against kernel torch",
        caption="The same method in two implementations: the time of kernel torch divided by the "
        "other's, paired round by round; bars are 95 % intervals. Right of the dashed line is "
        "faster than torch.",
        legend=legend_of(mine, PHASES),
        panels=tuple(_with_own_table(panel) for panel in panels),
        columns=(
            Column(name="target", values=[subject.label for subject, _ in pairs]),
            Column(name="workload", values=[s.workloads[workload_of(row)] for s, row in pairs]),
            Column(name="method", values=[label_of(method_of(row)) for _, row in pairs]),
            Column(name="phase", values=[row.phase for _, row in pairs]),
            Column(name="over torch", values=[row.value for _, row in pairs], unit=TIMES),
            Column(
                name="95 % interval",
                values=[interval(row.ci_low, row.ci_high, "1") for _, row in pairs],
            ),
        ),
    )


def _with_own_table(panel: Panel) -> Panel:
    """Take hover texts from the chart's own table: its rows are none of the export."""
    for trace in panel.figure.get("data", ()):
        meta = trace["meta"]
        trace["meta"] = {"method": meta["method"], "phase": meta["phase"], "table": meta["rows"]}
    return panel
