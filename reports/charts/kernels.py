"""The chart of kernels against the plain one. Pure."""

from __future__ import annotations

from dataclasses import replace

from reports.charts.chart import Chart, Column, Panel
from reports.charts.context import Context
from reports.charts.dots import dot_panels
from reports.charts.style import legend_of, vertical_line
from reports.metrics.of_run import kernel_rows
from reports.metrics.subjects import Subject, label_of, method_of, workload_of
from reports.text.wording import TIMES, interval

PHASES = ("forward", "backward", "step")


def kernels_chart(context: Context) -> Chart | None:
    """Draw how much faster than kernel torch the other kernels are, where there are any."""
    compared: list[Subject] = []
    first_row = 0
    for subject in context.subjects:
        rows = kernel_rows(subject.run, subject.target)
        compared.append(replace(subject, rows=rows, first_row=first_row))
        first_row += len(rows)
    pairs = [(subject, row) for subject in compared for row in subject.rows]
    if not pairs:
        return None
    methods = {method_of(row) for _, row in pairs}
    colours = {method: context.colours[method] for method in context.colours if method in methods}
    axis = {"title": {"text": f"kernel torch's time over the kernel's ({TIMES})"}}
    panels = dot_panels(compared, context.colours, "kernel_ratio", PHASES, axis, [vertical_line(1)])
    return Chart(
        title="Kernels against kernel torch",
        caption="The same method computed by two kernels: the time of kernel torch divided by "
        "the other kernel's, paired within each round; bars are 95 % intervals. Right of "
        "the dashed line the other kernel is faster than torch.",
        legend=legend_of(colours, PHASES),
        panels=tuple(_with_own_table(panel) for panel in panels),
        columns=(
            Column(name="target", values=[subject.label for subject, _ in pairs]),
            Column(
                name="workload",
                values=[subject.workloads[workload_of(row)] for subject, row in pairs],
            ),
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
    """Take hover texts from the chart's own table: the export does not have its rows."""
    for trace in panel.figure.get("data", ()):
        meta = trace["meta"]
        trace["meta"] = {"method": meta["method"], "phase": meta["phase"], "table": meta["rows"]}
    return panel
