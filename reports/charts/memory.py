"""The charts of memory by method. Pure."""

from __future__ import annotations

import plotly.graph_objects as go

from reports.charts.axes import (
    Views,
    offsets,
    ratio_views,
    rows_axis,
    rows_height,
    rows_meta,
    zero_axis,
)
from reports.charts.chart import Chart, Panel, empty_panel, panel_of, row_indices, trace_meta
from reports.charts.context import Context
from reports.charts.style import Colours, legend_of, plain
from reports.metrics.subjects import Subject, label_of, method_of, workload_of
from reports.metrics.table import metric_label


def saved_chart(context: Context) -> Chart | None:
    """Draw the bytes that the forward saves."""
    return _memory_chart(
        context,
        "saved_bytes",
        "What the forward pass keeps for the backward pass, without the tensors that "
        "share storage with a parameter. This is the memory that the method is meant to "
        "save.",
    )


def peak_rss_chart(context: Context) -> Chart | None:
    """Draw the peak memory of the process."""
    return _memory_chart(
        context,
        "peak_rss_bytes",
        "The peak of the process's memory above its level before any data was allocated, "
        "in a block of its own. This is what the system has to provide.",
    )


def cuda_peak_chart(context: Context) -> Chart | None:
    """Draw the peak memory of torch's CUDA allocator."""
    return _memory_chart(
        context,
        "cuda_peak_bytes",
        "The most that torch's CUDA allocator held at any time, in a block of its own.",
    )


def system_dip_chart(context: Context) -> Chart | None:
    """Draw by how much the system's free memory fell."""
    return _memory_chart(
        context,
        "system_dip_bytes",
        "How far the system's available memory fell during the block: everything that "
        "the block took from the machine, including the GPU's part where it shares the "
        "memory.",
    )


def _memory_chart(context: Context, metric: str, caption: str) -> Chart | None:
    """Draw a metric in bytes as bars by method, where it was measured."""
    subjects, colours = context.subjects, context.colours
    rows = context.rows(metric)
    values = [row.value for row in rows if row.value is not None]
    if not any(values):
        return None
    axis = Views(
        views={
            "absolute-linear": zero_axis(values, "B"),
            "ratio-linear": ratio_views(subjects, rows, "bytes")["ratio-linear"],
        }
    )
    return Chart(
        title=metric_label(metric).capitalize().replace("cuda", "CUDA"),
        caption=caption,
        panels=tuple(_panel(subject, colours, metric, axis) for subject in subjects),
        legend=legend_of(colours),
        rows=row_indices(subjects, rows),
    )


def _panel(subject: Subject, colours: Colours, metric: str, axis: Views) -> Panel:
    rows = [row for row in subject.rows if row.metric == metric and row.value is not None]
    if not rows:
        return empty_panel(subject, metric)
    measured = {method_of(row) for row in rows}
    methods = [method for method in colours if method in measured]
    row_of = {workload: index for index, workload in enumerate(subject.workloads)}
    labels = list(subject.workloads.values())
    traces = []
    for method, offset in zip(methods, offsets(len(methods)), strict=True):
        chosen = [row for row in rows if method_of(row) == method]
        traces.append(
            go.Bar(
                orientation="h",
                x=[row.value for row in chosen],
                y=[row_of[workload_of(row)] + offset for row in chosen],
                width=0.7 / len(methods),
                name=plain(label_of(method)),
                marker={"color": colours[method]},
                hoverinfo="text",
                meta=trace_meta(subject, chosen),
            )
        )
    return panel_of(
        subject.label,
        traces,
        f"{metric_label(metric)} of {len(labels)} workloads on {subject.label}",
        height=rows_height(len(labels), len(methods)),
        yaxis=rows_axis(labels),
        xaxis=axis.first,
        barmode="overlay",
        meta=rows_meta(labels, len(methods), axis),
    )
