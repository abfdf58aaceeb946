"""The chart of latency. Pure."""

from __future__ import annotations

from reports.charts.axes import Views, ends_of, log_axis, ratio_views, zero_axis
from reports.charts.chart import Chart, row_indices
from reports.charts.context import Context
from reports.charts.dots import dot_panels
from reports.charts.style import legend_of, phases_of


def latency_chart(context: Context) -> Chart:
    """Draw the seconds per iteration of each phase on a logarithmic axis."""
    subjects, colours = context.subjects, context.colours
    rows = context.rows("latency_s")
    phases = phases_of(rows)
    ends = [end for row in rows for end in ends_of(row)]
    axis = Views(
        views={
            "absolute-log": log_axis("time per iteration, logarithmic", ends, "s"),
            "absolute-linear": zero_axis(ends, "s", "time per iteration"),
            **ratio_views(subjects, rows, "time"),
        }
    )
    return Chart(
        title="Latency by phase",
        caption="The time of one iteration: the median of each block, then the median over all "
        "blocks with its 95 % interval. Further left is faster.",
        legend=legend_of(colours, phases),
        panels=dot_panels(subjects, colours, "latency_s", phases, axis),
        rows=row_indices(subjects, rows),
    )
